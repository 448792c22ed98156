"""Channels that alerts are told over. Their secrets go in and never come out."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from flask import Response
from pydantic import Field, RootModel, ValidationError

from edgepress_server.alerts.channels.bodies import Template
from edgepress_server.alerts.channels.mail import RECIPIENTS_MAX, check_address
from edgepress_server.alerts.channels.mqtt import DEFAULT_PREFIX
from edgepress_server.alerts.channels.webhook import check_url
from edgepress_server.alerts.rule import NAME, Severity
from edgepress_server.alerts.sender import try_channel
from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.alert_channels import Channel, ChannelKind

api = section("alert channels", "Whom alerts are told: webhooks, mail, MQTT.")

Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9.:_\[\]-]*$")]
User = Annotated[str, Field(max_length=200)]


class ChannelPath(Asked):
    name: Annotated[str, Field(max_length=63)]


class WebhookOptions(Asked):
    url: Annotated[str, Field(max_length=2000)]
    template: Template = Field("edgepress", description="What the body looks like")
    allow_private: bool = Field(False, description="Also addresses of this machine and of private networks")


class EmailOptions(Asked):
    to: Annotated[list[Annotated[str, Field(max_length=254)]], Field(min_length=1, max_length=RECIPIENTS_MAX)]
    sender: Annotated[str, Field(max_length=254, alias="from")] = ""
    host: Host = Field("", description="Of the mail server; empty: EDGEPRESS_SMTP_HOST and its companions")
    port: Port | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: User = ""


class MqttOptions(Asked):
    host: Host = Field("", description="Of another broker; empty: the one that this server uses")
    port: Port | None = None
    username: User = ""
    tls: bool = False
    prefix: Annotated[str, Field(max_length=200, pattern=r"^[^+#\x00-\x1f]+$")] = DEFAULT_PREFIX


_HIDDEN: Final = "..."
_OPTIONS: dict[ChannelKind, type[Asked]] = {
    "webhook": WebhookOptions,
    "email": EmailOptions,
    "mqtt": MqttOptions,
}


class ChannelAsked(Asked):
    kind: ChannelKind
    enabled: bool = True
    least_severity: Severity = "info"
    options: dict[str, Any] = Field(description="By kind; see docs/alerts.md")
    secret: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None, description="Signing key, or password; null keeps the one that is there. Never shown again"
    )


class ChannelAnswer(Answer):
    name: str
    kind: ChannelKind
    enabled: bool
    least_severity: Severity
    options: dict[str, Any] = Field(description="Of a webhook's url only the host; sent back as it is: kept")
    has_secret: bool
    waiting: int = Field(description="Notices in line")
    sent_at: int | None
    failed_at: int | None
    failure: str = Field(description="Why the newest was not taken; empty once one was again")
    updated_at: int
    actor: str | None


class Channels(RootModel[list[ChannelAnswer]]):
    pass


class TriedAnswer(Answer):
    ok: bool
    answer: str = Field(description="What the receiver said, or why it could not be reached")
    took_ms: int


def _shown(channel: Channel) -> dict[str, Any]:
    """Paths of webhooks hold their receivers' secrets: only where they lead is shown."""
    if channel.kind != "webhook":
        return channel.options
    parts = urlsplit(channel.options["url"])
    return {**channel.options, "url": f"{parts.scheme}://{parts.netloc}/{_HIDDEN}"}


def _answer(channel: Channel, waiting: dict[str, int]) -> ChannelAnswer:
    return ChannelAnswer(
        **{**vars(channel), "options": _shown(channel)},
        has_secret=channel.secret is not None,
        waiting=waiting.get(channel.name, 0),
    )


def _options(kind: ChannelKind, given: dict[str, Any]) -> dict[str, Any]:
    """Raises InvalidInputError."""
    try:
        options = _OPTIONS[kind].model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError("bad_options", f"options.{where} of the channel: {first['msg']}.") from error
    match options:
        case WebhookOptions():
            check_url(options.url)
        case EmailOptions():
            for address in [*options.to, *([options.sender] if options.sender else [])]:
                check_address(address)
        case MqttOptions():
            levels = options.prefix.split("/")
            if not options.host and options.prefix != DEFAULT_PREFIX and levels[:2] == ["ep", "1"]:
                raise InvalidInputError(
                    "bad_prefix", f"Below ep/1 are this server's own topics; take {DEFAULT_PREFIX}."
                )
    return options.model_dump(by_alias=True)


@api.get("/alert-channels", responses={200: Channels})
@needs("viewer")
def list_alert_channels() -> Response:
    """Channels, by name"""
    channels = context().store.alerts.channels
    waiting = channels.waiting()
    return answers([_answer(channel, waiting) for channel in channels.list()])


@api.put("/alert-channels/<name>", responses={200: ChannelAnswer})
@needs("admin")
def set_alert_channel(path: ChannelPath, body: ChannelAsked) -> Response:
    """Make or change a channel"""
    if not NAME.fullmatch(path.name):
        raise InvalidInputError(
            "bad_name", "A channel's name is 1 to 63 of a-z, 0-9 and '-', not '-' at either end."
        )
    channels = context().store.alerts.channels
    options, old = dict(body.options), channels.find(path.name)
    if old is not None and old.kind == "webhook" and options.get("url") == _shown(old)["url"]:
        options["url"] = old.options["url"]  # as it was shown: unchanged
    made = channels.put(
        path.name,
        body.kind,
        options=_options(body.kind, options),
        secret=body.secret,
        enabled=body.enabled,
        least_severity=body.least_severity,
        actor=person().name,
    )
    return answer(_answer(made, channels.waiting()))


@api.delete("/alert-channels/<name>", responses={204: None})
@needs("admin")
def remove_alert_channel(path: ChannelPath) -> Response:
    """Remove a channel; what waits for it is not sent"""
    context().store.alerts.channels.remove(path.name, actor=person().name)
    return nothing()


@api.post("/alert-channels/<name>/test", responses={200: TriedAnswer})
@needs("admin")
def test_alert_channel(path: ChannelPath) -> Response:
    """Send a real message that says it is a test, and show the answer"""
    ok, said, took_ms = try_channel(context().store, context().settings, path.name)
    return answer(TriedAnswer(ok=ok, answer=said, took_ms=took_ms))
