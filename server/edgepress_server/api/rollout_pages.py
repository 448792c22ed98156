"""A rollout as its page shows it: without its devices, its devices a page at a time, its gates as of now."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.rollouts import RolloutAnswer, RolloutDeviceAnswer, rollout_answer
from edgepress_server.rollout.gates import Judgement, judge
from edgepress_server.store.rollout_pages import PAGE_MAX
from edgepress_server.store.rollout_rows import DeviceState

api = section("rollout pages", "Of large rollouts: the summary, devices a page at a time, gates as of now.")


class RolloutPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class PageQuery(Asked):
    state: DeviceState | None = None
    search: Annotated[str, Field(max_length=80, description="A part of the name")] = ""
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 100


class PagedDeviceAnswer(RolloutDeviceAnswer):
    via: Literal["mqtt", "https"] | None = Field(description="How its chunks come; null: not under way")


class DevicePageAnswer(Answer):
    total: int = Field(description="That the filter fits")
    devices: list[PagedDeviceAnswer] = Field(description="Canaries first, then by wave and name")


class VerdictAnswer(Answer):
    gate: str = Field(description="failures, p95, p95 ratio, memory, energy, agreement")
    profile: str
    state: Judgement = Field(description="undecided: too few figures, or the bound lies on the other side")
    words: str = Field(description="What was measured, its confidence bounds and what is allowed")


class Verdicts(RootModel[list[VerdictAnswer]]):
    pass


@api.get("/rollouts/<id>/summary", responses={200: RolloutAnswer})
@needs("viewer")
def get_rollout_summary(path: RolloutPath) -> Response:
    """One rollout without its devices"""
    return answer(rollout_answer(context().store.rollouts.summary(path.id)))


@api.get("/rollouts/<id>/devices", responses={200: DevicePageAnswer})
@needs("viewer")
def list_rollout_devices(path: RolloutPath, query: PageQuery) -> Response:
    """A page of a rollout's devices"""
    store = context().store
    store.rollouts.state(path.id)  # raises NotFoundError
    page = store.rollout_pages.page(
        path.id, state=query.state, search=query.search, offset=query.offset, limit=query.limit
    )
    devices = [
        PagedDeviceAnswer.model_validate({**msgspec.structs.asdict(device), "via": via})
        for device, via in zip(page.devices, page.via, strict=True)
    ]
    return answer(DevicePageAnswer(total=page.total, devices=devices))


@api.get("/rollouts/<id>/gates", responses={200: Verdicts})
@needs("viewer")
def judge_rollout(path: RolloutPath) -> Response:
    """What the gates say now, by what devices have measured so far

    Empty where the policy has no gates, or nobody has settled yet. What stopped or passed a rollout is in its
    decisions.
    """
    store = context().store
    rollout = store.rollouts.summary(path.id)
    if not rollout.policy.gates.asked:
        return answers([])
    settled = all(rollout.counts.get(state, 0) == 0 for state in ("waiting", "wanted", "fetching", "trial"))
    row = store.rollout_reads.row(path.id)
    since = None if row is None else row["gates_since"]
    figures = store.rollout_figures.of(path.id, since=since, min_devices=rollout.policy.gates.min_devices)
    return answers(
        [
            VerdictAnswer.model_validate(verdict)
            for profile in figures
            for verdict in judge(rollout.policy.gates, profile, complete=settled)
        ]
    )
