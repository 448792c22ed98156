"""Everything the server can refuse or fail at, in one tree. A message says what happened and what to do.

EdgepressError                      (edgepress_compression.errors)
└── ServerError                     has `code` (for programs), `status` (HTTP) and a message (for people)
    ├── InvalidInputError       400 what came in cannot be used as it is
    ├── UnauthenticatedError    401 nobody is signed in, or the token is not (any longer) good
    ├── ForbiddenError          403 signed in, but this needs another role, or the CSRF token is missing
    ├── NotFoundError           404 there is no such device, model, job ...
    ├── ConflictError           409 it exists already, or its state does not allow this
    ├── GoneError               410 a code that was used or has expired
    ├── TooLargeError           413 larger than the limit, which the message names
    ├── RateLimitedError        429 too many tries; `retry_after_s` says when to come back
    ├── StoreError              503 the store cannot be read or written now
    │   └── StoreVersionError   503 the store was written by a newer edgepress
    └── DiskFullError           507 no room left on the server's disk
"""

from __future__ import annotations

import errno
from typing import ClassVar

from edgepress_compression.errors import EdgepressError

__all__ = [
    "ConflictError",
    "DiskFullError",
    "EdgepressError",
    "ForbiddenError",
    "GoneError",
    "InvalidInputError",
    "NotFoundError",
    "RateLimitedError",
    "ServerError",
    "StoreError",
    "StoreVersionError",
    "TooLargeError",
    "UnauthenticatedError",
    "is_disk_full",
]


class ServerError(EdgepressError):
    """Base of what the REST API answers with ``{"error": {"code": ..., "message": ...}}``."""

    status: ClassVar[int] = 500

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # stable, snake_case: "device_exists"
        self.message = message


class InvalidInputError(ServerError):
    """What came in cannot be used as it is."""

    status = 400


class UnauthenticatedError(ServerError):
    """Nobody is signed in, or the token is not (any longer) good."""

    status = 401


class ForbiddenError(ServerError):
    """Signed in, but this needs another role, or the CSRF token is missing."""

    status = 403


class NotFoundError(ServerError):
    """There is no such thing."""

    status = 404


class ConflictError(ServerError):
    """It exists already, or its state does not allow this."""

    status = 409


class GoneError(ServerError):
    """It worked once and does not any more."""

    status = 410


class TooLargeError(ServerError):
    """Larger than the limit."""

    status = 413


class RateLimitedError(ServerError):
    """Too many tries; `retry_after_s` says when to come back."""

    status = 429

    def __init__(self, code: str, message: str, retry_after_s: int) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s


class StoreError(ServerError):
    """The store cannot be read or written now."""

    status = 503


class StoreVersionError(StoreError):
    """The store was written by a newer edgepress."""


class DiskFullError(ServerError):
    """No room left on the server's disk."""

    status = 507

    def __init__(self) -> None:
        super().__init__(
            "disk_full",
            "The server's disk is full; nothing was changed. Free some space there and try again.",
        )


def is_disk_full(error: OSError) -> bool:
    """True when the system says that there is no room: no space left, or the quota is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
