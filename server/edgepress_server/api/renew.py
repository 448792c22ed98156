"""A device that is enrolled gets new credentials: a new secret, and a new certificate where those are used.

    POST /renew/challenge   a question for this device
    POST /renew             answered with the present credentials: new ones, which count for nothing yet
    POST /renew/confirm     answered (another question) with the new ones: they count, the old ones no more

An expired certificate still proves who renews: a device that slept for a season comes back by itself. A
revoked one proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Response, request
from pydantic import Field

from edgepress_devices.enrolment_rules import Purpose, renewal_transcript, secret_proof
from edgepress_server.api.answers import Answer, answer, section
from edgepress_server.api.auditing import changes_nothing
from edgepress_server.api.auth import public
from edgepress_server.api.context import context
from edgepress_server.api.device_credentials import Mqtt, certifier, mqtt, renew_at_s, renew_revocations
from edgepress_server.api.enrol import CertificateRequest, FromAgent
from edgepress_server.errors import ConflictError, GoneError, NotFoundError, UnauthenticatedError
from edgepress_server.pki import trusted_pem
from edgepress_server.store.certificates import StoredCertificate
from edgepress_server.store.devices import Device

api = section("renewal", "How a device gets new credentials.", open_to_all=True)

Name = Annotated[str, Field(max_length=80)]


class ChallengeAsked(FromAgent):
    device: Name


class ChallengeAnswer(Answer):
    challenge: str


class RenewalAsked(FromAgent):
    device: Name
    challenge: Annotated[str, Field(max_length=200)]
    proof: Annotated[
        str,
        Field(
            max_length=400,
            description="Base64, over the renewal transcript: HMAC-SHA256 by the secret, or, of a device "
            "with a certificate, an ECDSA signature by its key",
        ),
    ]
    csr: CertificateRequest | None = None


class ConfirmationAsked(FromAgent):
    device: Name
    challenge: Annotated[str, Field(max_length=200)]
    proof: Annotated[str, Field(max_length=400)]


class RenewalAnswer(Answer):
    mqtt: Mqtt
    certificate: str | None = Field(description="PEM; null: devices show a secret here")
    ca: str | None = Field(description="The authority of this web server, to pin; null: the system's own")
    renew_at_s: int


class ConfirmationAnswer(Answer):
    device: str


@api.post("/renew/challenge", responses={200: ChallengeAnswer})
@public
@changes_nothing
def ask_challenge(body: ChallengeAsked) -> Response:
    """A question that only this device can answer; good once, for a minute"""
    here = context()
    here.enrol_failures.check(request.remote_addr or "")
    return answer(ChallengeAnswer(challenge=here.challenges.make(body.device)))


@api.post("/renew", responses={200: RenewalAnswer})
@public
def renew(body: RenewalAsked) -> Response:
    """New credentials for a device that shows its present ones

    They take over with /renew/confirm; until then the present ones stay good, and asking again is no harm.
    """
    here = context()
    device = _proven("renew", body.device, body.challenge, body.proof, body.csr or "")
    ca = trusted_pem(here.settings)
    secret, certificate = here.store.renewals.offer(device.name, certifier(body.csr))
    renew_revocations()  # one that was offered before and never shown
    return answer(
        RenewalAnswer(
            mqtt=mqtt(device.name, secret),
            certificate=certificate.pem if certificate is not None else None,
            ca=ca,
            renew_at_s=renew_at_s(certificate),
        )
    )


@api.post("/renew/confirm", responses={200: ConfirmationAnswer})
@public
def confirm_renewal(body: ConfirmationAsked) -> Response:
    """The device shows its new credentials: the old ones are worth nothing from now on

    Repeating it is no error: a device may have lost power before it heard the answer.
    """
    here = context()
    device = _proven("confirm", body.device, body.challenge, body.proof, "")
    if device.next_secret is not None:
        device = here.store.renewals.take_over(device.name)
        renew_revocations()
    return answer(ConfirmationAnswer(device=device.name))


def _proven(purpose: Purpose, name: str, challenge: str, proof: str, csr: str) -> Device:
    """The device that showed its credentials. Raises UnauthenticatedError, GoneError, RateLimitedError."""
    here, source = context(), request.remote_addr or ""
    here.enrol_failures.check(source)
    try:
        here.challenges.use(name, challenge)
        device = here.store.renewals.enrolled(name)
        _check(purpose, device, renewal_transcript(purpose, name, challenge, csr), proof)
    except (NotFoundError, ConflictError, _NotProvenError) as error:
        here.enrol_failures.failed(source)
        # One answer for all: who asks learns nothing about devices that are not theirs.
        raise UnauthenticatedError(
            "not_proven",
            f"Nobody has shown to be the device {name[:80]!r}. Was it revoked, or enrolled again on another "
            "board? Then make a new code with `edgepress device code NAME` and enrol it here.",
        ) from error
    except GoneError:
        here.enrol_failures.failed(source)
        raise
    return device


class _NotProvenError(Exception):
    """The proof is not of the credentials that count."""


def _check(purpose: Purpose, device: Device, transcript: bytes, proof: str) -> None:
    """Raises _NotProvenError."""
    certificates = context().store.devices.certificates
    offered = purpose == "confirm" and device.next_secret is not None
    certificate = certificates.find(device.name, "next" if offered else "current")
    if certificate is not None:
        _check_signature(certificate, transcript, proof)
        return
    secret = device.next_secret if offered else device.mqtt_secret
    if (
        secret is None
        or not proof.isascii()
        or not hmac.compare_digest(proof, secret_proof(secret, transcript))
    ):
        raise _NotProvenError


def _check_signature(certificate: StoredCertificate, transcript: bytes, proof: str) -> None:
    key = x509.load_pem_x509_certificate(certificate.pem.encode("ascii")).public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise _NotProvenError
        key.verify(base64.b64decode(proof, validate=True), transcript, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise _NotProvenError from error
