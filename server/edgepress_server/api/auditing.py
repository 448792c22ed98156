"""Puts every request that changed something into the audit log, in one place, so that no view can forget it.

Written after the view has answered: what a request did is told once it is done. Of what was sent only the
fields in ``_PLAIN`` are kept, which never hold a secret; a new field stays out until it is named there.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from flask import Flask, Response, current_app, g, has_request_context, request

from edgepress_server.api.context import context
from edgepress_server.errors import ServerError
from edgepress_server.store.people import Person
from edgepress_server.store.tokens import Token

log = logging.getLogger(__name__)

_WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")
_FAILURES: Final = {"sign_in": "sign_in_failed", "enroll": "enrol_failed"}  # told also when they are refused
# These only ask: what would be, what fits, whether the broker may let somebody in.
_ASKS: Final = frozenset(
    {
        "validate_profile_text",
        "plan_rollout",
        "match_query",
        "ask_challenge",
        "ask_with_header",
        "ask_with_secret",
    }
)
_GUESSES: Final = (401, 403, 404, 410)  # what a wrong password or code is answered with
# fmt: off
_PLAIN: Final = frozenset({
    "name", "role", "profile", "profiles", "labels", "devices", "device", "release", "model", "recipe",
    "dataset", "note", "policy", "query", "groups", "group", "artifacts", "auto", "reason", "state",
    "expires_in_s", "targets", "rules", "shadow", "delivery", "delta", "gates", "waves", "canary", "hours",
    "metered", "path", "budget", "members", "description", "names", "stage", "overrule", "replace",
    "rule", "title", "kind", "severity", "enabled", "metric", "aggregate", "window_s", "direction", "fire_at",
    "resolve_at", "for_s", "resolve_for_s", "least", "also", "baseline", "absent", "per", "group_by",
    "channels", "repeat_s", "runbook", "least_severity", "starts_at", "ends_at", "repeats", "until",
    "per_hour", "low_confidence_percent",
})
# fmt: on
_LIST_MAX: Final = 20
_TEXT_MAX: Final = 200
_DEPTH_MAX: Final = 4
_DAY_MS: Final = 24 * 3600 * 1000


View = TypeVar("View", bound=Callable[..., Any])


def changes_nothing(view: View) -> View:
    """For a POST that only asks, such as a broker's question: it is not in the audit log."""
    view.changes_nothing = True  # type: ignore[attr-defined]
    return view


def _only_asks(view: Callable[..., Any]) -> bool:
    return getattr(view, "changes_nothing", False) or view.__name__ in _ASKS


def install(app: Flask) -> None:
    day = _Day()
    app.after_request(lambda response: _record(response, day))


class _Day:
    """The log of the server names the head once a day: kept elsewhere, it guards the rows before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = -1

    def begins(self, at_ms: int) -> bool:
        with self._lock:
            day = at_ms // _DAY_MS
            begins, self._said = day != self._said, day
            return begins


def _record(response: Response, day: _Day) -> Response:
    if request.method not in _WRITES or request.endpoint is None:
        return response
    view = current_app.view_functions[request.endpoint]
    if not hasattr(view, "required_role") or _only_asks(view):
        return response
    action = view.__name__
    if response.status_code >= 400:
        if action not in _FAILURES or response.status_code not in _GUESSES:
            return response
        action = _FAILURES[action]
    person: Person | None = g.get("person")
    answer = _answered(response)
    try:
        entry = context().store.audit.append(
            action,
            _guessed_at() if response.status_code >= 400 else _subject(answer),
            actor=person.name if person is not None else _who_by_answer(action, answer),
            source=source(),
            data=_data(response.status_code) | _made(answer),
        )
    except ServerError as error:  # what was asked for is done, and cannot be taken back here
        log.error("%s by %s is not in the audit log: %s", action, person and person.name, error)
        return response
    if day.begins(entry.at):
        log.info("the audit log's head is row %s, %s", entry.number, entry.hash)
    return response


def source() -> str:
    """Where a request came from: the address, and by what its sender was known."""
    if not has_request_context():
        return "server"
    token: Token | None = g.get("token")
    how = f", token {token.id}" if token else ", session" if g.get("person") is not None else ""
    return (request.remote_addr or "unknown address") + how


def _guessed_at() -> str:
    """Whose password was guessed at. A name nobody has is left out: it may be a password, misplaced."""
    name = _sent().get("name")
    return name if isinstance(name, str) and context().store.people.find(name) is not None else ""


def _answered(response: Response) -> dict[str, Any]:
    if response.mimetype != "application/json" or response.is_streamed:
        return {}
    found = response.get_json(silent=True)
    return found if isinstance(found, dict) else {}


def _who_by_answer(action: str, answer: dict[str, Any]) -> str | None:
    """Signing in and enrolling are what makes somebody known."""
    if action == "sign_in":
        return str(answer["person"]) if "person" in answer else None
    return None


def _subject(answer: dict[str, Any]) -> str:
    """What it was done to: named in the address, else in the answer, else in what was sent."""
    named = [str(value) for value in (request.view_args or {}).values()]
    if named:
        return " ".join(named)
    sent = _sent()
    for told in (answer, sent):
        for key in ("id", "name", "device", "digest", "person"):
            if isinstance(told.get(key), str) and told[key]:
                return str(told[key])
        device = told.get("device")
        if isinstance(device, dict) and isinstance(device.get("name"), str):
            return str(device["name"])
    return ""


def _sent() -> dict[str, Any]:
    """What was sent as JSON, as far as it was read; uploads are never looked into."""
    if request.mimetype != "application/json":
        return {}
    found = request.get_json(silent=True)
    return found if isinstance(found, dict) else {}


def _data(status: int) -> dict[str, Any]:
    kept = _PLAIN if status < 400 else frozenset[str]()
    sent = {key: _short(value) for key, value in _sent().items() if key in kept}
    asked = {key: _short(value) for key, value in request.args.items() if key in _PLAIN}
    rule = "" if request.url_rule is None else request.url_rule.rule  # not the path, which may hold a secret
    data: dict[str, Any] = {"request": f"{request.method} {rule}", "status": status}
    if sent or asked:
        data["sent"] = {**asked, **sent}
    return data


def _made(answer: dict[str, Any]) -> dict[str, Any]:
    """The devices that were registered from a file, which is not kept; never their codes."""
    codes = answer.get("codes")
    if not isinstance(codes, list):
        return {}
    return {"made": _short([code["device"] for code in codes if isinstance(code, dict) and "device" in code])}


def _short(value: Any, depth: int = 0) -> Any:
    short: Any = value
    match value:
        case str():
            short = value if len(value) <= _TEXT_MAX else value[:_TEXT_MAX] + "..."
        case list() | dict() if depth >= _DEPTH_MAX:
            short = "..."
        case list():
            more = [f"and {len(value) - _LIST_MAX} more"] if len(value) > _LIST_MAX else []
            short = [_short(item, depth + 1) for item in value[:_LIST_MAX]] + more
        case dict():
            some = list(value.items())[:_LIST_MAX]
            short = {str(key)[:_TEXT_MAX]: _short(item, depth + 1) for key, item in some}
        case float() if not math.isfinite(value):
            short = str(value)
        case int() if abs(value) > 2**63:
            short = "a large number"
    return short
