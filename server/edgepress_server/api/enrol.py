"""A device trades its code for what it needs to speak MQTT, and pins the TUF root."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec
from flask import Response, request
from pydantic import BaseModel, ConfigDict, Field

from edgepress_devices.profile import InvalidProfile
from edgepress_devices.protocol import Hardware
from edgepress_server.api.answers import Answer, answer, section
from edgepress_server.api.auth import public
from edgepress_server.api.context import context
from edgepress_server.errors import GoneError, InvalidInputError, NotFoundError, StoreError

api = section("enrolment", "How a device joins.", open_to_all=True)

_KEY_BYTES = 32  # X25519
Text = Annotated[str, Field(max_length=500)]
Number = Annotated[int, Field(ge=0, le=2**53)]


class FromAgent(BaseModel):
    """Base of what agents send: a newer agent may say more than this server knows."""

    model_config = ConfigDict(extra="ignore")


class HardwareAsked(FromAgent):
    """What the agent found out about its board; absent = could not be read."""

    machine: Text = ""
    system: Text = ""
    board: Text | None = None
    cores: Number | None = None
    ram_bytes: Number | None = None
    python: Text | None = None
    onnxruntime: Text | None = None


class Enrolment(FromAgent):
    code: Annotated[str, Field(max_length=80)]
    public_key: Annotated[str, Field(max_length=80, description="X25519, base64 of the 32 raw bytes")]
    hardware: HardwareAsked = Field(default_factory=HardwareAsked)
    agent_version: Annotated[str, Field(max_length=80)]


class Mqtt(Answer):
    host: str
    port: int
    tls: bool
    username: str
    password: str
    ca: str | None = Field(description="The broker's CA certificate to pin; null: the system's own")


class Enrolled(Answer):
    device: str
    profile: str
    mqtt: Mqtt
    root: dict[str, Any] = Field(description="TUF root metadata, which the device pins")
    server_time_ms: int
    resolved_profile: dict[str, Any] | None = Field(
        description="The profile's figures, where it is not as shipped; null: the agent has it"
    )


@api.post("/enroll", responses={200: Enrolled})
@public
def enroll(body: Enrolment) -> Response:
    """Trade a code for credentials

    The code is all it takes, and it works once. Twenty failures within five minutes from one address make
    the next tries wait.
    """
    here = context()
    source = request.remote_addr or ""
    here.enrol_failures.check(source)
    _check_key(body.public_key)
    root, ca = here.keys.root_metadata, _broker_ca()  # before the code is spent
    hardware = msgspec.convert(body.hardware.model_dump(), Hardware)
    try:
        device = here.store.devices.enrol(body.code, body.public_key, hardware, body.agent_version)
    except (NotFoundError, GoneError):
        here.enrol_failures.failed(source)
        raise
    return answer(
        Enrolled(
            device=device.name,
            profile=device.profile,
            mqtt=Mqtt(
                host=here.settings.device_mqtt_host,
                port=here.settings.mqtt_port,
                tls=here.settings.mqtt_tls,
                username=device.name,
                password=device.mqtt_secret or "",
                ca=ca,
            ),
            root=root,
            server_time_ms=here.store.now_ms(),
            resolved_profile=_resolved(device.profile),
        )
    )


def _resolved(profile_id: str) -> dict[str, Any] | None:
    """An agent goes without rather than not joining: it then asks its board."""
    profiles = context().store.profiles
    try:
        if profiles.origin(profile_id) == "shipped":
            return None
        figures: dict[str, Any] = msgspec.to_builtins(profiles.resolve(profile_id))
        figures.pop("calibration", None)  # long, and for predictions, which the server makes
    except (NotFoundError, InvalidProfile):
        return None
    return figures


def _check_key(public_key: str) -> None:
    try:
        raw = base64.b64decode(public_key, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise InvalidInputError(
            "public_key", "public_key must be base64 of the 32 bytes of an X25519 public key."
        )


def _broker_ca() -> str | None:
    path = context().settings.mqtt_ca
    if path is None:
        return None
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            "no_ca", f"The broker's CA certificate {path} cannot be read. Put it back and enrol again."
        ) from error
