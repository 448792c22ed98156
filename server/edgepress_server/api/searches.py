"""Searches: which recipe meets a budget on a profile."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Response
from pydantic import Field

from edgepress_compression.errors import BudgetError
from edgepress_compression.search.budget import Budget, check
from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.jobs import JobAnswer
from edgepress_server.api.search_answers import (
    SearchAnswer,
    SearchList,
    TrialDetail,
    TrialList,
    summary,
    trial_answers,
    trial_detail,
    whole,
)
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.jobs.search_outcome import artifact_recipe, trial_report
from edgepress_server.store.searches import Search

api = section("searches", "Which recipe meets a budget on a profile; trials, their front, the best.")

SECONDS_MIN, SECONDS_MAX = 10, 7 * 24 * 3600
TRIALS_MAX = 10_000
WORKERS_MAX = 64
REASON_MAX = 1000


class SearchPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class TrialPath(SearchPath):
    number: Annotated[int, Field(ge=0, le=TRIALS_MAX)]


class SearchesQuery(Asked):
    model: Annotated[str, Field(max_length=80)] | None = None
    profile: Annotated[str, Field(max_length=80)] | None = None


class BudgetAsked(Asked):
    """Hard limits, at least one."""

    latency_us: float | None = Field(None, description="p50 of one sample on the profile, microseconds")
    artifact_bytes: int | None = None
    memory_bytes: int | None = Field(None, description="What a process holds to load and run it")
    energy_mj: float | None = Field(None, description="Of one inference, millijoules")
    max_drop: float | None = Field(
        None, description="Of the data set's metric, a fraction: 0.01 is one point"
    )


class SearchOptions(Asked):
    seconds: Annotated[
        int, Field(ge=SECONDS_MIN, le=SECONDS_MAX, description="Of work, waiting not counted")
    ] = 900
    trials: (
        Annotated[int, Field(ge=1, le=TRIALS_MAX, description="At most; null: as the time allows")] | None
    ) = None
    workers: Annotated[int, Field(ge=1, le=WORKERS_MAX, description="Processes side by side")] = 1
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Of everything random")] = 0
    device: Annotated[
        str | None,
        Field(max_length=80, description="The best candidates are rolled out to it and measured there"),
    ] = None


class SearchAsked(Asked):
    model: Annotated[str, Field(max_length=80)]
    profile: Annotated[str, Field(max_length=80)]
    dataset: Annotated[str, Field(max_length=80)] | None = Field(None, description="null: the model's own")
    budget: BudgetAsked
    options: SearchOptions = Field(default_factory=SearchOptions)
    reason: Annotated[str, Field(max_length=REASON_MAX)] = Field("", description="Why, for people")


class TrialArtifact(Answer):
    """The artifact of a trial: there, or being made again from its recipe."""

    digest: str | None = Field(description="null: the job makes it")
    job: JobAnswer | None


@api.get("/searches", responses={200: SearchList})
@needs("viewer")
def list_searches(query: SearchesQuery) -> Response:
    """The newest 200 searches, of one model or profile if asked"""
    store = context().store
    found = store.searches.list(model=query.model, profile=query.profile)
    return answers([summary(store, search) for search in found])


@api.post("/searches", responses={201: SearchAnswer})
@needs("operator")
def start_search(body: SearchAsked) -> Response:
    """Search for the recipe that meets a budget

    A search that is queued or running with the very same settings is answered instead of a second one.
    """
    store = context().store
    model = store.models.get(body.model)
    profile = store.profiles.resolve(body.profile)
    dataset = body.dataset if body.dataset is not None else model.dataset
    if dataset is not None:
        store.datasets.get(dataset)
    budget = _checked(body.budget)
    if budget.max_drop is not None and dataset is None:
        raise InvalidInputError(
            "no_dataset",
            f"How much accuracy is lost can only be said on data, and {model.name} has no data set. "
            "Give it one, or leave the allowed drop out.",
        )
    if body.options.device is not None:
        _check_device(body.options.device, profile.id)
    search = store.searches.submit(
        model=model.name,
        profile=profile.id,
        dataset=dataset,
        budget=msgspec.to_builtins(budget),
        options=body.options.model_dump(exclude_none=True),
        actor=person().name,
        reason=body.reason,
    )
    return answer(whole(store, search), 201)


@api.get("/searches/<id>", responses={200: SearchAnswer})
@needs("viewer")
def get_search(path: SearchPath) -> Response:
    """One search with its front, live while it runs"""
    store = context().store
    return answer(whole(store, store.searches.get(path.id)))


@api.get("/searches/<id>/trials", responses={200: TrialList})
@needs("viewer")
def list_trials(path: SearchPath) -> Response:
    """All trials of a search, by number; each figure says what it rests on"""
    store = context().store
    return answers(trial_answers(store, store.searches.get(path.id)))


@api.get("/searches/<id>/trials/<number>", responses={200: TrialDetail})
@needs("viewer")
def get_trial(path: TrialPath) -> Response:
    """One trial with its recipe as TOML"""
    store = context().store
    return answer(trial_detail(store, store.searches.get(path.id), path.number))


@api.post("/searches/<id>/cancel", responses={200: SearchAnswer})
@needs("operator")
def cancel_search(path: SearchPath) -> Response:
    """Cancel a search; a running one ends within seconds, its trials stay"""
    store = context().store
    return answer(whole(store, store.searches.cancel(path.id, actor=person().name)))


@api.post("/searches/<id>/trials/<number>/artifact", responses={200: TrialArtifact, 202: TrialArtifact})
@needs("operator")
def make_artifact(path: TrialPath) -> Response:
    """The artifact of a trial, to be released

    200: it is there. 202: its file was dropped, or none was made; a job makes it from the trial's recipe and
    the whole data set.
    """
    store = context().store
    search = store.searches.get(path.id)
    row = store.search_trials.get(search.id, path.number)
    if row.trial.state == "failed":
        raise ConflictError(
            "trial_failed", f"Trial {path.number} failed, so there is no artifact: {row.trial.error}"
        )
    digest = _final_digest(search, path.number)
    if digest is None and row.artifact is not None:
        digest = _as_artifact(search, path.number)
    if digest is not None:
        return answer(TrialArtifact(digest=digest, job=None))
    job = store.jobs.submit(
        model=search.model,
        recipe=artifact_recipe(search.id, path.number),
        profile=search.profile,
        dataset=search.dataset,
        options={"search": search.id, "trial": path.number, "seed": int(search.options.get("seed", 0))},
        actor=person().name,
    )
    return answer(TrialArtifact(digest=None, job=JobAnswer.model_validate(job)), 202)


def _checked(asked: BudgetAsked) -> Budget:
    """Raises InvalidInputError."""
    budget = Budget(**asked.model_dump(exclude_none=True))
    if budget.empty:
        raise InvalidInputError(
            "empty_budget",
            "The budget has no limit. Say at least one: latency, size, memory, energy or drop.",
        )
    try:
        return check(budget)
    except BudgetError as error:
        raise InvalidInputError("bad_budget", str(error)) from error


def _check_device(name: str, profile: str) -> None:
    """Raises NotFoundError, ConflictError."""
    device = context().store.devices.get(name)
    if device.status in ("registered", "revoked"):
        why = "has not enrolled yet" if device.status == "registered" else "is revoked"
        raise ConflictError("device_not_enrolled", f"Device {name} {why}; enrol it first, or take another.")
    if device.profile != profile:
        raise ConflictError(
            "device_profile",
            f"Device {name} has the profile {device.profile}, and the search is for {profile}.",
        )


def _final_digest(search: Search, number: int) -> str | None:
    """Of the artifact that the search made from all the data of its best trial, or the nearest one."""
    result = search.result
    if result is None:
        return None
    if result["best"] == number:
        return search.chosen
    return result.get("offered") if result["nearest"] == number and result["best"] is None else None


def _as_artifact(search: Search, number: int) -> str | None:
    """The trial's file among the artifacts; None where it was dropped meanwhile."""
    store = context().store
    with store.transaction():
        row = store.search_trials.get(search.id, number)
        if row.artifact is None:
            return None
        try:
            size_bytes = store.blobs.path(row.artifact).stat().st_size
        except (NotFoundError, FileNotFoundError):
            return None
        if store.artifacts.find(row.artifact) is None:
            store.artifacts.add(
                row.artifact,
                model=search.model,
                profile=search.profile,
                recipe=artifact_recipe(search.id, number),
                size_bytes=size_bytes,
                report=trial_report(store, search, row.trial, size_bytes),
                job=None,
            )
        return row.artifact
