"""What brokers ask over HTTP before they let somebody in, and how each wants to be answered.

    EMQX 5     POST JSON by a template of ours     200 {"result": "allow"} or "deny"
    VerneMQ    POST JSON, header vernemq-hook      200 {"result": "ok"} or {"result": {"error": ...}}
    RabbitMQ   POST form, one path a question      200 "allow" or "deny"
    NanoMQ     POST form by a template of ours     status 200, or any other

Sources: EMQX documentation, "Use HTTP Service" under authentication and authorization; VerneMQ documentation,
"Webhooks"; README of rabbitmq_auth_backend_http; NanoMQ documentation, "HTTP Authorization".

A refusal is a proper answer: EMQX takes any 4xx for "ask the next one". Plain values; the API sends them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qs

import msgspec

from edgepress_server.broker.access import CLIENT_ID_PREFIX, Action, may, may_use_client_id
from edgepress_server.errors import InvalidInputError

BrokerName = Literal["emqx", "vernemq", "rabbitmq", "nanomq"]
QUESTIONS: Final[dict[BrokerName, tuple[str, ...]]] = {
    "emqx": ("connect", "access"),
    "vernemq": ("hook",),
    "rabbitmq": ("user", "vhost", "resource", "topic"),
    "nanomq": ("connect", "superuser", "access"),
}
NANOMQ_ACTIONS: Final[dict[str, Action]] = {"1": "subscribe", "2": "publish"}
MQTT3_REFUSED: Final = 128  # SUBACK: failure
MQTT5_REFUSED: Final = 135  # not authorized


@dataclass(frozen=True)
class Reply:
    status: int
    body: str
    mimetype: str = "application/json"
    refused: tuple[str, str] | None = None  # (who, what): for the log


@dataclass(frozen=True)
class Rules:
    """``knows(username, password)``: are these good credentials?"""

    knows: Callable[[str, str], bool]
    is_known: Callable[[str], bool]  # enrolled and not revoked, or the server
    server_user: str | None
    announces: str | None = None  # Home Assistant's prefix

    def may_connect(self, username: str, password: str, client_id: str) -> bool:
        return may_use_client_id(username, client_id) and self.knows(username, password)

    def may(self, username: str, action: Action, topic: str) -> bool:
        # Somebody revoked may still be connected: nothing is allowed any more.
        allowed = may(username, action, topic, server_user=self.server_user, announces=self.announces)
        return allowed and self.is_known(username)


def reply(broker: BrokerName, question: str, headers: Mapping[str, str], body: bytes, rules: Rules) -> Reply:
    """The answer to one question. Raises InvalidInputError when it cannot be read."""
    match broker:
        case "emqx":
            return _emqx(question, _json(body), rules)
        case "vernemq":
            return _vernemq(_header(headers, "vernemq-hook"), _json(body), rules)
        case "rabbitmq":
            return _rabbitmq(question, _form(body), rules)
        case "nanomq":
            return _nanomq(question, _form(body), rules)


def _emqx(question: str, asked: Mapping[str, Any], rules: Rules) -> Reply:
    user = _text(asked, "username")
    if question == "connect":
        allowed = rules.may_connect(user, _text(asked, "password"), _text(asked, "clientid"))
        text = '{"result": "%s", "is_superuser": false}'
        what = "connect"
    else:
        action, topic = _text(asked, "action"), _text(asked, "topic")
        allowed = action in ("publish", "subscribe") and rules.may(user, cast(Action, action), topic)
        text = '{"result": "%s"}'
        what = f"{action} {topic}"
    return Reply(200, text % ("allow" if allowed else "deny"), refused=None if allowed else (user, what))


def _vernemq(hook: str, asked: Mapping[str, Any], rules: Rules) -> Reply:
    user, name = _text(asked, "username"), hook.removesuffix("_m5")
    denied = '{"result": {"error": "not_allowed"}}'
    if name == "auth_on_register":
        allowed = rules.may_connect(user, _text(asked, "password"), _text(asked, "client_id"))
        what = "connect"
    elif name == "auth_on_publish":
        what = f"publish {_text(asked, 'topic')}"
        allowed = rules.may(user, "publish", _text(asked, "topic"))
    elif name == "auth_on_subscribe":
        return _vernemq_subscribe(user, asked, rules, is_mqtt5=hook.endswith("_m5"))
    else:
        raise InvalidInputError(
            "hook", f"This server answers no hook {hook[:80]!r}. See docs/brokers.md for those it does."
        )
    return Reply(200, '{"result": "ok"}') if allowed else Reply(200, denied, refused=(user, what))


def _vernemq_subscribe(user: str, asked: Mapping[str, Any], rules: Rules, *, is_mqtt5: bool) -> Reply:
    topics = asked.get("topics")
    if not isinstance(topics, list) or not all(isinstance(each, dict) for each in topics):
        raise InvalidInputError("hook", 'auth_on_subscribe comes with "topics", a list of {topic, qos}.')
    names = [_text(each, "topic") for each in topics]
    refused = {name for name in names if not rules.may(user, "subscribe", name)}
    if not refused:
        return Reply(200, '{"result": "ok"}')
    code = MQTT5_REFUSED if is_mqtt5 else MQTT3_REFUSED
    granted = [
        {"topic": name, "qos": code if name in refused else _qos(each)}
        for name, each in zip(names, topics, strict=True)
    ]
    said = (
        {"result": "ok", "modifiers": {"topics": granted}}
        if is_mqtt5
        else {"result": "ok", "topics": granted}
    )
    return Reply(
        200, msgspec.json.encode(said).decode(), refused=(user, f"subscribe {', '.join(sorted(refused))}")
    )


def _rabbitmq(question: str, asked: Mapping[str, str], rules: Rules) -> Reply:
    user = _text(asked, "username")
    name, permission = _text(asked, "name"), _text(asked, "permission")
    if question == "user":
        allowed = rules.knows(user, _text(asked, "password"))
        what = "connect"
    elif question == "vhost":
        allowed = rules.is_known(user) and _text(asked, "vhost") == "/"
        what = f"vhost {_text(asked, 'vhost')}"
    elif question == "resource":
        kind = _text(asked, "resource")
        what = f"{permission} {kind} {name}"
        allowed = rules.is_known(user) and _is_own_resource(user, kind, name, permission, rules)
    else:
        topic = _text(asked, "routing_key").replace(".", "/").replace("*", "+")
        action: Action = "publish" if permission == "write" else "subscribe"
        what = f"{action} {topic}"
        allowed = name == "amq.topic" and permission in ("read", "write") and rules.may(user, action, topic)
    text = "allow" if allowed else "deny"
    return Reply(200, text, "text/plain", refused=None if allowed else (user, what))


def _is_own_resource(user: str, kind: str, name: str, permission: str, rules: Rules) -> bool:
    """The MQTT plugin's topic exchange, and the queue of the user's own client id."""
    if kind == "exchange":
        return name == "amq.topic" and permission in ("read", "write")
    if kind != "queue":
        return False
    client = f"{CLIENT_ID_PREFIX}link-[0-9a-f]+" if user == rules.server_user else CLIENT_ID_PREFIX + user
    return re.fullmatch(rf"mqtt-(?:subscription|will)-{client}(?:qos[012])?", name) is not None


def _nanomq(question: str, asked: Mapping[str, str], rules: Rules) -> Reply:
    user = _text(asked, "username")
    if question == "superuser":
        return Reply(403, "", "text/plain")  # nobody is, and that is no attempt at anything
    if question == "connect":
        allowed = rules.may_connect(user, _text(asked, "password"), _text(asked, "clientid"))
        what = "connect"
    else:
        action = NANOMQ_ACTIONS.get(_text(asked, "access"))
        topic = _text(asked, "topic")
        what = f"{action} {topic}"
        allowed = action is not None and rules.may(user, action, topic)
    return Reply(200 if allowed else 403, "", "text/plain", refused=None if allowed else (user, what))


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError("hook", f"The broker's question is no JSON object ({error}).") from error


def _form(body: bytes) -> Mapping[str, str]:
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=50)
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidInputError("hook", f"The broker's question is no form ({error}).") from error
    return {name: values[0] for name, values in fields.items()}


def _text(asked: Mapping[str, Any], name: str) -> str:
    """ "" where the broker says nothing (null for a client without a name)."""
    value = asked.get(name)
    return value if isinstance(value, str) else ""


def _qos(each: Mapping[str, Any]) -> int:
    value = each.get("qos")
    return value if isinstance(value, int) and 0 <= value <= 2 else 0
