"""Power where nothing measures it: a straight line over CPU use between two figures of the profile.

    power = idle + (typical - idle) * cpu use           (the linear model of Fan, Weber, Barroso 2007)

It knows no frequency, no GPU, no screen, and its two ends are often estimates themselves: fit to compare two
models on one device, not to plan a battery. ``method`` always starts with "estimate:" and names the profile,
so it can never be taken for a measurement.
"""

from typing import Final

from edgepress_devices.profile import DeviceProfile, load_profile
from edgepress_devices.protocol import Reading
from edgepress_devices.say_once import say_once

METHOD_PREFIX: Final = "estimate:cpu*profile"
_MACHINE_NAMES: Final = {"amd64": "x86_64", "arm64": "aarch64"}  # Windows and macOS say it differently


def estimate_power(profile: DeviceProfile, cpu_percent: float) -> Reading:
    """Milliwatts of the whole device at this CPU use (0..100, clamped)."""
    share = min(100.0, max(0.0, cpu_percent)) / 100.0
    power = profile.power
    value = power.idle_mw + (power.typical_mw - power.idle_mw) * share
    return Reading(value, f"{METHOD_PREFIX}:{profile.id}", "board")


def profile_for_machine(profile: DeviceProfile, machine: str) -> DeviceProfile | None:
    """The profile whose figures describe the machine the agent really runs on.

    An agent that plays a Raspberry Pi on a PC (as the demo does) uses a PC's power, so a PC's figures are
    taken; where no profile fits the machine there is no estimate: None.
    """
    machine = _MACHINE_NAMES.get(machine.lower(), machine.lower())
    if profile.cpu.machine == machine:
        return profile
    if machine == "x86_64":
        return load_profile("x86-pc")
    say_once(
        f"no power estimate: profile {profile.id} is of {profile.cpu.machine}, this machine is {machine}"
    )
    return None
