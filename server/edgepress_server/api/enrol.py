"""A device trades its code for what it needs to speak MQTT, and pins TUF root and authority."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec
from flask import Response, current_app, request
from pydantic import BaseModel, ConfigDict, Field

from edgepress_devices.profile import InvalidProfile
from edgepress_devices.protocol import Hardware
from edgepress_server.api.answers import Answer, answer, section
from edgepress_server.api.auth import public
from edgepress_server.api.context import context
from edgepress_server.api.device_credentials import Mqtt, certifier, mqtt, renew_at_s, renew_revocations
from edgepress_server.errors import GoneError, InvalidInputError, NotFoundError
from edgepress_server.pki import trusted_pem

api = section("enrolment", "How a device joins.", open_to_all=True)

_KEY_BYTES = 32  # X25519
Text = Annotated[str, Field(max_length=500)]
Number = Annotated[int, Field(ge=0, le=2**53)]
CertificateRequest = Annotated[
    str,
    Field(
        max_length=4096,
        description="PKCS #10 (PEM, ECDSA P-256), for servers that give out certificates; the name in it "
        "does not count",
    ),
]


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
    csr: CertificateRequest | None = None


class Enrolled(Answer):
    device: str
    profile: str
    mqtt: Mqtt
    root: dict[str, Any] = Field(description="TUF root metadata, which the device pins")
    server_time_ms: int
    resolved_profile: dict[str, Any] | None = Field(
        description="The profile's figures, where it is not as shipped; null: the agent has it"
    )
    certificate: str | None = Field(description="PEM; null: devices show a secret here")
    ca: str | None = Field(description="The authority of this web server, to pin; null: the system's own")
    renew_at_s: int = Field(description="Unix seconds; from then on POST /renew")


@api.get("/ca.pem", responses={200: {"content": {"application/x-pem-file": {"schema": {"type": "string"}}}}})
@public
def get_authority() -> Response:
    """The authority that signed this server's certificate

    To be believed by who knows its fingerprint: enrolment addresses carry it, and the server prints it.
    """
    pem = trusted_pem(context().settings)
    if pem is None:
        raise NotFoundError(
            "no_authority",
            "This server has no authority of its own: it speaks plain HTTP, or its certificate is one that "
            "systems know.",
        )
    return current_app.response_class(pem, mimetype="application/x-pem-file")


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
    root, ca = here.keys.root_metadata, trusted_pem(here.settings)  # before the code is spent
    hardware = msgspec.convert(body.hardware.model_dump(), Hardware)
    certify = certifier(body.csr)
    try:
        device = here.store.devices.enrol(body.code, body.public_key, hardware, body.agent_version, certify)
    except (NotFoundError, GoneError):
        here.enrol_failures.failed(source)
        raise
    renew_revocations()
    certificate = here.store.devices.certificates.find(device.name, "current")
    return answer(
        Enrolled(
            device=device.name,
            profile=device.profile,
            mqtt=mqtt(device.name, device.mqtt_secret or ""),
            root=root,
            server_time_ms=here.store.now_ms(),
            resolved_profile=_resolved(device.profile),
            certificate=certificate.pem if certificate is not None else None,
            ca=ca,
            renew_at_s=renew_at_s(certificate),
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
