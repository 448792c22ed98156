"""The figures that gates judge by, of the devices of one profile. Plain values; the store reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgepress_devices.protocol import Histogram


@dataclass(frozen=True)
class Arm:
    """What devices measured with one artifact."""

    devices: int = 0  # that tell anything
    latency: Histogram | None = None  # of all their inferences together, microseconds
    rss_bytes: Mapping[str, Sequence[float]] = field(default_factory=dict)  # device -> most, each minute
    energy_mj: Mapping[str, Sequence[float]] = field(default_factory=dict)  # device -> mean, each minute


@dataclass(frozen=True)
class ProfileFigures:
    profile: str
    committed: int
    failed: int
    new: Arm = Arm()  # devices that committed, since then
    before: Arm = Arm()  # the same devices, with what they ran before
    control: Arm = Arm()  # devices that have not been told, at the same time
    compared: int = 0  # live requests that old and new model both answered, in shadow mode
    agreed: int = 0
