"""Releases: artifacts of one model, signed."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.watch.adopt import adopt_budgets

api = section("releases", "What may run at all, signed by the release key.")


class ReleaseAsked(Asked):
    model: Annotated[str, Field(max_length=80)]
    artifacts: Annotated[
        list[Annotated[str, Field(max_length=80)]],
        Field(min_length=1, max_length=200, description="Digests, at most one for each profile"),
    ]
    note: Annotated[str, Field(max_length=2000)] = ""


class ReleaseAnswer(Answer):
    id: str
    model: str
    counter: int = Field(description="Grows by one; devices refuse to go below what they ran")
    artifacts: dict[str, str] = Field(description="Profile -> digest")
    note: str
    created_at: int
    actor: str | None


class Releases(RootModel[list[ReleaseAnswer]]):
    pass


@api.get("/releases", responses={200: Releases})
@needs("viewer")
def list_releases() -> Response:
    """All releases, newest first"""
    return answers([ReleaseAnswer.model_validate(release) for release in context().store.releases.list()])


@api.post("/releases", responses={201: ReleaseAnswer})
@needs("operator")
def create_release(body: ReleaseAsked) -> Response:
    """Sign artifacts as a release

    What a search found is from now on watched for that search's budget, where the model has none there yet.
    """
    here = context()
    with here.store.transaction():
        release = here.store.releases.create(
            here.keys, model=body.model, digests=body.artifacts, note=body.note, actor=person().name
        )
        adopt_budgets(here.store, release, actor=person().name)
    return answer(ReleaseAnswer.model_validate(release), 201)
