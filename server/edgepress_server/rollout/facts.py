"""What `decide` is told, and what it may answer. Plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgepress_server.rollout.figures import ProfileFigures
from edgepress_server.store.releases import ReleaseState
from edgepress_server.store.rollout_decisions import What
from edgepress_server.store.rollout_policy import Policy
from edgepress_server.store.rollout_rows import DeviceState, RolloutState

SETTLED: Final = ("committed", "failed", "skipped", "unreached")
UNDER_WAY: Final = ("wanted", "fetching", "trial")  # told, not settled


@dataclass(frozen=True)
class Cell:
    """So many devices of a rollout that are alike."""

    profile: str
    wave: int
    state: DeviceState
    there: bool  # online, or heard from a moment ago
    n: int
    enrolled: bool = True  # it has a key to which a want can be sealed


@dataclass(frozen=True)
class RolloutFacts:
    id: str
    state: RolloutState
    policy: Policy
    cells: Sequence[Cell]
    stage_since: int  # Unix ms, as all moments here
    wave: int = 0
    begun_at: int | None = None
    settled_at: int | None = None
    reason: str = ""
    release: ReleaseState = "signed"
    release_id: str = ""
    withdrawn_reason: str = ""
    approved: frozenset[int] = frozenset()
    failed: Sequence[tuple[str, str]] = ()  # the first few: device, reason
    told_lately: int = 0  # in the last minute
    next_slot_at: int | None = None  # when the oldest of those leaves that minute
    download_slots: int | None = None  # devices that the fleet's download limit has room for; None: no limit
    overruled: bool = False  # a person overruled the gates of this stage
    rollback: bool = False  # who committed goes back, too
    give_back: int = 0  # devices that it told last and that have not committed
    take_back: int = 0  # devices that committed, run it still and have not been told to go back
    going_back: Sequence[tuple[str, RolloutState, str]] = ()  # rollouts that take it back: id, state, reason
    deltas_pending: int = 0  # that are still being made for this release
    figures: Callable[[bool], Sequence[ProfileFigures]] = field(default=lambda _fresh: ())
    """what gates judge by; True: as of now, not as of a few seconds ago"""

    def count(
        self,
        *states: str,
        up_to: int | None = None,
        wave: int | None = None,
        profile: str | None = None,
        there: bool | None = None,
        enrolled: bool | None = None,
    ) -> int:
        """Devices in any of these states; no states: in any."""
        return sum(
            cell.n
            for cell in self.cells
            if (not states or cell.state in states)
            and (up_to is None or cell.wave <= up_to)
            and (wave is None or cell.wave == wave)
            and (profile is None or cell.profile == profile)
            and (there is None or cell.there == there)
            and (enrolled is None or cell.enrolled == enrolled)
        )


@dataclass(frozen=True)
class Tell:
    """Tell up to so many waiting devices of the waves up to this one; those that are there first."""

    n: int
    up_to: int
    there_only: bool = False


@dataclass(frozen=True)
class Promote:
    """So many waiting devices of the profile become canaries; those that are there first."""

    profile: str
    n: int
    why: str


@dataclass(frozen=True)
class Begin:
    """The stage may tell devices from now on."""

    why: str


@dataclass(frozen=True)
class Settled:
    """All that the stage reaches are settled since now."""


@dataclass(frozen=True)
class NextWave:
    wave: int
    why: str = ""  # what the stage before it passed with; "": there was none


@dataclass(frozen=True)
class GoTo:
    state: RolloutState
    reason: str = ""
    what: What | None = None


@dataclass(frozen=True)
class GiveBack:
    """Who was told and has not committed gets its old order back; who was not told is left out."""


@dataclass(frozen=True)
class TakeBack:
    """Who committed gets what it ran before, under a new release counter."""


@dataclass(frozen=True)
class RollBack:
    """Take it all back, by the server's decision."""

    reason: str


@dataclass(frozen=True)
class Unreach:
    """Nobody waits any longer for the devices of these waves that are not there."""

    reason: str
    up_to: int | None = None  # None: of all waves, and also those that were not told


@dataclass(frozen=True)
class Note:
    """A line of the log."""

    what: What
    why: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do until something happens, or until this moment; the sentence says what it waits for."""

    sentence: str
    until: int | None = None


Action = (
    Tell
    | Promote
    | Begin
    | Settled
    | NextWave
    | GoTo
    | GiveBack
    | TakeBack
    | RollBack
    | Unreach
    | Note
    | Wait
)
