"""The audit log: who did what, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from flask import Response, current_app
from pydantic import Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.store.audit import AuditEntry, Head

api = section("audit", "Who did what, in a log that only grows, chained by hashes.")

Word = Annotated[str, Field(max_length=200)]
Number = Annotated[int, Field(ge=0, le=2**53)]


class AuditQuery(Asked):
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    before: Number | None = Field(None, description="Only rows with a smaller number: the next page")
    actor: Word | None = None
    action: Word | None = None
    subject: Word | None = None


class VerifyQuery(Asked):
    """A head that was kept elsewhere, which the log must contain."""

    number: Number | None = None
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class ExportQuery(Asked):
    after: Number = Field(0, description="Only rows with a larger number")


class HeadAnswer(Answer):
    number: int = Field(description="Of the newest row; 0: the log is empty")
    hash: str = Field(description="Keep it elsewhere: it proves the rows up to it")


class AuditAnswer(Answer):
    number: int
    at: int
    action: str
    subject: str
    actor: str | None = Field(description="A person; null: nobody signed in, or the server itself")
    source: str
    data: dict[str, Any]
    hash: str = Field(description="SHA-256 of the previous row's and of this row's canonical JSON")


class AuditPage(Answer):
    entries: list[AuditAnswer] = Field(description="Newest first")
    head: HeadAnswer
    actions: list[str] = Field(description="What was ever done, by name")


class VerdictAnswer(Answer):
    holds: bool
    rows: int = Field(description="That hold, from the first on")
    head: HeadAnswer
    broken: int | None = Field(description="Number of the first row that does not hold")
    reason: str | None


@api.get("/audit", responses={200: AuditPage})
@needs("operator")
def list_audit(query: AuditQuery) -> Response:
    """Who did what, newest first"""
    audit = context().store.audit
    found = audit.newest(
        query.limit, before=query.before, actor=query.actor, action=query.action, subject=query.subject
    )
    return answer(
        AuditPage(
            entries=[AuditAnswer.model_validate(entry) for entry in found],
            head=HeadAnswer.model_validate(audit.head()),
            actions=audit.actions(),
        )
    )


@api.get("/audit/verify", responses={200: VerdictAnswer})
@needs("operator")
def verify_audit(query: VerifyQuery) -> Response:
    """Walk the chain of hashes and name the first row that does not hold"""
    kept = Head(query.number, query.hash) if query.number is not None and query.hash is not None else None
    return answer(VerdictAnswer.model_validate(context().store.audit.verify(kept)))


@api.get(
    "/audit/export",
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
@needs("operator")
def export_audit(query: ExportQuery) -> Response:
    """Every row as a line of JSON, oldest first"""
    lines = _lines(context().store.audit.oldest_first(query.after))
    response = current_app.response_class(lines, mimetype="application/x-ndjson")
    response.headers["Content-Disposition"] = 'attachment; filename="edgepress-audit.jsonl"'
    return response


def _lines(entries: Iterator[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(vars(entry), ensure_ascii=False) + "\n"
