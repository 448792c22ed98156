"""Raw bodies to disk: never held in memory, limited before and while they come."""

from __future__ import annotations

from typing import Any

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from edgepress_server.api.context import context
from edgepress_server.errors import InvalidInputError, TooLargeError
from edgepress_server.store.blobs import COPY_BYTES, BlobWriter

UPLOAD_MAX_BYTES = 2 << 30

RAW_BODY: dict[str, Any] = {
    "description": f"The file's bytes, at most {UPLOAD_MAX_BYTES >> 30} GiB",
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


def check_size() -> None:
    """Refuse from the headers alone what is too large or has no room. Raises TooLargeError, DiskFullError."""
    request.max_content_length = UPLOAD_MAX_BYTES
    announced = request.content_length
    if announced is None:
        return
    if announced > UPLOAD_MAX_BYTES:
        raise TooLargeError(
            "too_large", f"The upload has {announced:,} bytes; the limit is {UPLOAD_MAX_BYTES >> 30} GiB."
        )
    context().store.blobs.check_room(announced)


def receive(writer: BlobWriter) -> None:
    """Copy the body into the writer. Raises InvalidInputError (empty, broke off), TooLargeError."""
    while part := _read():
        writer.write(part)
    if writer.size_bytes == 0:
        raise InvalidInputError(
            "empty_upload", "The upload is empty: no bytes came in its body. Copy or export the file again."
        )


def _read() -> bytes:
    try:
        return request.stream.read(COPY_BYTES)
    except RequestEntityTooLarge as error:  # it announced no length, and went on
        raise TooLargeError(
            "too_large", f"The upload is larger than the limit of {UPLOAD_MAX_BYTES >> 30} GiB."
        ) from error
    except (ClientDisconnected, OSError, ParseException) as error:  # ParseException: a broken chunk
        raise InvalidInputError("upload_broke_off", "The upload broke off. Send the file again.") from error
