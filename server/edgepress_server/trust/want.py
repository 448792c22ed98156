"""Wants: the director key tells one device what to run, and until when that word is good."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final

import msgspec
from tuf.api.metadata import Metadata, Targets
from tuf.api.serialization.json import JSONSerializer

from edgepress_devices.protocol import (
    WANT_MAX_BYTES,
    Delivery,
    DeltaOffer,
    Limits,
    ProfilingJob,
    Sampling,
    Shadow,
    Want,
    check_device,
    chunk_count,
)
from edgepress_server.errors import InvalidInputError
from edgepress_server.trust.keys import Keys, utc_seconds
from edgepress_server.trust.seal import seal_content_key

WANT_LIFETIME_S: Final = 30 * 24 * 3600


class IssuedWant(msgspec.Struct, frozen=True):
    payload: bytes  # what is published on down/want
    expires_at: int  # Unix ms


def make_want(
    keys: Keys,
    *,
    device: str,
    counter: int,
    digest: str | None = None,
    size: int = 0,
    statement: str | None = None,
    content_key: bytes | None = None,
    public_key: str | None = None,
    telemetry_interval_s: int = 1,
    profiling: ProfilingJob | None = None,
    limits: Limits | None = None,
    shadow: Shadow | None = None,
    delivery: Delivery | None = None,
    delta: DeltaOffer | None = None,
    ticket: str = "",
    sampling: Sampling | None = None,
    now: datetime | None = None,
) -> IssuedWant:
    """The signed desired state number ``counter`` of a device. ``digest`` None: run nothing.

    With a digest, ``statement`` (signed by the release key), ``content_key`` and the device's ``public_key``
    (base64) are needed; ``limits``, ``shadow``, ``delivery``, ``delta`` and ``ticket`` say how it is fetched
    and tried. ``profiling`` is what the device is to measure, ``sampling`` which inputs it may send. Raises
    InvalidInputError (bad public key, larger than WANT_MAX_BYTES).
    """
    moment = utc_seconds(now)
    want = Want(
        device=check_device(device),
        issued_at=int(moment.timestamp()),
        telemetry_interval_s=telemetry_interval_s,
        profiling=profiling,
        sampling=sampling or Sampling(),
    )
    if digest is not None:
        if statement is None or content_key is None or public_key is None:
            raise ValueError("a want for an artifact needs its statement, content key and the device's key")
        want.digest = digest
        want.size = size
        want.chunks = chunk_count(size)
        want.sealed_key = seal_content_key(content_key, public_key=public_key, device=device, digest=digest)
        want.statement = json.loads(statement)
        want.limits = limits or Limits()
        want.shadow = shadow
        want.delivery = delivery or Delivery()
        want.delta = delta
        want.ticket = ticket
    expires = moment + timedelta(seconds=WANT_LIFETIME_S)
    metadata = Metadata(
        Targets(
            version=counter,
            expires=expires,
            targets={},
            unrecognized_fields={"ep_want": msgspec.to_builtins(want)},
        )
    )
    metadata.sign(keys.director)
    payload = metadata.to_bytes(JSONSerializer(compact=True))
    if len(payload) > WANT_MAX_BYTES:
        raise InvalidInputError(
            "want_too_large",
            f"The signed order for {device} has {len(payload)} bytes, devices read {WANT_MAX_BYTES}. "
            "Shorten the model's name.",
        )
    return IssuedWant(payload=payload, expires_at=int(expires.timestamp()) * 1000)
