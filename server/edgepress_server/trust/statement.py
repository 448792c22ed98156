"""Release statements: the release key vouches for one artifact, its size, its profile and its limits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from edgepress_devices.protocol import Limits, Statement, check_digest
from edgepress_server.trust.keys import Keys, utc_seconds

STATEMENT_LIFETIME: Final = timedelta(days=365)


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
    """``Metadata[Targets]`` JSON for the artifact ``digest`` of ``size`` bytes, good for one year."""
    statement = Statement(profile=profile, model=model, chunks=chunks, limits=limits or Limits())
    target = TargetFile(
        length=size,
        hashes={"sha256": check_digest(digest)},
        path=digest,
        unrecognized_fields={"custom": msgspec.to_builtins(statement)},
    )
    metadata = Metadata(
        Targets(
            version=release_counter,
            expires=utc_seconds(now) + STATEMENT_LIFETIME,
            targets={digest: target},
        )
    )
    metadata.sign(keys.release)
    return metadata.to_bytes(JSONSerializer(compact=True)).decode("utf-8")
