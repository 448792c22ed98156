"""The roofs of a roofline plot: what the datasheet promises, and what a calibration found to be sustained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from edgepress_devices.calibration import KindFit
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.roofline import DataType, roofline

SAMPLES_MIN: Final = 6  # shapes of a kind, below which its sustained rate is a guess


@dataclass(frozen=True)
class Roof:
    """A limit. `per_us`: operations (compute) or bytes (memory) a microsecond."""

    name: str  # "fp32", "int8", "memory", "L2 cache"
    what: Literal["compute", "memory"]
    per_us: float
    basis: Literal["datasheet", "calibration"]
    kind: str | None = None  # of operator, whose calibrated figure it is


def roofs(profile: DeviceProfile, dtypes: Iterable[str]) -> list[Roof]:
    """For a model whose operators compute in these types; the calibrated ones where there is a calibration.

    A calibration tells rates by kind of operator: the roof is the best that any kind sustains.
    """
    wanted = [dtype for dtype in _TYPES if dtype in {*dtypes, "fp32"}]
    limits = roofline(profile, "fp32")
    found = [
        Roof("memory", "memory", limits.bytes_per_us, "datasheet"),
        *(
            Roof(f"L{number} cache", "memory", level.bytes_per_us, "datasheet")
            for number, level in enumerate(limits.caches, start=2)
        ),
        *(Roof(each, "compute", roofline(profile, each).operations_per_us, "datasheet") for each in wanted),
    ]
    if profile.calibration is None:
        return found
    kinds = profile.calibration.kinds
    for each in wanted:
        best = _best({name: fit for name, fit in kinds.items() if name.endswith(f" {each}")}, "compute")
        if best is not None:
            found.append(Roof(each, "compute", best[1], "calibration", best[0]))
    best = _best(kinds, "memory")
    if best is not None:
        found.append(Roof("memory", "memory", best[1], "calibration", best[0]))
    return found


_TYPES: tuple[DataType, ...] = ("fp32", "fp16", "int8")


def _best(kinds: dict[str, KindFit], what: Literal["compute", "memory"]) -> tuple[str, float] | None:
    """(kind, rate), of the kinds that enough shapes were timed of, where there are such."""
    well_known = {name: fit for name, fit in kinds.items() if fit.samples >= SAMPLES_MIN}
    rates = {
        name: rate
        for name, fit in (well_known or kinds).items()
        if (rate := fit.operations_per_us if what == "compute" else fit.bytes_per_us) is not None
    }
    return max(rates.items(), key=lambda item: (item[1], item[0])) if rates else None
