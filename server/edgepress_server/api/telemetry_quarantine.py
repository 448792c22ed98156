"""Telemetry that could not be used, with the reason."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context

api = section("quarantine", "Telemetry that could not be used, kept with the reason.")


class QuarantineQuery(Asked):
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    device: Annotated[str, Field(max_length=80)] | None = None


class QuarantinedAnswer(Answer):
    id: int
    device: str
    at: int = Field(description="When it came")
    reason: str
    size_bytes: int = Field(description="Of what was kept, at most 64 KB")
    payload_hex: str = Field(description="Its first 256 bytes")


class QuarantineAnswer(Answer):
    total: int = Field(description="Kept, of all devices; the oldest of more than 1,000 go")
    rows: list[QuarantinedAnswer]


@api.get("/telemetry/quarantine", responses={200: QuarantineAnswer})
@needs("viewer")
def list_quarantine(query: QuarantineQuery) -> Response:
    """Batches that could not be read or cannot be true, newest first"""
    store = context().store
    if query.device is not None:
        store.devices.get(query.device)
    return answer(
        QuarantineAnswer(
            total=store.fleet_pages.quarantined_total(),
            rows=[
                QuarantinedAnswer(
                    id=row.id,
                    device=row.device,
                    at=row.at,
                    reason=row.reason,
                    size_bytes=row.size,
                    payload_hex=row.payload.hex(),
                )
                for row in store.quarantine.rows(query.limit, query.device)
            ],
        )
    )
