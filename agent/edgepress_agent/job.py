"""What to do next so that this device runs what it should: a pure decision.

Rules
-----
1. ``next_step(desired, have, now_s)`` looks at plain values and names one step; the installer does it, which
   changes the facts, and asks again. Asking twice without doing anything gives the same answer, so a power
   cut between any two steps is followed by the right one.
2. Facts decide, not memory: chunks on the disk are not fetched again, a staged artifact is not staged
   again, a pointer that was switched is not switched again, even where the journal did not get to say so.
3. ``IDLE -> FETCHING -> VERIFIED -> STAGED -> TRIAL -> COMMITTED``. The pointer moves only out of TRIAL.
4. A process that dies during a trial leaves ``trial_starts`` behind. After ``TRIAL_STARTS_MAX`` such deaths
   the artifact is rejected: whatever runs now stays.
5. ``rejected`` and ``rolled_back`` are final for this want; a newer want, even for the same artifact,
   begins anew. ``failed`` (no disk, no memory) is tried again at ``retry_at_s``.
6. A want for nothing stops the model; a want for what runs already is committed at once.
7. In shadow mode the trial goes on while requests are answered: ``shadow`` is "running", then "over", and
   then the step is to conclude. It is started anew after a restart.
8. A model that crashes the agent again and again in its probation, or fails the requests that the old one
   answered (``condemned``), is gone back from before anything else, want or no want.
9. Without a want, or with one whose time has passed (``may_install`` False), what runs keeps running and
   nothing is fetched, staged or tried.
"""

from dataclasses import dataclass
from typing import Final, Literal

from edgepress_devices.protocol import JobStep

TRIAL_STARTS_MAX: Final = 2
SHADOW_LOOK_S: Final = 1.0  # how often a shadow run's figures are told
LOAD_STARTS_MAX: Final = 3  # a board may be power-cut while it boots; three times in a row is the model


@dataclass(frozen=True)
class Desired:
    """The artifact of the newest accepted want; ``digest`` None = run nothing."""

    digest: str | None
    chunks: int = 0
    may_install: bool = True


@dataclass(frozen=True)
class Have:
    """What the disk and the journal say."""

    step: JobStep = "idle"
    target: str | None = None  # the artifact that ``step`` is about
    running: str | None = None  # what the pointer points to and is loaded
    staged: str | None = None  # what lies in a slot that is not pointed to, if it is the desired one
    chunks: int = 0  # chunks of the desired artifact in its fetch folder
    checked: bool = False  # the fetch folder's bytes have the digest
    room: bool = True  # the fetch folder and its files are there
    trial_starts: int = 0
    retry_at_s: float = 0.0
    shadow: Literal["none", "running", "over"] = "none"  # of the staged artifact
    condemned: str | None = None  # why what runs must not go on


# --- the steps --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wait:
    """Nothing to do until something comes, or until ``until_s``."""

    until_s: float | None = None


@dataclass(frozen=True)
class StopRunning:
    """Run nothing from here on."""


@dataclass(frozen=True)
class Begin:
    """Take up this artifact: clear away other fetches, make room, write FETCHING."""


@dataclass(frozen=True)
class Fetch:
    """Chunks are missing: let them come."""


@dataclass(frozen=True)
class Verify:
    """All chunks are here: check the whole artifact's digest, write VERIFIED."""


@dataclass(frozen=True)
class Stage:
    """Move the verified artifact into the spare slot, write STAGED."""


@dataclass(frozen=True)
class Try:
    """Write TRIAL, load and check the model; if it is good, point to it and write COMMITTED."""


@dataclass(frozen=True)
class Conclude:
    """The shadow run is over: point to the model and write COMMITTED, or write REJECTED."""


@dataclass(frozen=True)
class RollBack:
    """What runs is bad: write ROLLED_BACK, point to the last good model, or nowhere where there is none."""

    reason: str


@dataclass(frozen=True)
class Commit:
    """It runs already: write COMMITTED."""


@dataclass(frozen=True)
class Reject:
    """Write REJECTED with the reason, and drop the artifact."""

    reason: str


Step = Wait | StopRunning | Begin | Fetch | Verify | Stage | Try | Conclude | RollBack | Commit | Reject


def next_step(desired: Desired | None, have: Have, now_s: float) -> Step:
    """The one thing to do now. ``now_s`` is any clock that only grows, the one of ``retry_at_s``."""
    if have.condemned is not None and have.running is not None:
        return RollBack(have.condemned)
    if desired is None:
        return Wait()
    if desired.digest is None:
        return Wait() if have.running is None and have.step == "idle" else StopRunning()
    if have.running == desired.digest:
        settled = have.step == "committed" and have.target == desired.digest
        return Wait() if settled else Commit()
    if not desired.may_install:
        return Wait()
    return _install(desired, have, now_s) if have.target == desired.digest else Begin()


def _install(desired: Desired, have: Have, now_s: float) -> Step:
    """The desired artifact is the one that the journal is about, and it does not run."""
    match have.step:
        case "rejected" | "rolled_back":
            return Wait()
        case "failed" if now_s < have.retry_at_s:
            return Wait(until_s=have.retry_at_s)
    if have.staged == desired.digest:
        return _tried(have, now_s)
    if have.step in ("idle", "failed", "committed"):
        return Begin()  # committed, but not running: it was lost, so it is fetched again
    return _fetched(desired, have)


def _tried(have: Have, now_s: float) -> Step:
    match have.shadow:
        case "running":
            return Wait(until_s=now_s + SHADOW_LOOK_S)
        case "over":
            return Conclude()
    if have.trial_starts < TRIAL_STARTS_MAX:
        return Try()
    return Reject(f"the agent died {have.trial_starts} times in this model's trial")


def _fetched(desired: Desired, have: Have) -> Step:
    if not have.room and not have.checked:
        return Begin()  # it is to be fetched in another way now, or somebody removed the folder
    if have.chunks < desired.chunks:
        return Fetch()
    return Stage() if have.checked else Verify()
