"""The second way to a device: the chunks that MQTT carries, joined, by HTTP byte ranges.

A device shows the ticket that its want brought. What it gets is encrypted, and the same bytes as on MQTT; one
answer holds at most CHUNKS_PER_ANSWER chunks.

A thread of the web role is busy until the last byte of an answer is on its way, so who asks again and again
and reads nothing holds one. Therefore devices have at most SENDING_AT_ONCE of the threads, and each of them
DEVICE_AT_ONCE: a device that was broken into cannot keep people or other devices from the server.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Final

from flask import Response, current_app, request
from pydantic import Field

from edgepress_devices.protocol import CHUNK_MAX_BYTES, CHUNK_PLAIN_BYTES, GCM_TAG_BYTES, chunk_count
from edgepress_server.api.answers import Asked, section
from edgepress_server.api.auth import public
from edgepress_server.api.context import context
from edgepress_server.errors import (
    ForbiddenError,
    InvalidInputError,
    RateLimitedError,
    UnauthenticatedError,
)
from edgepress_server.trust.seal import encrypt_chunk
from edgepress_server.trust.ticket import Ticket, read_ticket

api = section("chunks", "Encrypted chunks of artifacts and deltas, for devices.", open_to_all=True)

CHUNKS_PER_ANSWER: Final = 16
ENCRYPTING_AT_ONCE: Final = 8  # more would only wait for a core
SENDING_AT_ONCE: Final = (
    32  # of the web role's 64 threads, so that pages are served beside a fleet's downloads
)
DEVICE_AT_ONCE: Final = (
    2  # an agent asks for one range after the other; the one before may not have ended yet
)
_RANGE: Final = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")

_places = threading.BoundedSemaphore(ENCRYPTING_AT_ONCE)


class Sending:
    """How many answers are on their way, to whom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_device: Counter[str] = Counter()

    def begin(self, device: str) -> Callable[[], None]:
        """To be called at the end, once. Raises RateLimitedError."""
        with self._lock:
            if self._by_device[device] >= DEVICE_AT_ONCE:
                raise RateLimitedError(
                    "download_under_way", "Other downloads of this device are not over; end them first.", 10
                )
            if self._by_device.total() >= SENDING_AT_ONCE:
                raise RateLimitedError("many_downloads", _MANY, 5)
            self._by_device[device] += 1
        return partial(self._end, device)

    def _end(self, device: str) -> None:
        with self._lock:
            self._by_device[device] -= 1
            if not self._by_device[device]:
                del self._by_device[device]


_sending = Sending()
_MANY: Final = "Many devices fetch over HTTPS now; try again soon."


class ChunksPath(Asked):
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Of an artifact or a delta")]


@api.get(
    "/chunks/<digest>",
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
@public
def get_chunks(path: ChunksPath) -> Response:
    """Byte ranges of all chunk payloads joined, at most 16 chunks an answer

    For devices: `Authorization: Bearer` with the ticket of their want. Chunk n begins at n * 64,000.
    """
    ticket = _ticket()
    if not path.digest.startswith(ticket.digest_start) and not _is_delta(path.digest, ticket):
        raise ForbiddenError("not_yours", "The ticket is for another artifact.")
    ended = _sending.begin(ticket.device)
    try:
        response = _answer(path.digest)
    except BaseException:
        ended()
        raise
    response.call_on_close(ended)
    return response


def _answer(digest: str) -> Response:
    store = context().store
    place = store.blobs.path(digest)
    plain_bytes = place.stat().st_size
    chunks = chunk_count(plain_bytes)
    total = plain_bytes + chunks * GCM_TAG_BYTES
    start, end = _asked(total)
    last = min((end - 1) // CHUNK_MAX_BYTES, start // CHUNK_MAX_BYTES + CHUNKS_PER_ANSWER - 1)
    end = min(end, (last + 1) * CHUNK_MAX_BYTES, total)
    key = store.releases.content_key(digest)
    with _one_of_few(), place.open("rb") as file:
        payloads = []
        for n in range(start // CHUNK_MAX_BYTES, last + 1):
            file.seek(n * CHUNK_PLAIN_BYTES)
            plain = file.read(CHUNK_PLAIN_BYTES)
            payloads.append(encrypt_chunk(key, digest=digest, n=n, chunks=chunks, plaintext=plain))
        offset = start % CHUNK_MAX_BYTES
        body = b"".join(payloads)[offset : offset + end - start]
    whole = (start, end) == (0, total) and "Range" not in request.headers
    response = current_app.response_class(
        body, status=200 if whole else 206, mimetype="application/octet-stream"
    )
    if not whole:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = f'"{digest}"'
    return response


def _ticket() -> Ticket:
    """Raises UnauthenticatedError, ForbiddenError."""
    here = context()
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer":
        raise UnauthenticatedError("no_ticket", "Devices show the ticket of their want here.")
    now_s = here.store.now_ms() // 1000
    ticket = read_ticket(here.store.delivery.ticket_secret(), text.strip(), now_s=now_s)
    device = here.store.devices.find(ticket.device)
    if device is None or device.revoked_at is not None or device.enrolled_at is None:
        raise ForbiddenError("device_revoked", "This device may not fetch here any more.")
    return ticket


def _is_delta(digest: str, ticket: Ticket) -> bool:
    """Whether this is a delta to the artifact that the ticket names."""
    want = context().store.wants.find(ticket.device)
    return want is not None and want.delta == digest and (want.digest or "").startswith(ticket.digest_start)


def _asked(total: int) -> tuple[int, int]:
    """(first byte, byte after the last). Raises InvalidInputError."""
    header = request.headers.get("Range")
    if header is None:
        return 0, total
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        raise InvalidInputError("bad_range", "Ask for one range, as in bytes=0-1023999.")
    start = int(match[1])
    end = min(int(match[2]) + 1, total) if match[2] else total
    if not 0 <= start < end:
        raise InvalidInputError("bad_range", f"The chunks have {total} bytes; that range is not in them.")
    return start, end


@contextmanager
def _one_of_few() -> Iterator[None]:
    if not _places.acquire(timeout=2.0):
        raise RateLimitedError("many_downloads", _MANY, 5)
    try:
        yield
    finally:
        _places.release()
