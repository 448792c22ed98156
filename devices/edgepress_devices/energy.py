"""Energy of one inference from the power of the whole device.

    energy per inference = (mean power - idle power) * interval / inferences        in mJ, from mW and s

The mean is over the interval, pauses between inferences included, and so must the time be: multiplying it by
the busy time alone would count the pauses twice. Whatever the device drew above idle is shared among the
interval's inferences, and what other programs drew too: on a busy board the figure is an upper bound.
"""

import platform

from edgepress_devices.power_estimate import profile_for_machine
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.protocol import Reading

_SMOOTHING = 0.1  # weight of a new idle reading: about ten idle intervals decide


class EnergyMeter:
    """Learns what the device draws without inferences, then tells what one costs.

    ``machine`` is what the agent runs on: an agent that plays a Raspberry Pi on a PC does not idle like one.
    """

    def __init__(self, profile: DeviceProfile | None = None, machine: str | None = None) -> None:
        self._profile = (
            None if profile is None else profile_for_machine(profile, machine or platform.machine())
        )
        self._idle: dict[
            tuple[str, str], float
        ] = {}  # (method, scope) -> mW: only like is subtracted from like

    def update(self, power: Reading | None, interval_s: float, inferences: int) -> Reading | None:
        """Energy per inference in millijoules over an interval that ends with this power reading, or None.

        Call it every interval, also those without inferences: they teach what the device draws when idle.
        None where power is unknown, nothing was inferred, idle power was never seen, or the device drew no
        more than idle (too little work to see).
        """
        if power is None or interval_s <= 0:
            return None
        if inferences == 0:
            self._learn(power)
            return None
        idle = self.idle_mw(power)
        if idle is None or power.value <= idle[0]:
            return None
        idle_mw, idle_method = idle
        method = power.method if idle_method == power.method else f"{power.method} - idle:{idle_method}"
        return Reading((power.value - idle_mw) * interval_s / inferences, method, power.scope)

    def idle_mw(self, power: Reading) -> tuple[float, str] | None:
        """(mW, method) of the idle power that belongs to this kind of reading.

        Measured the same way if it was ever seen idle; else the profile's, where the reading is of the whole
        device as the profile's figure is.
        """
        learnt = self._idle.get((power.method, power.scope))
        if learnt is not None:
            return learnt, power.method
        if self._profile is not None and power.scope in ("board", "device"):
            return self._profile.power.idle_mw, f"profile:{self._profile.id}"
        return None

    def _learn(self, power: Reading) -> None:
        key = power.method, power.scope
        before = self._idle.get(key)
        self._idle[key] = power.value if before is None else before + _SMOOTHING * (power.value - before)
