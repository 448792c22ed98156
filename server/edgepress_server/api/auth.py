"""Who is asking, and may they?

Programs send ``Authorization: Bearer <token>``. Browsers have a session cookie (HttpOnly, SameSite=Strict)
and must send ``X-CSRF-Token`` with everything that writes; a bearer token needs none, no browser adds it by
itself.

Every view under /api/v1 says the role it needs with ``@needs("operator")`` or ``@public``. A view that says
nothing is refused, so forgetting it shows at once and never opens a door.

Requests are counted for each person, and refused ones for each address (api/request_limit.py). Public views
have limits of their own: a whole fleet may come to them from one address.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, request

from edgepress_server.api.context import context
from edgepress_server.errors import ForbiddenError, UnauthenticatedError
from edgepress_server.store.people import SESSION_MS, Person, Role, Session
from edgepress_server.store.tokens import Token

COOKIE = "edgepress_session"
CSRF_HEADER = "X-CSRF-Token"
PREFIX = "/api/v1"
_READS = ("GET", "HEAD", "OPTIONS")

View = TypeVar("View", bound=Callable[..., Any])


def needs(role: Role) -> Callable[[View], View]:
    """The role a view asks for."""

    def mark(view: View) -> View:
        view.required_role = role  # type: ignore[attr-defined]
        return view

    return mark


def public(view: View) -> View:
    """Nobody needs to be signed in for this view."""
    view.required_role = None  # type: ignore[attr-defined]
    return view


def install(app: Flask) -> None:
    app.before_request(_admit)


def person() -> Person:
    """Who is signed in; only inside views that need a role."""
    found: Person = g.person
    return found


def token() -> Token | None:
    """The token of this request, if it came with one; only inside views that need a role."""
    found: Token | None = g.get("token")
    return found


def session() -> Session | None:
    """The browser session of this request, if it came with one."""
    cookie = request.cookies.get(COOKIE)
    return context().store.people.find_session(cookie) if cookie else None


def set_cookie(response: Response, cookie: str) -> None:
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_MS // 1000,
        httponly=True,
        samesite="Strict",
        secure=context().settings.url.startswith("https:"),
    )


def clear_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")


def _admit() -> None:
    if not request.path.startswith(PREFIX) or request.endpoint is None:
        return
    view = current_app.view_functions[request.endpoint]
    if not hasattr(view, "required_role"):
        raise ForbiddenError("no_role", "Nobody may use this address: it does not say who may.")
    role: Role | None = view.required_role
    if role is None:
        return
    limits = context().request_limits
    try:
        who = _identify()
    except (UnauthenticatedError, ForbiddenError):
        limits.refused.count(f"address {request.remote_addr}")
        raise
    (limits.reads if request.method in _READS else limits.writes).count(who.name)
    if not who.may(role):
        raise ForbiddenError(
            "role",
            f"This needs the role {role}, and {who.name} is a {who.role}. Ask an admin, or sign in as one.",
        )
    g.person = who


def _identify() -> Person:
    header = request.headers.get("Authorization")
    if header is not None:
        kind, _, secret = header.partition(" ")
        found = context().store.tokens.find(secret.strip()) if kind.lower() == "bearer" else None
        if found is None:
            raise UnauthenticatedError("bad_token", "The token is unknown, has expired or was revoked.")
        person, g.token = found
        return person
    here = session()
    if here is None:
        raise UnauthenticatedError("signed_out", "You are not signed in, or the session has ended.")
    if request.method not in _READS:
        check_csrf(here)
    return here.person


def check_csrf(here: Session) -> None:
    """Raises ForbiddenError unless the request carries the session's CSRF token."""
    sent = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(sent.encode(), here.csrf.encode()):
        raise ForbiddenError("csrf", f"The {CSRF_HEADER} header is missing or stale. Reload the page.")
