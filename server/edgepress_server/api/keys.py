"""The keys that devices trust, as far as everybody may know them. They are changed on the server's "
"machine."""

from __future__ import annotations

from typing import Any

from flask import Response
from pydantic import Field

from edgepress_server.api.answers import Answer, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.trust.key_state import read_state
from edgepress_server.trust.roots import RoleName

api = section("keys", "Who may say what runs; changed by `edgepress keys` on the server's machine.")


class KeyAnswer(Answer):
    keyid: str
    here: bool = Field(description="The private key is on the server; else it is kept elsewhere")


class RoleAnswer(Answer):
    role: RoleName
    threshold: int = Field(description="Keys that must sign")
    keys: list[KeyAnswer]


class KeysAnswer(Answer):
    root_version: int = Field(description="Of the newest TUF root")
    root_expires_at: int = Field(description="After that devices install nothing")
    pending_root: int | None = Field(description="Version of a TUF root that waits for signatures")
    roles: list[RoleAnswer]
    warnings: list[str]
    root: dict[str, Any] = Field(description="The newest TUF root itself")


@api.get("/keys", responses={200: KeysAnswer})
@needs("viewer")
def get_keys() -> Response:
    """Roles, key ids and thresholds"""
    here = context()
    state = read_state(here.settings.keys_dir)
    return answer(
        KeysAnswer(
            root_version=state.version,
            root_expires_at=int(state.expires.timestamp()) * 1000,
            pending_root=state.pending,
            roles=[
                RoleAnswer(
                    role=role.role,
                    threshold=role.threshold,
                    keys=[KeyAnswer(keyid=key.keyid, here=key.here) for key in role.keys],
                )
                for role in state.roles
            ],
            warnings=state.warnings(),
            root=here.keys.root_metadata,
        )
    )
