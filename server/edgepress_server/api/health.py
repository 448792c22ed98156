"""Is the server well?"""

from __future__ import annotations

from typing import Literal

from flask import Response
from pydantic import Field

from edgepress_devices import __version__
from edgepress_server.api.answers import Answer, answer, section
from edgepress_server.api.auth import public
from edgepress_server.api.context import context
from edgepress_server.errors import StoreError
from edgepress_server.store.facts import RoleName
from edgepress_server.trust.key_state import read_state

api = section("health", "Is the server well?", open_to_all=True)

Condition = Literal["ok", "down"]


class Health(Answer):
    status: Literal["ok", "degraded"] = Field(description="degraded: a role is down; the rest works")
    version: str
    roles: dict[RoleName, Condition]
    mqtt_connected: bool
    warnings: list[str] = Field(description="What somebody should do soon, in words")


@api.get("/health", responses={200: Health})
@public
def get_health() -> Response:
    """State of the server's roles"""
    facts = context().store.facts
    link, worker = facts.role("link"), facts.role("worker")
    connected = link is not None and bool(link.get("mqtt_connected"))
    # An external broker has no process here; whether the link is connected to it says all there is to say.
    broker = connected or facts.role("broker") is not None
    roles: dict[RoleName, Condition] = {
        "web": "ok",
        "link": "ok" if link is not None else "down",
        "worker": "ok" if worker is not None else "down",
        "broker": "ok" if broker else "down",
    }
    well = all(condition == "ok" for condition in roles.values()) and connected
    return answer(
        Health(
            status="ok" if well else "degraded",
            version=__version__,
            roles=roles,
            mqtt_connected=connected,
            warnings=[*_warnings(), *(link or {}).get("problems", [])],
        )
    )


def _warnings() -> list[str]:
    try:
        expiry = read_state(context().settings.keys_dir).expiry_warning()
    except StoreError as error:
        return [error.message]
    return [] if expiry is None else [expiry]
