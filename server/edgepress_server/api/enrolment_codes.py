"""Enrolment codes: many at once, which are open, taken back."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response, request
from pydantic import Field, RootModel

from edgepress_devices.enrolment_rules import enrolment_address
from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.device_rows import FILE_MAX_BYTES, ROWS_MAX, read_rows
from edgepress_server.errors import InvalidInputError, NotFoundError, TooLargeError
from edgepress_server.pki import trusted_fingerprint
from edgepress_server.store.codes import NewDevice
from edgepress_server.store.devices import CODE_MAX_MS, CODE_MS

api = section("enrolment codes", "Codes that let devices in.")

CSV_BODY: dict[str, Any] = {
    "description": f"CSV (UTF-8) with a header; columns name, profile, labels (KEY=VALUE;...), and one for "
    f"each further label. At most {ROWS_MAX:,} devices",
    "required": True,
    "content": {"text/csv": {"schema": {"type": "string"}}},
}

Life = Annotated[
    int,
    Field(
        ge=60,
        le=CODE_MAX_MS // 1000,
        description=f"Seconds that a code works, if it is not used; at most {CODE_MAX_MS // 86_400_000} days",
    ),
]


class CodeOptions(Asked):
    expires_in_s: Life = CODE_MS // 1000


class BulkOptions(CodeOptions):
    replace: bool = Field(
        False, description="A name that exists gets a new code, and the profile and labels given here"
    )


class MadeCodeAnswer(Answer):
    device: str
    code: str
    expires_at: int
    enrol_url: str


class MadeCodes(Answer):
    codes: list[MadeCodeAnswer] = Field(description="In the order of the file; shown only now")


class OpenCodeAnswer(Answer):
    device: str
    profile: str
    created_at: int
    expires_at: int
    actor: str | None


class OpenCodes(RootModel[list[OpenCodeAnswer]]):
    pass


def enrol_url(code: str) -> str:
    """What `edgepress-agent enroll` takes: code and fingerprint are in the fragment, sent to nobody."""
    settings = context().settings
    return enrolment_address(settings.url, code, trusted_fingerprint(settings))


@api.post("/devices/bulk", responses={201: MadeCodes}, openapi_extensions={"requestBody": CSV_BODY})
@needs("operator")
def register_devices(query: BulkOptions) -> Response:
    """Register many devices from CSV, all or none, and get a code for each

    A row that cannot be used is named with its number, and then nothing was registered.
    """
    request.max_content_length = FILE_MAX_BYTES
    if (request.content_length or 0) > FILE_MAX_BYTES:
        raise TooLargeError("too_large", f"The file has more than {FILE_MAX_BYTES >> 20} MiB. Split it.")
    rows = read_rows(request.get_data(cache=False))
    _check_profiles(rows)
    made = context().store.codes.register_all(
        rows, actor=person().name, life_ms=query.expires_in_s * 1000, replace=query.replace
    )
    settings = context().settings
    fingerprint = trusted_fingerprint(settings)
    return answer(
        MadeCodes(
            codes=[
                MadeCodeAnswer(
                    device=one.device,
                    code=one.code,
                    expires_at=one.expires_at,
                    enrol_url=enrolment_address(settings.url, one.code, fingerprint),
                )
                for one in made
            ]
        ),
        201,
    )


@api.get("/enrolment-codes", responses={200: OpenCodes})
@needs("operator")
def list_codes() -> Response:
    """Codes that still work, without themselves; those that expire first in front"""
    return answers([OpenCodeAnswer.model_validate(code) for code in context().store.codes.open()])


def _check_profiles(rows: list[NewDevice]) -> None:
    """Raises InvalidInputError with the row of the first unknown profile."""
    profiles, known = context().store.profiles, set[str]()
    for row in rows:
        if row.profile in known:
            continue
        try:
            profiles.resolve(row.profile)
        except NotFoundError as error:
            raise InvalidInputError("bad_rows", f"Row {row.row}: {error.message}") from error
        known.add(row.profile)
