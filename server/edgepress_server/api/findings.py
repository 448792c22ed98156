"""Findings: budgets that devices miss, and what became of them."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.store.findings import Finding, FindingKind, FindingScope, FindingState
from edgepress_server.watch.choices import accept, dismiss

api = section("findings", "Budgets that devices miss, and what became of them.")


class FindingPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class FindingQuery(Asked):
    model: Annotated[str, Field(max_length=80)] | None = None
    profile: Annotated[str, Field(max_length=80)] | None = None
    rollout: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="That it led to, or that brought what misses the budget"
    )
    over: bool = Field(True, description="false: only those that are not over")


class AcceptAsked(Asked):
    release: bool = Field(True, description="Release what the search finds without asking again")


class StepAnswer(Answer):
    number: int
    at: int
    what: str
    sentence: str
    about: str | None = Field(description="search, rollout or profile")
    about_id: str | None


class FindingAnswer(Answer):
    id: str
    kind: FindingKind
    scope: FindingScope = Field(description="device: some devices miss what the others of the profile keep")
    model: str
    profile: str
    digest: str = Field(description="The artifact that runs while the budget is missed")
    rollout: str | None = Field(description="That brought it")
    measured: float = Field(description="us, bytes, mJ; prediction: measured / predicted")
    limit: float
    predicted_us: float | None
    devices: list[str] = Field(description="That miss it")
    judged: int
    inferences: int
    since: int
    sentence: str = Field(description="What is wrong")
    state: FindingState
    message: str = Field(description="What is being done, or waited for")
    accepted_by: str | None
    search: str | None
    chosen: str | None = Field(description="Digest of what was released")
    release: str | None
    new_rollout: str | None
    attempts: int
    next_try_at: int | None
    created_at: int
    updated_at: int
    ended_at: int | None
    steps: list[StepAnswer] = Field(description="Its story, oldest first; empty in lists")


class Findings(RootModel[list[FindingAnswer]]):
    pass


def _answer(finding: Finding, *, steps: bool) -> FindingAnswer:
    found = context().store.findings.steps(finding.id) if steps else ()
    return FindingAnswer(**vars(finding), steps=[StepAnswer.model_validate(step) for step in found])


@api.get("/findings", responses={200: Findings})
@needs("viewer")
def list_findings(query: FindingQuery) -> Response:
    """All findings: those that are not over, then the newest"""
    found = context().store.findings.list(
        model=query.model, profile=query.profile, new_rollout=query.rollout, over=query.over
    )
    return answers([_answer(finding, steps=False) for finding in found])


@api.get("/findings/<id>", responses={200: FindingAnswer})
@needs("viewer")
def get_finding(path: FindingPath) -> Response:
    """One finding with its story"""
    return answer(_answer(context().store.findings.get(path.id), steps=True))


@api.post("/findings/<id>/accept", responses={200: FindingAnswer})
@needs("operator")
def accept_finding(path: FindingPath, body: AcceptAsked) -> Response:
    """Do what is proposed, or try again now"""
    found = accept(context().store, path.id, release_too=body.release, actor=person().name)
    return answer(_answer(found, steps=True))


@api.post("/findings/<id>/dismiss", responses={200: FindingAnswer})
@needs("operator")
def dismiss_finding(path: FindingPath) -> Response:
    """Nothing is to be done about this artifact"""
    return answer(_answer(dismiss(context().store, path.id, actor=person().name), steps=True))
