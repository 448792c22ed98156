"""Compression jobs: start, follow, cancel."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.recipes import check_recipe
from edgepress_server.store.jobs import JobState

api = section("jobs", "Compressions; each makes one artifact.")


class JobPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class JobsQuery(Asked):
    model: Annotated[str, Field(max_length=80)] | None = None


class Options(Asked):
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Of everything random")] = 0
    target_bytes: Annotated[
        int | None, Field(ge=1, lt=2**31, description="Of the artifact, for recipes that take a budget")
    ] = None
    coding: Annotated[
        str | None, Field(max_length=40, description="How weights are coded: auto, fast, small or a coder")
    ] = None


class JobsAsked(Asked):
    model: Annotated[str, Field(max_length=80)]
    recipe: Annotated[str, Field(max_length=80)]
    profiles: Annotated[list[Annotated[str, Field(max_length=80)]], Field(min_length=1, max_length=100)]
    dataset: Annotated[str, Field(max_length=80)] | None = Field(None, description="null: the model's own")
    options: Options = Field(default_factory=Options)


class JobAnswer(Answer):
    id: str
    kind: Literal["compress"]
    model: str
    recipe: str
    profile: str
    dataset: str | None
    options: dict[str, Any]
    state: JobState
    progress: float = Field(description="0 to 1")
    step: str
    message: str = Field(description="What it does now, or why it ended")
    attempts: int
    artifact: str | None = Field(description="Digest, once it is done")
    created_at: int
    started_at: int | None
    finished_at: int | None
    actor: str | None


class Jobs(RootModel[list[JobAnswer]]):
    pass


@api.get("/jobs", responses={200: Jobs})
@needs("viewer")
def list_jobs(query: JobsQuery) -> Response:
    """The newest 200 jobs, of one model if asked"""
    jobs = context().store.jobs.list(model=query.model)
    return answers([JobAnswer.model_validate(job) for job in jobs])


@api.post("/jobs", responses={201: Jobs})
@needs("operator")
def start_jobs(body: JobsAsked) -> Response:
    """Compress a model for some profiles: one job each

    A job that is already queued or running with the very same settings is answered instead of a second one.
    """
    store = context().store
    model = store.models.get(body.model)
    dataset = body.dataset if body.dataset is not None else model.dataset
    if dataset is not None:
        store.datasets.get(dataset)
    check_recipe(
        body.recipe,
        dataset=dataset,
        target_bytes=body.options.target_bytes,
        coding=body.options.coding,
    )
    profiles = [store.profiles.resolve(profile).id for profile in dict.fromkeys(body.profiles)]
    with store.transaction():
        jobs = [
            store.jobs.submit(
                model=model.name,
                recipe=body.recipe,
                profile=profile,
                dataset=dataset,
                options=body.options.model_dump(exclude_defaults=True),
                actor=person().name,
            )
            for profile in profiles
        ]
    return answers([JobAnswer.model_validate(job) for job in jobs], 201)


@api.get("/jobs/<id>", responses={200: JobAnswer})
@needs("viewer")
def get_job(path: JobPath) -> Response:
    """One job"""
    return answer(JobAnswer.model_validate(context().store.jobs.get(path.id)))


@api.post("/jobs/<id>/cancel", responses={200: JobAnswer})
@needs("operator")
def cancel_job(path: JobPath) -> Response:
    """Cancel a job; a running one ends within seconds"""
    return answer(JobAnswer.model_validate(context().store.jobs.cancel(path.id, actor=person().name)))
