"""Ranges of time as addresses name them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgepress_server.errors import InvalidInputError

TIME_MAX_MS = 2**43  # the year 2248

Time = Annotated[int, Field(ge=0, le=TIME_MAX_MS, description="Unix ms")]


def read_range(
    from_ms: int | None, to_ms: int | None, last_ms: int | None, default_ms: int, now_ms: int
) -> tuple[int, int]:
    """(from, to) of what was named. Raises InvalidInputError."""
    if from_ms is not None and last_ms is not None:
        raise InvalidInputError("query_range", "last_ms: give it or `from`, not both.")
    to_ms = now_ms + 1 if to_ms is None else to_ms
    if from_ms is None:
        from_ms = max(0, to_ms - (last_ms or default_ms))
    if from_ms >= to_ms:
        raise InvalidInputError("time_range", "`from` must lie before `to`; both are Unix milliseconds.")
    return from_ms, to_ms
