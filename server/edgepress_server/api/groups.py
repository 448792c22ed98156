"""Groups: named queries over devices."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.store.groups import Group

api = section("groups", "Named queries over devices, evaluated whenever they are used.")

SHOWN_MAX = 1000


class GroupPath(Asked):
    name: Annotated[str, Field(max_length=80)]


class GroupAsked(Asked):
    query: Annotated[
        str, Field(min_length=1, max_length=2000, description='`site = "hall 3" and not label.test`')
    ]
    note: Annotated[str, Field(max_length=200)] = ""


class QueryAsked(Asked):
    query: Annotated[str, Field(max_length=2000, description="Empty: everybody")]


class GroupAnswer(Answer):
    name: str
    query: str
    note: str
    created_at: int
    updated_at: int
    actor: str | None
    devices_total: int = Field(description="Now; registered and revoked ones, too")
    devices: list[str] = Field(description="The first 1000, by name; empty in lists")


class MatchesAnswer(Answer):
    devices_total: int
    devices: list[str] = Field(description="The first 1000, by name")


class Groups(RootModel[list[GroupAnswer]]):
    pass


@api.get("/groups", responses={200: Groups})
@needs("viewer")
def list_groups() -> Response:
    """All groups, with how many devices are in each now"""
    return answers([_answered(group, shown=0) for group in context().store.groups.list()])


@api.post("/groups/matches", responses={200: MatchesAnswer})
@needs("viewer")
def match_query(body: QueryAsked) -> Response:
    """Say which devices a query fits"""
    names = context().store.rollout_targets.find(body.query)
    return answer(MatchesAnswer(devices_total=len(names), devices=names[:SHOWN_MAX]))


@api.get("/groups/<name>", responses={200: GroupAnswer})
@needs("viewer")
def get_group(path: GroupPath) -> Response:
    """One group with its devices of now"""
    return answer(_answered(context().store.groups.get(path.name), shown=SHOWN_MAX))


@api.put("/groups/<name>", responses={200: GroupAnswer})
@needs("operator")
def put_group(path: GroupPath, body: GroupAsked) -> Response:
    """Make a group, or change what it means

    Rollouts that run see the change with the devices that come later; who is in them stays.
    """
    group = context().store.groups.put(path.name, body.query, note=body.note, actor=person().name)
    return answer(_answered(group, shown=SHOWN_MAX))


@api.delete("/groups/<name>", responses={204: None})
@needs("operator")
def delete_group(path: GroupPath) -> Response:
    """Forget a group; its devices stay"""
    context().store.groups.delete(path.name, actor=person().name)
    return nothing()


def _answered(group: Group, *, shown: int) -> GroupAnswer:
    names = context().store.rollout_targets.find(group.query)
    return GroupAnswer(
        name=group.name,
        query=group.query,
        note=group.note,
        created_at=group.created_at,
        updated_at=group.updated_at,
        actor=group.actor,
        devices_total=len(names),
        devices=names[:shown],
    )
