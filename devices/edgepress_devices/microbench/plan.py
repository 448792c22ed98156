"""Which forms a device is timed in, and by which plan: what the agent needs to know before it measures."""

from typing import Final, Literal

from edgepress_devices.profile import DeviceProfile

Form = Literal["fp32", "u8", "s8"]  # u8, s8: integers, of the activations; weights are s8

PLAN_VERSION: Final = 1
FORMS: Final[tuple[Form, ...]] = ("fp32", "u8", "s8")


def forms_of(profile: DeviceProfile) -> tuple[Form, ...]:
    """fp32, and the integers that run fast on this kind of device, if any do."""
    integers = profile.int8.activations
    return ("fp32",) if integers is None else ("fp32", integers)
