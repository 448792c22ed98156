"""What a finding does next, from plain values. The engine reads them, calls `next_step`, and acts.

Rules:

* Scope "device": nothing follows; a person decides (see `decide`).
* open: while another finding of the same model and profile is being followed, it waits: one search answers
  all limits of a budget. After a search that came to nothing it waits until ``next_try_at``, which doubles
  from try to try; never more than SEARCHES_A_DAY a day for a model and profile.
* open, and neither the budget allows it (auto) nor a person accepted: proposed. Once the budget allows it,
  what was proposed goes on by itself, but for a finding of kind "prediction".
* Nothing is started by what was once so: telemetry has to show it now.
* Else the devices that show it are asked to measure themselves: `calibrating`. Without one that is online it
  waits. A device that does not answer is waited for CALIBRATE_MS and no longer.
* When all have answered and their times are fitted, the search is started: `searching`.
* The search found an artifact within the budget that is not the one that misses it: released and rolled out
  when that is allowed and no doubt is left about its accuracy, else proposed. A finding of kind "prediction"
  never releases by itself: its artifact keeps the budget.
* The search found nothing, failed or was cancelled: open again, later. What was nearest is said.
* released: its rollout pauses: said. It is aborted: open again, later. It is done and the devices miss the
  budget with the new artifact: open again, later. They keep it: the observer resolves the finding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from edgepress_server.store.findings import FindingKind, FindingScope, FindingState

CALIBRATION_DEVICES: Final = 3  # are asked to measure themselves
CALIBRATE_MS: Final = 15 * 60_000
FIT_MS: Final = 3 * 60_000  # a fit takes seconds
SEARCHES_A_DAY: Final = 4
RETRY_MS: Final = 3600_000  # after the first search that came to nothing; then twice as long, each time
RETRY_MAX_MS: Final = 24 * 3600_000
RESULT_MS: Final = 30 * 60_000  # after a rollout, for its devices to send telemetry
MISSED_AGAIN: Final = "The devices miss the budget with the new artifact, too."


@dataclass(frozen=True)
class JobFacts:
    """A profiling job of this finding."""

    device: str
    what: str  # device: what a profile is fitted to; model: the running artifact
    open: bool
    done: bool  # with a report that is of use
    message: str


@dataclass(frozen=True)
class SearchFacts:
    id: str
    state: str  # queued, running, done, failed, cancelled
    message: str
    chosen: str | None  # digest of the best artifact within the budget
    words: str  # what it found, or the nearest point and what blocks it
    doubt: str = ""  # why a person should look at `chosen` before it is released


@dataclass(frozen=True)
class RolloutFacts:
    id: str
    state: str
    reason: str
    since_ms: int  # in this state since


@dataclass(frozen=True)
class Facts:
    state: FindingState
    kind: FindingKind
    scope: FindingScope
    digest: str
    now_ms: int
    state_since_ms: int  # when the last step was told
    auto: bool  # the budget allows it
    accepted: bool  # a person does
    release_too: bool  # a person allowed the release along with the search
    attempts: int  # searches of this finding so far
    next_try_at: int | None
    searches_today: int  # of this model and profile
    other: str | None  # id of another finding of this model and profile that is being followed
    online: Sequence[str]  # devices that show it and are online
    missed_now: bool = True  # telemetry shows it at this moment
    jobs: Sequence[JobFacts] = ()
    fitted: bool = True  # nothing waits to be fitted or predicted for this profile
    search: SearchFacts | None = None
    rollout: RolloutFacts | None = None
    chosen: str | None = None  # digest that was released
    missed_again: bool = False  # devices miss it with `chosen`


@dataclass(frozen=True)
class Wait:
    """Stay, and say what for."""

    message: str


@dataclass(frozen=True)
class Propose:
    message: str


@dataclass(frozen=True)
class Calibrate:
    devices: Sequence[str]


@dataclass(frozen=True)
class StartSearch:
    """`uncalibrated`: why the costs rest on what was known before; "" when they do not."""

    uncalibrated: str = ""


@dataclass(frozen=True)
class Release:
    digest: str


@dataclass(frozen=True)
class BackOff:
    """Open again; not tried before `next_try_at`."""

    message: str
    next_try_at: int


Action = Wait | Propose | Calibrate | StartSearch | Release | BackOff


def next_step(facts: Facts) -> Action | None:
    """What to do now; None: nothing. Doing it twice changes nothing."""
    state = facts.state
    if state == "proposed" and facts.auto and facts.kind != "prediction":
        state = "open" if facts.search is None else "searching"  # the budget allows it by now
    follow = _STEPS.get(state)
    return None if follow is None or facts.scope == "device" else follow(facts)


def back_off_ms(attempts: int) -> int:
    """How long nothing is tried after so many searches."""
    doublings = min(16, max(0, attempts - 1))
    return min(RETRY_MAX_MS, RETRY_MS << doublings)


def _open(facts: Facts) -> Action | None:
    if facts.next_try_at is not None and facts.now_ms < facts.next_try_at:
        return None
    if facts.other is not None:
        return Wait(f"Waits for finding {facts.other}: one search answers all limits of the budget.")
    if not (facts.auto or facts.accepted):
        return Propose(
            "A search with what the devices measure now is prepared. Accept it to start: "
            "calibrate, search, and release what it finds."
        )
    if facts.searches_today >= SEARCHES_A_DAY and not facts.accepted:
        return BackOff(
            f"{facts.searches_today} searches were started for it within a day; the next one waits, or is "
            "started "
            "by hand.",
            facts.now_ms + RETRY_MAX_MS // 4,
        )
    if not (facts.missed_now and facts.online):
        return Wait(
            "Waits for a device that is online and shows it still: its costs are measured there first."
        )
    return Calibrate(tuple(facts.online[:CALIBRATION_DEVICES]))


def _calibrating(facts: Facts) -> Action:
    waited_ms = facts.now_ms - facts.state_since_ms
    still = [job for job in facts.jobs if job.open]
    done = [job for job in facts.jobs if job.done and job.what == "device"]
    if still and waited_ms < CALIBRATE_MS:
        return Wait("; ".join(dict.fromkeys(f"{job.device}: {job.message}" for job in still)))
    if done and not facts.fitted and waited_ms < CALIBRATE_MS + FIT_MS:
        return Wait("The times are in; the profile is fitted to them.")
    if not done:
        each = dict.fromkeys(f"{job.device}: {job.message.rstrip('.')}" for job in facts.jobs if not job.done)
        why = "; ".join(each) or "no device was asked"
        return StartSearch(f"The costs stay as they were ({why}).")
    return StartSearch()


def _searching(facts: Facts) -> Action | None:
    search = facts.search
    if search is not None and search.state in ("queued", "running"):
        return Wait(search.message or f"Search {search.id} is {search.state}.")
    nothing = _came_to_nothing(facts)
    if search is None or search.chosen is None or nothing is not None:
        return BackOff(nothing or "", facts.now_ms + back_off_ms(facts.attempts))
    allowed = facts.release_too or (facts.auto and facts.kind != "prediction")
    if allowed and not search.doubt:
        return Release(search.chosen)
    return Propose(f"Ready to be released: {search.words}. {search.doubt}".rstrip())


def _came_to_nothing(facts: Facts) -> str | None:
    """Why the search that is over has nothing to release; None: it has."""
    search = facts.search
    if search is None:
        return "Its search is gone."
    if search.state != "done":
        return f"Search {search.id} ended without a result: {search.message.rstrip('.') or search.state}."
    if search.chosen is None:
        return f"Nothing that was tried meets the budget. {search.words}".strip()
    if search.chosen == facts.digest:
        return (
            "The best artifact within the budget, as predicted, is the one that runs already and misses it."
        )
    return None


def _released(facts: Facts) -> Action | None:
    rollout = facts.rollout
    again_at = facts.now_ms + back_off_ms(facts.attempts)
    if rollout is None:
        return BackOff("Its rollout is gone.", again_at)
    if facts.missed_again:
        return BackOff(MISSED_AGAIN, again_at)
    if rollout.state in ("aborted", "rolling_back"):
        return BackOff(f"Its rollout was aborted. {rollout.reason}".strip(), again_at)
    if rollout.state != "done":
        paused = rollout.state == "paused"
        return Wait(
            f"Its rollout is {rollout.state}{': ' if paused else ''}{rollout.reason if paused else ''}."
        )
    if facts.now_ms - rollout.since_ms > RESULT_MS:
        return Wait("Rolled out. Too few inferences have come since to tell whether the budget is kept.")
    return Wait("Rolled out; the devices' next minutes show whether the budget is kept.")


_STEPS: Final[dict[FindingState, Callable[[Facts], Action | None]]] = {
    "open": _open,
    "calibrating": _calibrating,
    "searching": _searching,
    "released": _released,
}
