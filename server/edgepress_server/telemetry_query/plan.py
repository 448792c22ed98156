"""Which tier a question reads, and in which steps it is answered.

Single samples are there for a day, minutes for 90, hours for two years; of groups there are no samples. The
answer covers whole steps: its range begins and ends where one does, so that it equals brute force over the
samples of that range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from edgepress_server.errors import InvalidInputError

Tier = Literal["raw", "minute", "hour"]

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
_UNITS: Final[dict[Tier, str]] = {"raw": "seconds", "minute": "minutes", "hour": "hours"}
TIER_MS: Final[dict[Tier, int]] = {"raw": SECOND_MS, "minute": MINUTE_MS, "hour": HOUR_MS}

RAW_KEPT_MS: Final = DAY_MS
MINUTES_KEPT_MS: Final = 90 * DAY_MS
RANGE_MAX_MS: Final = 2 * 366 * DAY_MS
RAW_RANGE_MS: Final = HOUR_MS  # of single samples; a second each
MINUTE_RANGE_MS: Final = 2 * DAY_MS
POINTS_WANTED: Final = 300
POINTS_MAX: Final = 2000
ROWS_MAX: Final = 1_500_000  # read for one question: a few hundred MB at most, in parts
RAW_SERIES_MAX: Final = 20

_NICE_MS: Final = tuple(
    n * unit
    for unit, counts in (
        (SECOND_MS, (1, 2, 5, 10, 15, 30)),
        (MINUTE_MS, (1, 2, 5, 10, 15, 30)),
        (HOUR_MS, (1, 2, 3, 6, 12)),
        (DAY_MS, (1, 2, 7, 14, 28)),
    )
    for n in counts
)


@dataclass(frozen=True)
class Plan:
    tier: Tier
    from_ms: int
    to_ms: int
    step_ms: int
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        return (self.to_ms - self.from_ms) // self.step_ms


def check_range(from_ms: int, to_ms: int) -> None:
    """Raises InvalidInputError."""
    if from_ms >= to_ms:
        raise InvalidInputError("query_range", "from: it must lie before `to`; both are Unix milliseconds.")
    if to_ms - from_ms > RANGE_MAX_MS:
        raise InvalidInputError(
            "query_range", "from: a question covers at most two years; that is how long figures are kept."
        )


def plan(
    from_ms: int,
    to_ms: int,
    step_ms: int | None,
    *,
    now_ms: int,
    series: int = 1,
    grouped: bool = False,
    least_ms: int = SECOND_MS,
    points_wanted: int = POINTS_WANTED,
    points_max: int = POINTS_MAX,
) -> Plan:
    """How to read ``series`` series, of groups or of devices. Raises InvalidInputError (range, step).

    ``least_ms``: the finest step that the figure bears.
    """
    check_range(from_ms, to_ms)
    if step_ms is not None and step_ms < SECOND_MS:
        raise InvalidInputError("query_step", "step_ms: a step is at least 1000 (a second).")
    span_ms = to_ms - from_ms
    tier = _tier(from_ms, to_ms, step_ms, max(step_ms or 0, least_ms), now_ms, max(1, series), grouped)
    unit_ms = TIER_MS[tier]
    if step_ms is None:
        chosen_ms = nice(max(-(-span_ms // points_wanted), unit_ms, least_ms))
    else:
        chosen_ms = max(step_ms, -(-span_ms // (points_max - 2)), unit_ms, least_ms)
        chosen_ms = -(-chosen_ms // unit_ms) * unit_ms
    notes = []
    if step_ms is not None and chosen_ms != step_ms:
        why = (
            f"this range is kept in {tier}s"
            if chosen_ms == unit_ms and tier != "raw"
            else f"at most {points_max} points are answered, in whole {_UNITS[tier]}"
        )
        notes.append(f"Steps of {words(chosen_ms)} instead of {words(step_ms)}: {why}.")
    first = from_ms // chosen_ms * chosen_ms
    last = -(-to_ms // chosen_ms) * chosen_ms
    return Plan(tier, first, last, chosen_ms, tuple(notes))


def _tier(
    from_ms: int, to_ms: int, step_ms: int | None, wanted_ms: int, now_ms: int, series: int, grouped: bool
) -> Tier:
    span_ms = to_ms - from_ms
    if (
        not grouped
        and wanted_ms < MINUTE_MS
        and span_ms <= RAW_RANGE_MS
        and from_ms >= now_ms - RAW_KEPT_MS
        and series <= RAW_SERIES_MAX
    ):
        return "raw"
    minutes = span_ms // MINUTE_MS * series
    if from_ms < now_ms - MINUTES_KEPT_MS or minutes > ROWS_MAX:
        return "hour"
    if span_ms > MINUTE_RANGE_MS and (step_ms is None or step_ms % HOUR_MS == 0):
        return "hour"
    return "minute"


def nice(step_ms: int) -> int:
    """The next length that people count in."""
    return next((each for each in _NICE_MS if each >= step_ms), -(-step_ms // DAY_MS) * DAY_MS)


def words(span_ms: int) -> str:
    """90000 -> '90 s', 120000 -> '2 min'."""
    for unit_ms, name in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s")):
        if span_ms % unit_ms == 0:
            return f"{span_ms // unit_ms} {name}"
    return f"{span_ms} ms"
