"""A rollout's canaries against those that it has not told."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import ConfigDict, Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.rollout_timeline import TimelinePath
from edgepress_server.api.telemetry_desk import desk
from edgepress_server.api.telemetry_times import Time
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.rollout_arms import DEVICES_MAX
from edgepress_server.telemetry_query.compare import compare, default_range
from edgepress_server.telemetry_query.figures import OF_A_SERIES, OVER_TIME
from edgepress_server.telemetry_query.plan import RANGE_MAX_MS, Tier

api = section("rollout comparison", "Canaries against control: the same figures in the same steps.")

Figures = dict[str, float | None]


class CompareQuery(Asked):
    from_: Time | None = Field(
        None, alias="from", description="Unix ms; default: two hours before the first device was told"
    )
    to: Time | None = Field(None, description="Unix ms; default: now, or two hours after it was over")
    step_ms: Annotated[int, Field(ge=1, le=RANGE_MAX_MS)] | None = Field(
        None, description="Default: about 300 points"
    )


class ArmAnswer(Answer):
    devices: int = Field(description=f"All; figures are of at most {DEVICES_MAX} of them")
    names: list[str] = Field(description="The first 50 of those")
    figures: Figures | None = Field(
        description=f"devices (that sent any) {', '.join(OF_A_SERIES)}; null: nothing was measured"
    )
    series: dict[str, list[float | None]] = Field(description=f"{', '.join(OVER_TIME)}: a value a step")


class ComparedProfile(Answer):
    profile: str
    digest: str = Field(description="What the rollout brings there")
    canary: ArmAnswer = Field(
        description="Committed devices; figures since each was told, with that artifact"
    )
    control: ArmAnswer = Field(description="Devices that were not told; figures since the first was told")
    before: Figures | None = Field(description="The canaries, in the day before each was told")


class CompareAnswer(Answer):
    model_config = ConfigDict(serialize_by_alias=True)

    rollout: str
    model: str
    release: int
    state: str
    from_: int = Field(alias="from")
    to: int
    step_ms: int
    tier: Tier
    told_at: int | None = Field(description="When the first device was told")
    t: list[int]
    profiles: list[ComparedProfile]


@api.get("/rollouts/<id>/compare", responses={200: CompareAnswer})
@needs("viewer")
def compare_rollout(path: TimelinePath, query: CompareQuery) -> Response:
    """Canaries against control, before and after, per profile"""
    store = context().store
    store.rollouts.state(path.id)  # raises NotFoundError
    about = store.rollout_arms.of(path.id)
    now_ms = store.now_ms()
    first_ms, last_ms = default_range(about, now_ms)
    from_ms = first_ms if query.from_ is None else query.from_
    to_ms = last_ms if query.to is None else query.to
    if from_ms >= to_ms:
        raise InvalidInputError("time_range", "`from` must lie before `to`; both are Unix milliseconds.")
    found = compare(desk().source, about, from_ms, to_ms, query.step_ms, now_ms)
    return answer(
        CompareAnswer.model_construct(
            rollout=about.rollout,
            model=about.model,
            release=about.release,
            state=about.state,
            from_=found.plan.from_ms,
            to=found.plan.to_ms,
            step_ms=found.plan.step_ms,
            tier=found.plan.tier,
            told_at=about.told_at,
            t=found.t,
            profiles=[ComparedProfile.model_validate(one) for one in found.profiles],
        )
    )
