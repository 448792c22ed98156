"""Signing in, one's own password, and tokens for programs."""

from __future__ import annotations

from typing import Annotated

from flask import Response, g, request
from pydantic import Field, RootModel

from edgepress_server.api import auth
from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auth import needs, public
from edgepress_server.api.context import context
from edgepress_server.errors import ForbiddenError, InvalidInputError, UnauthenticatedError
from edgepress_server.store.people import ROLES, Role, Session
from edgepress_server.store.tokens import Token

api = section("session", "Who is signed in, and tokens for programs.")


class SignIn(Asked):
    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=256)]


class SessionAnswer(Answer):
    person: str
    role: Role
    csrf: str = Field(description="Send it as X-CSRF-Token with every request that writes")


class TokenPath(Asked):
    id: Annotated[str, Field(max_length=40)]


class PasswordChange(Asked):
    current: Annotated[str, Field(max_length=256)]
    new: Annotated[str, Field(max_length=256)]


class TokenAsked(Asked):
    name: Annotated[str, Field(min_length=1, max_length=80)]
    role: Role | None = Field(None, description="At most this; null: whatever its maker may do")
    expires_in_s: Annotated[int, Field(ge=60, le=10 * 366 * 24 * 3600)] | None = Field(
        None, description="null: until it is revoked"
    )


class TokenAnswer(Answer):
    id: str
    name: str
    person: str
    role: Role | None = Field(description="At most this; null: whatever its maker may do")
    created_at: int
    last_used_at: int | None
    expires_at: int | None = Field(description="null: until it is revoked")
    revoked_at: int | None


class NewToken(TokenAnswer):
    token: str = Field(description="The secret. It is shown only now")


class Tokens(RootModel[list[TokenAnswer]]):
    pass


@api.post("/session", responses={200: SessionAnswer}, security=[])
@public
def sign_in(body: SignIn) -> Response:
    """Sign in with name and password

    Sets the session cookie. Ten wrong passwords within five minutes from one address, or a hundred for one
    name, make the next tries wait.
    """
    here = context()
    store = here.store
    limits = ((here.login_failures, request.remote_addr or ""), (here.name_failures, body.name.lower()))
    for limit, source in limits:
        limit.check(source)
    person = store.people.check_password(body.name, body.password)
    if person is None:
        for limit, source in limits:
            limit.failed(source)
        raise UnauthenticatedError(
            "wrong_login",
            "Name and password do not match. A lost password is replaced on the server's machine, with "
            "`edgepress password NAME`.",
        )
    here.name_failures.succeeded(body.name.lower())  # not the address: one account must not cover for another
    cookie, session = store.people.open_session(person)
    response = _session_answer(session)
    auth.set_cookie(response, cookie)
    return response


@api.get("/session", responses={200: SessionAnswer})
@public
def get_session() -> Response:
    """Who is signed in with this browser; 401 when nobody is"""
    session = auth.session()
    if session is None:
        raise UnauthenticatedError("signed_out", "You are not signed in, or the session has ended.")
    return _session_answer(session)


@api.delete("/session", responses={204: None})
@public
def sign_out() -> Response:
    """Sign out of this browser"""
    session = auth.session()
    if session is not None:
        auth.check_csrf(session)
        g.person = session.person  # for the audit log
        context().store.people.close_session(request.cookies[auth.COOKIE])
    response = nothing()
    auth.clear_cookie(response)
    return response


@api.put("/session/password", responses={200: SessionAnswer})
@needs("viewer")
def change_own_password(body: PasswordChange) -> Response:
    """A new password of one's own

    Every session of the person ends, and this browser gets a new one. Tokens stay.
    """
    here, person = context(), auth.person()
    if auth.session() is None or auth.token() is not None:
        raise ForbiddenError("session_needed", "Sign in with a browser to change your own password.")
    limit = here.name_failures
    limit.check(person.name.lower())
    if here.store.people.check_password(person.name, body.current) is None:
        limit.failed(person.name.lower())
        raise InvalidInputError("wrong_password", "The current password is another.")
    here.store.people.set_password(person.name, body.new, actor=person.name)
    cookie, session = here.store.people.open_session(person)
    response = _session_answer(session)
    auth.set_cookie(response, cookie)
    return response


@api.get("/tokens", responses={200: Tokens})
@needs("viewer")
def list_tokens() -> Response:
    """One's own tokens; an admin sees everybody's"""
    person = auth.person()
    tokens = context().store.tokens.list(None if person.may(ROLES[-1]) else person)
    return answers([TokenAnswer.model_validate(token) for token in tokens])


@api.post("/tokens", responses={201: NewToken})
@needs("viewer")
def create_token(body: TokenAsked) -> Response:
    """Make a token for a program

    It may do what its maker may, or less. A token that is limited makes no others.
    """
    store = context().store
    secret, token = store.tokens.create(
        auth.person(),
        body.name,
        role=body.role,
        expires_at=None if body.expires_in_s is None else store.now_ms() + 1000 * body.expires_in_s,
        by=auth.token(),
    )
    return answer(NewToken(**vars(token), token=secret), 201)


@api.delete("/tokens/<id>", responses={200: TokenAnswer})
@needs("viewer")
def revoke_token(path: TokenPath) -> Response:
    """Revoke a token at once"""
    token: Token = context().store.tokens.revoke(path.id, actor=auth.person())
    return answer(TokenAnswer.model_validate(token))


def _session_answer(session: Session) -> Response:
    return answer(SessionAnswer(person=session.person.name, role=session.person.role, csrf=session.csrf))
