"""Releases: artifacts of one model, signed."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.store.releases import Release, ReleaseState
from edgepress_server.watch.adopt import adopt_budgets

api = section("releases", "What may run at all, signed by the release key.")


class ReleaseAsked(Asked):
    model: Annotated[str, Field(max_length=80)]
    artifacts: Annotated[
        list[Annotated[str, Field(max_length=80)]],
        Field(min_length=1, max_length=200, description="Digests, at most one for each profile"),
    ]
    note: Annotated[str, Field(max_length=2000)] = ""


class ReleasePath(Asked):
    id: Annotated[str, Field(max_length=40)]


class ReleaseAnswer(Answer):
    id: str
    model: str
    counter: int = Field(description="Grows by one; devices refuse to go below what they ran")
    artifacts: dict[str, str] = Field(description="Profile -> digest")
    note: str
    created_at: int
    actor: str | None
    state: ReleaseState = Field(description="awaiting_signature: a release key on another machine must sign")
    signatures: int = Field(description="That its statements carry")
    signatures_needed: int = Field(description="That devices ask for, by the newest TUF root")
    withdrawn_at: int | None
    withdrawn_reason: str
    rollback: bool = Field(description="It goes back to artifacts of before, on purpose")
    standby_for: str | None = Field(description="Release that this rollback was made ready for")


class Withdrawal(Asked):
    reason: Annotated[str, Field(max_length=500, description="Why, for people")] = ""


class Releases(RootModel[list[ReleaseAnswer]]):
    pass


@api.get("/releases", responses={200: Releases})
@needs("viewer")
def list_releases() -> Response:
    """All releases, newest first"""
    return answers([release_answer(release) for release in context().store.releases.list()])


@api.get("/releases/<id>", responses={200: ReleaseAnswer})
@needs("viewer")
def get_release(path: ReleasePath) -> Response:
    """One release, with the signatures it has and needs"""
    return answer(release_answer(context().store.releases.get(path.id)))


@api.post("/releases", responses={201: ReleaseAnswer})
@needs("operator")
def create_release(body: ReleaseAsked) -> Response:
    """Sign artifacts as a release

    Where the release key is on another machine, the release waits for its signature: `edgepress keys export`.
    What a search found is from now on watched for that search's budget, where the model has none there yet.
    """
    here = context()
    with here.store.transaction():
        release = here.store.releases.create(
            here.keys, model=body.model, digests=body.artifacts, note=body.note, actor=person().name
        )
        adopt_budgets(here.store, release, actor=person().name)
    return answer(release_answer(release), 201)


@api.post("/releases/<id>/withdraw", responses={200: ReleaseAnswer})
@needs("operator")
def withdraw_release(path: ReleasePath, body: Withdrawal) -> Response:
    """Have nobody get a release any more

    Its orders are taken off the broker. Devices that run it keep running it; rollouts of it are aborted by
    their own command.
    """
    releases = context().store.releases
    return answer(release_answer(releases.withdraw(path.id, reason=body.reason, actor=person().name)))


def release_answer(release: Release) -> ReleaseAnswer:
    needed = context().keys.threshold("release")
    return ReleaseAnswer.model_validate({**msgspec.structs.asdict(release), "signatures_needed": needed})
