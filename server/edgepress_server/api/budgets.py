"""Budgets: what a model is to keep on the devices of a profile, watched in their telemetry."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response
from pydantic import Field, RootModel

from edgepress_compression.search.budget import Budget
from edgepress_devices.profiling_messages import PROFILING_SECONDS_MAX, PROFILING_SECONDS_MIN
from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.store.budgets import PROFILING_S, SUSTAINED_MINUTES, WINDOW_S, FleetBudget
from edgepress_server.watch.decide import Judgement, Kind, Scope
from edgepress_server.watch.observe import look

api = section("budgets", "What a model is to keep on the devices of a profile, watched in their telemetry.")

Name = Annotated[str, Field(max_length=80)]


class BudgetQuery(Asked):
    model: Name | None = Field(None, description="default: all")


class BudgetPath(Asked):
    model: Name
    profile: Name


class LaterSearches(Asked):
    """Of the searches that follow when it is missed; null: as for any search."""

    seconds: Annotated[int, Field(ge=10, le=7 * 24 * 3600)] | None = None
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    device: Annotated[
        Name | None, Field(description="Candidates of the front are measured on this device")
    ] = None


class FleetBudgetAsked(Asked):
    """At least one limit; null: not limited."""

    model: Name
    profile: Name
    latency_us: Annotated[float, Field(gt=0, le=1e12, description="p95 of one inference")] | None = None
    memory_bytes: Annotated[int, Field(gt=0, le=2**53, description="Of the agent's process")] | None = None
    energy_mj: Annotated[float, Field(gt=0, le=1e12, description="Of one inference")] | None = None
    artifact_bytes: Annotated[int, Field(gt=0, le=2**53, description="For searches")] | None = None
    max_drop: Annotated[float, Field(ge=0, le=1, description="For searches; 0.01: one point")] | None = None
    prediction_error: (
        Annotated[float, Field(ge=0.05, le=100, description="0.5: 1.5 times either way")] | None
    ) = None
    auto: bool = Field(False, description="Calibrate, search, release and roll out without asking")
    window_s: Annotated[int, Field(ge=60, le=86_400, description="Older telemetry says nothing")] = WINDOW_S
    sustained_minutes: Annotated[int, Field(ge=1, le=1440, description="Missed, or kept, for so long")] = (
        SUSTAINED_MINUTES
    )
    profiling_s: Annotated[
        int,
        Field(
            ge=PROFILING_SECONDS_MIN,
            le=PROFILING_SECONDS_MAX,
            description="That a device measures itself before a search",
        ),
    ] = PROFILING_S
    search: LaterSearches = Field(default_factory=LaterSearches)


class BudgetNowAnswer(Answer):
    """An artifact that devices run, held against one limit."""

    digest: str
    kind: Kind
    scope: Scope
    state: Judgement
    measured: float = Field(description="us, bytes, mJ; prediction: measured / predicted")
    limit: float
    devices: tuple[str, ...] = Field(description="That miss it")
    judged: int = Field(description="Devices with enough telemetry")
    inferences: int


class FleetBudgetAnswer(Answer):
    model: str
    profile: str
    latency_us: float | None
    memory_bytes: int | None
    energy_mj: float | None
    artifact_bytes: int | None
    max_drop: float | None
    prediction_error: float | None
    auto: bool
    window_s: int
    sustained_minutes: int
    profiling_s: int
    search: dict[str, Any] = Field(description="Options of the searches that follow")
    source: str | None = Field(description="Search that it comes from; null: set by hand")
    words: str
    created_at: int
    updated_at: int
    actor: str | None
    now: list[BudgetNowAnswer] = Field(description="Empty where too little telemetry says anything")


class FleetBudgets(RootModel[list[FleetBudgetAnswer]]):
    pass


def _answer(budget: FleetBudget) -> FleetBudgetAnswer:
    now = [
        BudgetNowAnswer(
            digest=one.digest,
            **{name: getattr(v, name) for name in BudgetNowAnswer.model_fields if name != "digest"},
        )
        for one in look(context().store, budget)
        for v in one.verdicts
        if v.scope == "profile" or v.state == "missed"
    ]
    fields = {name: getattr(budget, name) for name in budget.__struct_fields__ if name != "options"}
    return FleetBudgetAnswer(**fields, search=budget.options, words=budget.words(), now=now)


@api.get("/budgets", responses={200: FleetBudgets})
@needs("viewer")
def list_budgets(query: BudgetQuery) -> Response:
    """All budgets with what the devices show now"""
    return answers([_answer(budget) for budget in context().store.budgets.list(model=query.model)])


@api.post("/budgets", responses={200: FleetBudgetAnswer})
@needs("operator")
def set_budget(body: FleetBudgetAsked) -> Response:
    """Set or replace the budget of a model on a profile"""
    store = context().store
    store.profiles.resolve(body.profile)
    if body.search.device is not None:
        store.devices.get(body.search.device)
    budget = store.budgets.put(
        body.model,
        body.profile,
        Budget(
            latency_us=body.latency_us,
            artifact_bytes=body.artifact_bytes,
            memory_bytes=body.memory_bytes,
            energy_mj=body.energy_mj,
            max_drop=body.max_drop,
        ),
        auto=body.auto,
        prediction_error=body.prediction_error,
        window_s=body.window_s,
        sustained_minutes=body.sustained_minutes,
        profiling_s=body.profiling_s,
        options=body.search.model_dump(exclude_none=True),
        actor=person().name,
    )
    return answer(_answer(budget))


@api.delete("/budgets/<model>/<profile>", responses={204: None})
@needs("operator")
def clear_budget(path: BudgetPath) -> Response:
    """Take a budget back; what was found to miss it is resolved"""
    context().store.budgets.clear(path.model, path.profile, actor=person().name)
    return nothing()
