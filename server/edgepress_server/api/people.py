"""Who may use the server, and as what; for admins."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.errors import NotFoundError
from edgepress_server.store.people import Account, Role, random_password

api = section("people", "Who may use the server, and as what.")

Password = Annotated[str, Field(max_length=256)]


class PersonPath(Asked):
    name: Annotated[str, Field(max_length=80)]


class PersonAsked(Asked):
    name: Annotated[str, Field(max_length=80)]
    role: Role = "viewer"
    password: Password | None = Field(None, description="null: a random one is made and told once")


class RoleAsked(Asked):
    role: Role


class PasswordAsked(Asked):
    password: Password | None = Field(None, description="null: a random one is made and told once")


class PersonAnswer(Answer):
    name: str
    role: Role
    created_at: int
    signed_in_at: int | None = Field(description="Newest of the browser sessions that last; null: none does")
    tokens: int = Field(description="How many of their tokens work now")


class NewPassword(PersonAnswer):
    password: str | None = Field(description="Where it was made here. It is shown only now")


class PersonList(RootModel[list[PersonAnswer]]):
    pass


@api.get("/people", responses={200: PersonList})
@needs("admin")
def list_people() -> Response:
    """Everybody, by name"""
    return answers([PersonAnswer.model_validate(account) for account in context().store.people.accounts()])


@api.post("/people", responses={201: NewPassword})
@needs("admin")
def add_person(body: PersonAsked) -> Response:
    """Add somebody"""
    password = body.password if body.password is not None else random_password()
    people = context().store.people
    people.add(body.name, password, body.role, actor=person().name)
    return answer(_with_password(body.name, None if body.password is not None else password), 201)


@api.patch("/people/<name>", responses={200: PersonAnswer})
@needs("admin")
def change_role(path: PersonPath, body: RoleAsked) -> Response:
    """Another role, at once; the last admin stays one"""
    context().store.people.set_role(path.name, body.role, actor=person().name)
    return answer(PersonAnswer.model_validate(_account(path.name)))


@api.put("/people/<name>/password", responses={200: NewPassword})
@needs("admin")
def reset_password(path: PersonPath, body: PasswordAsked) -> Response:
    """Another password for somebody

    Their browser sessions end; their tokens stay.
    """
    password = body.password if body.password is not None else random_password()
    context().store.people.set_password(path.name, password, actor=person().name)
    return answer(_with_password(path.name, None if body.password is not None else password))


@api.delete("/people/<name>", responses={204: None})
@needs("admin")
def remove_person(path: PersonPath) -> Response:
    """Remove somebody; their sessions and tokens end at once, and the last admin stays"""
    context().store.people.remove(path.name, actor=person().name)
    return nothing()


def _account(name: str) -> Account:
    for account in context().store.people.accounts():
        if account.name == name:
            return account
    raise NotFoundError("person_unknown", f"{name[:80]} has just been removed.")


def _with_password(name: str, password: str | None) -> NewPassword:
    return NewPassword(**vars(_account(name)), password=password)
