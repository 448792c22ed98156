"""Release statements: the release key vouches for an artifact, or for a delta that makes it.

A statement is first made without signatures; whoever has release keys adds them, here or on another machine,
until the threshold of the TUF root is met. Byte formats: the head of ``edgepress_devices.protocol``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from edgepress_devices.protocol import DeltaStatement, Limits, Statement, check_digest
from edgepress_server.errors import ConflictError, InvalidInputError
from edgepress_server.trust.keys import Keys
from edgepress_server.trust.roots import MALFORMED, utc_seconds

STATEMENT_LIFETIME: Final = timedelta(days=365)
STATEMENT_MAX_BYTES: Final = 4096  # it travels in a want


def release_statement(
    *,
    digest: str,
    size: int,
    chunks: int,
    profile: str,
    model: str,
    release_counter: int,
    limits: Limits | None = None,
    now: datetime | None = None,
) -> Metadata[Targets]:
    """What vouches for the artifact ``digest`` of ``size`` bytes for one year, not signed yet."""
    said = Statement(profile=profile, model=model, chunks=chunks, limits=limits or Limits())
    return _unsigned(digest, size, said, release_counter, now)


def delta_statement(
    *,
    digest: str,
    size: int,
    chunks: int,
    profile: str,
    model: str,
    base: str,
    full: str,
    onnx_sha256: str,
    onnx_bytes: int,
    release_counter: int,
    now: datetime | None = None,
) -> Metadata[Targets]:
    """What vouches for the delta ``digest`` (``full`` from ``base``), not signed yet."""
    said = DeltaStatement(
        profile=profile,
        model=model,
        chunks=chunks,
        base=check_digest(base),
        full=check_digest(full),
        onnx_sha256=check_digest(onnx_sha256),
        onnx_bytes=onnx_bytes,
    )
    return _unsigned(digest, size, said, release_counter, now)


def sign_statement(
    keys: Keys,
    *,
    digest: str,
    size: int,
    chunks: int,
    profile: str,
    model: str,
    release_counter: int,
    limits: Limits | None = None,
    now: datetime | None = None,
) -> str:
    """A release statement as JSON, signed by the keys on this machine. Raises ConflictError (not enough)."""
    statement = release_statement(
        digest=digest,
        size=size,
        chunks=chunks,
        profile=profile,
        model=model,
        release_counter=release_counter,
        limits=limits,
        now=now,
    )
    return encode(signed_here(keys, statement))


def sign_delta_statement(
    keys: Keys,
    *,
    digest: str,
    size: int,
    chunks: int,
    profile: str,
    model: str,
    base: str,
    full: str,
    onnx_sha256: str,
    onnx_bytes: int,
    release_counter: int,
    now: datetime | None = None,
) -> str:
    """A delta's statement as JSON, signed by the keys on this machine. Raises ConflictError (not enough)."""
    statement = delta_statement(
        digest=digest,
        size=size,
        chunks=chunks,
        profile=profile,
        model=model,
        base=base,
        full=full,
        onnx_sha256=onnx_sha256,
        onnx_bytes=onnx_bytes,
        release_counter=release_counter,
        now=now,
    )
    return encode(signed_here(keys, statement))


def signed_here(keys: Keys, statement: Metadata[Targets]) -> Metadata[Targets]:
    """With as many signatures as the root asks for and no more: they travel. Raises ConflictError."""
    if not keys.signs_releases:
        raise ConflictError(
            "release_key_offline",
            f"Releases need {keys.threshold('release')} signatures; on this machine are {len(keys.release)} "
            "of the release keys. Sign where the others are: edgepress keys export, sign, import.",
        )
    add_signatures(statement, keys.release[: keys.threshold("release")])
    return statement


def add_signatures(statement: Metadata[Targets], signers: tuple[CryptoSigner, ...]) -> None:
    for signer in signers:
        statement.sign(signer, append=True)


def valid_signatures(keys: Keys, statement: Metadata[Targets]) -> int:
    """How many of the release keys that the newest root names have signed it."""
    root = keys.root.signed
    return len(
        root.get_verification_result(Targets.type, statement.signed_bytes, statement.signatures).signed
    )


def read_statement(text: str | bytes) -> Metadata[Targets]:
    """Raises InvalidInputError."""
    data = text.encode("utf-8") if isinstance(text, str) else text
    try:
        if len(data) > STATEMENT_MAX_BYTES:
            raise ValueError(f"{len(data)} bytes; at most {STATEMENT_MAX_BYTES} are read")
        metadata = Metadata[Targets].from_bytes(data)
        if not isinstance(metadata.signed, Targets):
            raise ValueError(f"it is metadata of type {metadata.signed.type}")
    except MALFORMED as error:
        raise InvalidInputError(
            "bad_statement", f"This is no release statement: {str(error)[:200] or type(error).__name__}."
        ) from error
    return metadata


def encode(statement: Metadata[Targets]) -> str:
    return statement.to_bytes(JSONSerializer(compact=True)).decode("utf-8")


def _unsigned(
    digest: str, size: int, said: Statement | DeltaStatement, release_counter: int, now: datetime | None
) -> Metadata[Targets]:
    target = TargetFile(
        length=size,
        hashes={"sha256": check_digest(digest)},
        path=digest,
        unrecognized_fields={"custom": msgspec.to_builtins(said)},
    )
    return Metadata(
        Targets(
            version=release_counter,
            expires=utc_seconds(now) + STATEMENT_LIFETIME,
            targets={digest: target},
        )
    )
