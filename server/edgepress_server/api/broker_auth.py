"""Brokers ask here who may connect, publish and subscribe; what they ask and hear stands in `broker.hook`.

A broker shows the hook's secret: in the header ``X-Edgepress-Hook`` where it can send one, else as the last
part of the address. Whoever has it can only ask. Without it every question is refused unread.
"""

from __future__ import annotations

import hmac
import logging
import threading
from http import HTTPStatus
from typing import Annotated, Any, Final

from flask import Response, current_app, request
from pydantic import BaseModel, Field

from edgepress_server.api.answers import Asked, section
from edgepress_server.api.auditing import changes_nothing
from edgepress_server.api.auth import public
from edgepress_server.api.context import context
from edgepress_server.broker.hook import QUESTIONS, BrokerName, Reply, Rules, reply
from edgepress_server.broker.hook_secret import hook_secret
from edgepress_server.errors import NotFoundError, ServerError, UnauthenticatedError

log = logging.getLogger(__name__)

api = section("broker", "What an MQTT broker asks before it lets somebody in.", open_to_all=True)

HEADER: Final = "X-Edgepress-Hook"
TELL_EVERY_MS: Final = 60_000  # of one user; the log and the audit log must not be filled by a guesser
USERS_REMEMBERED: Final = 10_000


class QuestionPath(Asked):
    broker: Annotated[BrokerName, Field(description="emqx, vernemq, rabbitmq or nanomq")]
    question: Annotated[str, Field(max_length=20, description="As docs/brokers.md names them")]


class SecretQuestionPath(QuestionPath):
    secret: Annotated[str, Field(max_length=100, description="For brokers that can send no header")]


_SHAPES: Final[dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None]] = {
    200: {
        "description": "In the broker's own words",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
}


@api.post("/broker/<broker>/<question>", responses=_SHAPES)
@public
@changes_nothing
def ask_with_header(path: QuestionPath) -> Response:
    """May this client connect, publish or subscribe?

    For MQTT brokers, which show the hook's secret in `X-Edgepress-Hook`; see `edgepress broker hook`.
    """
    return _answer(path, request.headers.get(HEADER, ""))


@api.post("/broker/<broker>/<question>/<secret>", responses=_SHAPES)
@public
@changes_nothing
def ask_with_secret(path: SecretQuestionPath) -> Response:
    """The same for brokers that can send no header of ours"""
    return _answer(path, path.secret)


def _answer(path: QuestionPath, secret: str) -> Response:
    here = context()
    if not hmac.compare_digest(secret.encode(), hook_secret(here.settings).encode()):
        raise UnauthenticatedError(
            "hook_secret", "The secret of the broker's hook is wrong. `edgepress broker hook` shows it."
        )
    if path.question not in QUESTIONS[path.broker]:
        raise NotFoundError(
            "no_such_question", f"{path.broker} asks {', '.join(QUESTIONS[path.broker])}, and nothing else."
        )
    said = reply(path.broker, path.question, dict(request.headers.items()), request.get_data(), _rules())
    if said.refused is not None:
        _tell(path.broker, said)
    return current_app.response_class(said.body, status=said.status, mimetype=said.mimetype)


def _rules() -> Rules:
    here = context()
    server_user, server_password = here.settings.mqtt_username, here.settings.mqtt_password

    def secret_of(username: str) -> str | None:
        if server_user is not None and username == server_user:
            return server_password
        device = here.store.devices.find(username) if username else None
        return None if device is None or device.revoked_at is not None else device.mqtt_secret

    def is_known(username: str) -> bool:
        return bool(secret_of(username))

    def knows(username: str, password: str) -> bool:
        good = secret_of(username) or ""
        return bool(good) and hmac.compare_digest(password.encode(), good.encode())

    return Rules(knows, is_known, server_user, here.settings.home_assistant_prefix)


_told: dict[str, int] = {}
_telling = threading.Lock()


def _tell(broker: str, said: Reply) -> None:
    """Once a minute for each user: a device that tries what it may not is worth a look."""
    here = context()
    user, what = said.refused or ("", "")
    now_ms = here.store.now_ms()
    with _telling:
        if now_ms - _told.get(user, -TELL_EVERY_MS) < TELL_EVERY_MS:
            return
        if len(_told) >= USERS_REMEMBERED:
            _told.clear()
        _told[user] = now_ms
    log.warning("%s was refused to %r: %s", broker, user[:80], what[:200])
    try:
        here.store.audit.append(
            "broker_refused",
            user[:80] or "(nobody)",
            source=request.remote_addr or "",
            data={"what": what[:200]},
        )
    except ServerError as error:  # the answer matters more
        log.warning("the refusal could not be written to the audit log: %s", error)
