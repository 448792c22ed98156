"""A rollout's canaries against devices of the same profiles that it has not told: same figures, same steps.

Canaries count from when each was told, with the artifact it was to run; before is the same devices in the day
before. Control is the others since the first canary was told. Curves show both arms over the whole range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edgepress_server.store.rollout_arms import Arms, Compared
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.telemetry_query.figures import OF_A_SERIES, OVER_TIME, histograms_of, over_time, told
from edgepress_server.telemetry_query.plan import DAY_MS, HOUR_MS, MINUTE_MS, TIER_MS, Plan, plan
from edgepress_server.telemetry_query.source import Source

AROUND_MS: Final = 2 * HOUR_MS  # before the first device was told, and after the rollout ended
MINUTES_MAX: Final = 250_000  # of all devices together: what is read as minutes
PART_ROWS: Final = 20_000  # of all columns, held at a time
NAMES_SHOWN: Final = 50
_HISTOGRAMS: Final = histograms_of((*OF_A_SERIES, *OVER_TIME))


@dataclass(frozen=True)
class Arm:
    devices: int
    names: list[str]  # the first NAMES_SHOWN of those whose figures these are
    figures: dict[str, float | None] | None  # None: nothing was measured
    series: dict[str, list[float | None]]


@dataclass(frozen=True)
class ProfileCompared:
    profile: str
    digest: str
    canary: Arm
    control: Arm
    before: dict[str, float | None] | None


@dataclass(frozen=True)
class Comparison:
    about: Compared
    plan: Plan
    t: list[int]
    profiles: list[ProfileCompared]


@dataclass
class _Sums:
    """What an arm adds up to, part by part: merged rows only."""

    steps: list[Frame] = field(default_factory=list)
    during: list[Frame] = field(default_factory=list)
    before: list[Frame] = field(default_factory=list)


def default_range(about: Compared, now_ms: int) -> tuple[int, int]:
    """From two hours before the first device was told, to now, or two hours after it was over."""
    begun = about.told_at if about.told_at is not None else about.created_at
    end = now_ms if about.finished_at is None else min(now_ms, about.finished_at + AROUND_MS)
    return begun - AROUND_MS, max(end, begun + MINUTE_MS)


def compare(
    source: Source, about: Compared, from_ms: int, to_ms: int, step_ms: int | None, now_ms: int
) -> Comparison:
    """Raises InvalidInputError (range, step)."""
    devices = sum(len(arms.canary) + len(arms.control) for arms in about.profiles)
    made = plan(
        from_ms, to_ms, step_ms, now_ms=now_ms, series=max(1, devices), grouped=True, least_ms=MINUTE_MS
    )
    if made.tier == "minute" and (to_ms - from_ms) // MINUTE_MS * devices > MINUTES_MAX:
        made = plan(from_ms, to_ms, max(step_ms or 0, HOUR_MS), now_ms=now_ms, grouped=True, least_ms=HOUR_MS)
        made = Plan("hour", made.from_ms, made.to_ms, made.step_ms, made.notes)
    return Comparison(
        about,
        made,
        list(range(made.from_ms, made.to_ms, made.step_ms)),
        [_profile(source, about, arms, made) for arms in about.profiles],
    )


def _profile(source: Source, about: Compared, arms: Arms, made: Plan) -> ProfileCompared:
    canary, control = _Sums(), _Sums()
    told_at = about.told_at if about.told_at is not None else made.from_ms
    for name, frame in _frames(source, list(arms.canary), made):
        since = arms.canary[name]
        _add(canary, frame, made)
        canary.during.append(_one(frame.only(arms.digest).between(_first(since, made), made.to_ms)))
        canary.before.append(_one(frame.between(since - DAY_MS, _last(since, made))))
    for _, frame in _frames(source, arms.control, made):
        _add(control, frame, made)
        control.during.append(_one(frame.between(_first(told_at, made), made.to_ms)))
    return ProfileCompared(
        arms.profile,
        arms.digest,
        _arm(arms.canary_devices, sorted(arms.canary), canary, made),
        _arm(arms.control_devices, arms.control, control, made),
        _figures(canary.before),
    )


def _first(at_ms: int, made: Plan) -> int:
    """Where the first whole row after a moment begins."""
    span_ms = TIER_MS[made.tier]
    return -(-at_ms // span_ms) * span_ms


def _last(at_ms: int, made: Plan) -> int:
    """Rows that begin before it end before the moment."""
    span_ms = TIER_MS[made.tier]
    return at_ms // span_ms * span_ms - span_ms + 1


def _frames(source: Source, names: Sequence[str], made: Plan) -> Iterator[tuple[str, Frame]]:
    from_ms = made.from_ms
    rows = max(1, (made.to_ms - from_ms) // TIER_MS[made.tier])
    size = max(1, PART_ROWS // rows)
    for first in range(0, len(names), size):
        keys = [SeriesKey("device", name) for name in names[first : first + size]]
        found = source.frames(keys, from_ms, made.to_ms, span=made.tier, histograms=_HISTOGRAMS)
        for key in keys:
            yield key.name, found[key]


def _add(sums: _Sums, frame: Frame, made: Plan) -> None:
    if len(frame):
        sums.steps.append(frame.steps(made.step_ms, made.from_ms))


def _one(frame: Frame) -> Frame:
    return frame.grouped(np.zeros(len(frame), np.int64), frame.span_ms)


def _figures(parts: Sequence[Frame]) -> dict[str, float | None] | None:
    there = [part for part in parts if len(part)]
    return told(Frame.merged(there), len(there)) if there else None


def _arm(devices: int, names: Sequence[str], sums: _Sums, made: Plan) -> Arm:
    joined = Frame.merged(sums.steps) if sums.steps else Frame.empty(made.step_ms, _HISTOGRAMS)
    return Arm(devices, list(names[:NAMES_SHOWN]), _figures(sums.during), over_time(joined, made))
