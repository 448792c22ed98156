"""Rollouts: a release on its way to devices, in stages."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.releases import ReleaseAnswer
from edgepress_server.store.rollouts import DeviceState, RolloutState, Stage

api = section("rollouts", "A release on its way to devices, in stages.")

Names = Annotated[list[Annotated[str, Field(max_length=80)]], Field(max_length=100_000)]


class RolloutPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class LimitsAsked(Asked):
    """What the trial on a device must not exceed; null = not limited."""

    p95_us: Annotated[int, Field(ge=1, le=2**53)] | None = None
    rss_bytes: Annotated[int, Field(ge=1, le=2**53, description="Growth of the agent's memory")] | None = None


class PolicyAsked(Asked):
    canary_per_profile: Annotated[int, Field(ge=0, le=10_000, description="Devices that go first")] = 1
    max_failed: Annotated[int, Field(ge=0, le=1_000_000, description="More failures than this pause it")] = 0
    soak_s: Annotated[int, Field(ge=0, le=30 * 24 * 3600, description="Watched this long at the end")] = 0
    limits: LimitsAsked | None = None

    def plain(self) -> dict[str, object]:
        return self.model_dump(exclude_none=True)


class RolloutAsked(Asked):
    """To the named devices, or to every enrolled one that has these profiles and labels."""

    release: Annotated[str, Field(max_length=40)]
    devices: Names | None = None
    profiles: Names | None = None
    labels: Annotated[dict[str, str], Field(max_length=64)] | None = None
    policy: PolicyAsked = Field(default_factory=PolicyAsked)


class LimitsAnswer(Answer):
    p95_us: int | None
    rss_bytes: int | None


class PolicyAnswer(Answer):
    canary_per_profile: int
    max_failed: int
    soak_s: int
    limits: LimitsAnswer


class RolloutDeviceAnswer(Answer):
    device: str
    profile: str
    digest: str
    stage: Stage
    state: DeviceState
    reason: str
    updated_at: int
    chunks_have: int | None
    chunks_total: int | None


class RolloutAnswer(Answer):
    id: str
    release: ReleaseAnswer
    state: RolloutState
    reason: str
    policy: PolicyAnswer
    created_at: int
    stage_since: int
    finished_at: int | None
    actor: str | None
    counts: dict[DeviceState, int] = Field(description="Devices by state")
    devices: list[RolloutDeviceAnswer] = Field(description="Empty in lists")


class Rollouts(RootModel[list[RolloutAnswer]]):
    pass


@api.get("/rollouts", responses={200: Rollouts})
@needs("viewer")
def list_rollouts() -> Response:
    """All rollouts, newest first, without their devices"""
    return answers([RolloutAnswer.model_validate(rollout) for rollout in context().store.rollouts.list()])


@api.post("/rollouts", responses={201: RolloutAnswer})
@needs("operator")
def create_rollout(body: RolloutAsked) -> Response:
    """Start rolling a release out"""
    rollout = context().store.rollouts.create(
        body.release,
        devices=body.devices,
        profiles=body.profiles,
        labels=body.labels,
        policy=body.policy.plain(),
        actor=person().name,
    )
    return answer(RolloutAnswer.model_validate(rollout), 201)


@api.get("/rollouts/<id>", responses={200: RolloutAnswer})
@needs("viewer")
def get_rollout(path: RolloutPath) -> Response:
    """One rollout with its devices"""
    return answer(RolloutAnswer.model_validate(context().store.rollouts.get(path.id)))


@api.post("/rollouts/<id>/pause", responses={200: RolloutAnswer})
@needs("operator")
def pause_rollout(path: RolloutPath) -> Response:
    """Pause: devices that have begun finish, no other begins"""
    return answer(RolloutAnswer.model_validate(context().store.rollouts.pause(path.id, actor=person().name)))


@api.post("/rollouts/<id>/resume", responses={200: RolloutAnswer})
@needs("operator")
def resume_rollout(path: RolloutPath) -> Response:
    """Go on where it was paused; devices that failed get another try"""
    return answer(RolloutAnswer.model_validate(context().store.rollouts.resume(path.id, actor=person().name)))


@api.post("/rollouts/<id>/abort", responses={200: RolloutAnswer})
@needs("operator")
def abort_rollout(path: RolloutPath) -> Response:
    """Abort: devices that have not committed go back to what they were told before"""
    return answer(RolloutAnswer.model_validate(context().store.rollouts.abort(path.id, actor=person().name)))
