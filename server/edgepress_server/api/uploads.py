"""Raw bodies to disk: never held in memory, limited before and while they come."""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.exceptions import ClientDisconnected

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
        raise InvalidInputError("empty_upload", "The upload is empty. Send the file's bytes as the body.")


def _read() -> bytes:
    try:
        return request.stream.read(COPY_BYTES)
    except (ClientDisconnected, OSError) as error:  # OSError: gunicorn, for a broken chunk
        raise InvalidInputError("upload_broke_off", "The upload broke off. Send the file again.") from error
