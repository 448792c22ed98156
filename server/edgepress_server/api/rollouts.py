"""Rollouts: a release on its way to devices, in stages."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.releases import ReleaseAnswer, release_answer
from edgepress_server.api.rollout_policy import PolicyAnswer, PolicyAsked
from edgepress_server.store.rollout_decisions import What
from edgepress_server.store.rollout_rows import DeviceState, Rollout, RolloutState, Stage

__all__ = ["Names", "PolicyAsked"]

api = section("rollouts", "A release on its way to devices, in stages.")

Names = Annotated[list[Annotated[str, Field(max_length=80)]], Field(max_length=100_000)]


class RolloutPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class RolloutAsked(Asked):
    """To the named devices, or to every enrolled one that all the others fit; none of them: everybody."""

    release: Annotated[str, Field(max_length=40)]
    devices: Names | None = None
    profiles: Names | None = Field(None, description="Any of them")
    labels: Annotated[dict[str, str], Field(max_length=64)] | None = Field(None, description="All of them")
    groups: Annotated[list[Annotated[str, Field(max_length=80)]], Field(max_length=100)] | None = Field(
        None, description="Any of them"
    )
    query: Annotated[str, Field(max_length=2000)] | None = Field(
        None, description='`profile = raspberry-pi-4 and (site = "hall 3" or not test)`'
    )
    policy: PolicyAsked = Field(default_factory=PolicyAsked)

    def plain(self) -> dict[str, Any]:
        """As `Rollouts.create` and `Plans.of` take it."""
        return {
            "devices": self.devices,
            "profiles": self.profiles,
            "labels": self.labels,
            "groups": self.groups,
            "query": self.query,
            "policy": self.policy.plain(),
        }


class Approve(Asked):
    stage: Annotated[int, Field(ge=0, le=50)] | None = Field(
        None, description="0: the canaries, 1, 2 ...: the waves; null: the next that needs it"
    )


class Resume(Asked):
    overrule: bool = Field(False, description="The gates of this stage are not looked at any more")


class Reason(Asked):
    reason: Annotated[str, Field(max_length=500, description="Why, for people")] = ""


class LogQuery(Asked):
    after: Annotated[int, Field(ge=0, description="Decisions after this id")] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000


class TargetAnswer(Answer):
    profiles: list[str]
    labels: dict[str, str]
    groups: list[str]
    query: str


class ApprovalAnswer(Answer):
    wave: int
    at: int
    actor: str | None


class RolloutDeviceAnswer(Answer):
    device: str
    profile: str
    digest: str
    stage: Stage
    wave: int = Field(description="0: canary")
    state: DeviceState
    reason: str
    updated_at: int
    told_at: int | None
    chunks_have: int | None
    chunks_total: int | None
    online: bool
    previous_digest: str | None = Field(description="What it was to run before")
    waiting: str | None = Field(description="Why its download does not go on, as it says")
    delta: bool = Field(description="It fetches, or fetched, a delta")


class RolloutAnswer(Answer):
    id: str
    release: ReleaseAnswer
    state: RolloutState
    reason: str
    waiting: str = Field(description="What it waits for, in words; empty: for nothing")
    wave: int = Field(description="The stage it is in: 0 the canaries, 1, 2 ... the waves")
    awaits_approval: int | None = Field(description="Stage that a person has to approve now")
    approvals: list[ApprovalAnswer]
    resume_state: RolloutState | None = Field(description="While it is paused: where it goes on")
    policy: PolicyAnswer
    target: TargetAnswer | None = Field(description="null: the devices were named")
    created_at: int
    stage_since: int
    begun_at: int | None = Field(description="When its stage could first tell a device")
    settled_at: int | None = Field(description="Since when the devices that its stage reached are settled")
    finished_at: int | None
    actor: str | None
    rollback_of: str | None = Field(description="The rollout that this one takes back")
    rolled_back_by: list[str] = Field(description="Rollouts that take this one back")
    counts: dict[DeviceState, int] = Field(description="Devices by state")
    devices: list[RolloutDeviceAnswer] = Field(description="Empty in lists")


class Rollouts(RootModel[list[RolloutAnswer]]):
    pass


class DecisionAnswer(Answer):
    id: int
    at: int
    wave: int = Field(description="The stage then; 0: canaries")
    what: What
    why: str
    actor: str | None = Field(description="null: the server")


class Decisions(RootModel[list[DecisionAnswer]]):
    pass


class PlannedProfileAnswer(Answer):
    profile: str
    digest: str
    bytes: int = Field(description="Of the artifact")
    devices: int
    online: int
    waves: list[int] = Field(description="Devices of each stage; the first number: canaries")
    deltas: int = Field(description="Devices for which a delta is ready")
    delta_bytes: int = Field(description="That these devices fetch together")


class PlannedDeviceAnswer(Answer):
    device: str
    profile: str
    digest: str
    stage: Stage
    wave: int
    online: bool
    delta: bool


class LeftOutAnswer(Answer):
    device: str
    profile: str
    code: str
    reason: str


class PlanAnswer(Answer):
    """What a rollout would do. Which devices are in which wave is drawn anew when it starts."""

    release: str
    devices_total: int
    profiles: list[PlannedProfileAnswer]
    devices: list[PlannedDeviceAnswer] = Field(description="The first 1000")
    left_out: list[LeftOutAnswer] = Field(description="Meant, but not reached: the first 1000")
    left_out_total: dict[str, int] = Field(description="Reason's code -> devices")
    server_bytes: int = Field(description="What the server sends once")
    device_bytes: int = Field(description="What all devices fetch together")
    device_bytes_full: int = Field(description="The same without deltas")
    missing: list[str] = Field(description="In sentences")


@api.get("/rollouts", responses={200: Rollouts})
@needs("viewer")
def list_rollouts() -> Response:
    """All rollouts, newest first, without their devices"""
    return answers([rollout_answer(rollout) for rollout in context().store.rollouts.list()])


@api.post("/rollouts", responses={201: RolloutAnswer})
@needs("operator")
def create_rollout(body: RolloutAsked) -> Response:
    """Start rolling a release out

    With a release that waits for its signature the rollout is a draft until that is there.
    """
    store = context().store
    rollout = store.rollouts.create(body.release, **body.plain(), actor=person().name)
    return answer(rollout_answer(rollout), 201)


@api.post("/rollouts/plan", responses={200: PlanAnswer})
@needs("viewer")
def plan_rollout(body: RolloutAsked) -> Response:
    """Say what a rollout would do, and do nothing

    Who gets it in which stage, who is left out and why, the bytes over the air, and what is missing.
    """
    return answer(PlanAnswer.model_validate(context().store.rollout_plans.of(body.release, **body.plain())))


@api.get("/rollouts/<id>", responses={200: RolloutAnswer})
@needs("viewer")
def get_rollout(path: RolloutPath) -> Response:
    """One rollout with its devices"""
    return answer(rollout_answer(context().store.rollouts.get(path.id)))


@api.get("/rollouts/<id>/decisions", responses={200: Decisions})
@needs("viewer")
def list_decisions(path: RolloutPath, query: LogQuery) -> Response:
    """Why a rollout did what it did, oldest first"""
    store = context().store
    store.rollouts.state(path.id)
    found = store.rollouts.decisions.list(path.id, after=query.after, limit=query.limit)
    return answers([DecisionAnswer.model_validate(each) for each in found])


@api.post("/rollouts/<id>/approve", responses={200: RolloutAnswer})
@needs("operator")
def approve_rollout(path: RolloutPath, query: Approve) -> Response:
    """Let a stage begin that waits for a person's word"""
    rollouts = context().store.rollouts
    return answer(rollout_answer(rollouts.approve(path.id, query.stage, actor=person().name)))


@api.post("/rollouts/<id>/pause", responses={200: RolloutAnswer})
@needs("operator")
def pause_rollout(path: RolloutPath) -> Response:
    """Pause: devices that have begun finish, no other begins"""
    return answer(rollout_answer(context().store.rollouts.pause(path.id, actor=person().name)))


@api.post("/rollouts/<id>/resume", responses={200: RolloutAnswer})
@needs("operator")
def resume_rollout(path: RolloutPath, query: Resume) -> Response:
    """Go on where it was paused

    Devices that failed get another try, and gates judge by figures from now on; or, with `overrule`, not at
    all in this stage.
    """
    rollouts = context().store.rollouts
    return answer(rollout_answer(rollouts.resume(path.id, actor=person().name, overrule=query.overrule)))


@api.post("/rollouts/<id>/abort", responses={200: RolloutAnswer})
@needs("operator")
def abort_rollout(path: RolloutPath) -> Response:
    """Abort: devices that have not committed go back to what they were told before

    Downloads under way stop.
    """
    return answer(rollout_answer(context().store.rollouts.abort(path.id, actor=person().name)))


@api.post("/rollouts/<id>/rollback", responses={200: RolloutAnswer})
@needs("operator")
def roll_back_rollout(path: RolloutPath, query: Reason) -> Response:
    """Roll back: all its devices, those that committed too, go back to what they ran before

    Also of a rollout that is done. Who committed goes back by a rollout of its own, under a new release.
    """
    rollouts = context().store.rollouts
    said = f"rolled back by {person().name}: {query.reason}" if query.reason else ""
    return answer(rollout_answer(rollouts.rollback(path.id, actor=person().name, reason=said)))


def rollout_answer(rollout: Rollout) -> RolloutAnswer:
    said = msgspec.structs.asdict(rollout)
    said |= {"release": release_answer(rollout.release), "awaits_approval": rollout.awaits_approval}
    return RolloutAnswer.model_validate(said)
