"""Who is told what, and when. Pure.

    told ""         firing for GROUP_WAIT_MS ---------------> fired      (others may join meanwhile)
    told firing     twice as many subjects, and five more --> more       (every UPDATE_MS at most)
                    the rule's repeat_s has passed ---------> repeated   (not once somebody sees to it)
                    resolved -------------------------------> resolved
    told flapping   it has been calm for CALM_MS -----------> calm or resolved
    any             it fired FLAPS times within FLAP_MS ----> flapping   (then nothing until it is calm)

What is silenced is not told; when the silence ends and it fires still, it is. What was told to fire is told
to be over, whatever else holds: nobody is left waiting. What resolves before anybody was told is told to
nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

What = Literal["fired", "more", "repeated", "resolved", "flapping", "calm"]
Told = Literal["", "firing", "flapping", "resolved"]

GROUP_WAIT_MS: Final = 15_000
UPDATE_MS: Final = 5 * 60_000
FLAPS: Final = 4
FLAP_MS: Final = 3_600_000
CALM_MS: Final = 30 * 60_000
REOPEN_MS: Final = 10 * 60_000  # what fires again within this is the same incident
MORE_FACTOR: Final = 2
MORE_LEAST: Final = 5

# No channel is sent more than this in RATE_MS: what is beyond waits, and is told as it is then.
RATE_MS: Final = 10 * 60_000
RATE_MOST: Final = 30
RATE_CRITICAL: Final = 10  # of these only for what is critical: lesser ones do not hold it back


@dataclass(frozen=True)
class Case:
    """What the decision needs of an incident."""

    is_firing: bool
    told: Told
    told_at: int  # Unix ms, as all times
    told_subjects: int
    subjects: int
    since: int  # it fired last, or resolved
    is_flapping: bool
    is_silenced: bool
    is_acknowledged: bool
    repeat_s: int


def next_notice(case: Case, now_ms: int) -> What | None:
    if case.told == "flapping" and case.is_flapping:
        return None
    if not case.is_firing:
        return "resolved" if case.told in ("firing", "flapping") else None
    if case.told == "flapping":
        return "calm"
    if case.is_silenced or case.is_flapping:
        return None if case.is_silenced else "flapping"
    if case.told in ("", "resolved"):
        return "fired" if now_ms - case.since >= GROUP_WAIT_MS else None
    return _again(case, now_ms)


def _again(case: Case, now_ms: int) -> What | None:
    grown = case.subjects >= max(MORE_FACTOR * case.told_subjects, case.told_subjects + MORE_LEAST)
    if grown and now_ms - case.told_at >= UPDATE_MS:
        return "more"
    due = case.repeat_s > 0 and now_ms - case.told_at >= 1000 * case.repeat_s
    return "repeated" if due and not case.is_acknowledged else None


def told_after(what: What) -> Told:
    match what:
        case "resolved":
            return "resolved"
        case "flapping":
            return "flapping"
    return "firing"


def is_flapping(fired_at: list[int], now_ms: int, *, was: bool) -> bool:
    """``fired_at``: when it fired, ascending. It stays so until it has been calm for CALM_MS."""
    if was:
        return bool(fired_at) and now_ms - fired_at[-1] < CALM_MS
    return sum(now_ms - at < FLAP_MS for at in fired_at) >= FLAPS
