"""What a rollout is made of, and how its rows are read."""

from __future__ import annotations

import sqlite3
from typing import Final, Literal, get_args

import msgspec

from edgepress_devices.protocol import ProtocolError, State, from_json
from edgepress_server.store.releases import Release
from edgepress_server.store.rollout_policy import Policy, Target

RolloutState = Literal[
    "draft", "signed", "canary", "ramp", "soak", "done", "paused", "aborted", "rolling_back"
]
DeviceState = Literal["waiting", "wanted", "fetching", "trial", "committed", "failed", "skipped", "unreached"]
Stage = Literal["canary", "ramp"]

FINAL: Final = ("done", "aborted")
DEVICE_STATES: Final[tuple[DeviceState, ...]] = get_args(DeviceState)


class RolloutDevice(msgspec.Struct):
    device: str
    profile: str
    digest: str
    stage: Stage
    wave: int  # 0: canary
    state: DeviceState
    reason: str
    updated_at: int  # Unix ms
    told_at: int | None = None
    want_counter: int | None = None
    chunks_have: int | None = None
    chunks_total: int | None = None
    online: bool = False
    previous_digest: str | None = None  # what it was to run before
    waiting: str | None = None  # why its download does not go on, as it says
    delta: bool = False  # it fetches, or fetched, a delta


class Approval(msgspec.Struct, frozen=True):
    wave: int
    at: int  # Unix ms
    actor: str | None


class Rollout(msgspec.Struct):
    id: str
    release: Release
    state: RolloutState
    reason: str
    policy: Policy
    created_at: int  # Unix ms
    stage_since: int
    finished_at: int | None
    actor: str | None
    counts: dict[str, int]  # of devices, by state
    devices: list[RolloutDevice]  # in `list()` empty
    resume_state: RolloutState | None = None
    wave: int = 0  # 0: canaries
    waiting: str = ""  # what it waits for, in words
    begun_at: int | None = None
    settled_at: int | None = None
    target: Target | None = None  # None: the devices were named
    approvals: list[Approval] = []
    rollback_of: str | None = None
    rolled_back_by: list[str] = []  # rollouts that take this one back

    @property
    def awaits_approval(self) -> int | None:
        """The stage (0: canaries) that a person has to approve now."""
        begins = self.state in ("signed", "ramp") and self.begun_at is None
        if not begins or not self.policy.approval_needed(self.wave):
            return None
        return None if any(each.wave == self.wave for each in self.approvals) else self.wave


def stage_name(wave: int, waves: int) -> str:
    """In words: "the canary stage", "wave 2 of 3", and where there is one wave only "the ramp"."""
    if wave == 0:
        return "the canary stage"
    return "the ramp" if waves == 1 else f"wave {wave} of {waves}"


def read_device(row: sqlite3.Row) -> RolloutDevice:
    report = read_report(row["report"])
    fetching = report is not None and report.staged == row["digest"]
    return RolloutDevice(
        device=row["device"],
        profile=row["profile"],
        digest=row["digest"],
        stage=row["stage"],
        wave=row["wave"],
        state=row["state"],
        reason=row["reason"],
        updated_at=row["updated_at"],
        told_at=row["told_at"],
        want_counter=row["want_counter"],
        chunks_have=report.chunks_have if report is not None and fetching else None,
        chunks_total=report.chunks_total if report is not None and fetching else None,
        online=bool(row["online"]),
        previous_digest=row["previous_digest"],
        waiting=report.waiting if report is not None and fetching else None,
        delta=report is not None and fetching and report.delta,
    )


def read_report(text: str | None) -> State | None:
    """The last full up/state message as it is kept in ``devices.state``."""
    if text is None:
        return None
    try:
        return from_json(State, text.encode("utf-8"))
    except ProtocolError:  # written by an older version of the protocol: as if it had not reported
        return None


def words(state: str) -> str:
    return state.replace("_", " ")
