"""What a collector answered to a push: taken, partly taken, to be tried again, or never to be sent again.

OTLP/HTTP (specification, "OTLP/HTTP Response"): 429, 502, 503 and 504 ask for another try, perhaps after
``Retry-After``; any other failure would be one again. 200 may still say that some points were rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RETRYABLE: Final = (408, 429, 502, 503, 504)
RETRY_AFTER_MAX_S: Final = 300.0
SAYING_MAX_CHARS: Final = 300


@dataclass(frozen=True)
class Outcome:
    taken: bool
    try_again: bool = False
    after_s: float | None = None  # the collector asked for so long a pause
    rejected: int = 0  # data points of a request that was taken otherwise
    saying: str = ""  # for people


def outcome_of(status: int, body: bytes, retry_after: str | None = None) -> Outcome:
    if 200 <= status < 300:
        rejected, words = read_partial_success(body)
        return Outcome(taken=True, rejected=rejected, saying=words)
    if status in RETRYABLE:
        return Outcome(
            taken=False,
            try_again=True,
            after_s=_seconds(retry_after),
            saying=f"the collector answered {status}",
        )
    return Outcome(taken=False, saying=f"the collector refuses what is sent (HTTP {status})")


def read_partial_success(body: bytes) -> tuple[int, str]:
    """(rejected data points, why) of an ExportMetricsServiceResponse; (0, "") where it is not readable.

    partial_success 1 (rejected_data_points 1 int64, error_message 2 text)
    """
    try:
        partial = _fields(body).get(1, b"")
        inner = _fields(partial) if isinstance(partial, bytes) else {}
    except (IndexError, ValueError):  # no protocol buffer: the status says that it was taken
        return 0, ""
    rejected, words = inner.get(1, 0), inner.get(2, b"")
    count = rejected if isinstance(rejected, int) and rejected < 2**63 else 0
    said = words.decode("utf-8", "replace") if isinstance(words, bytes) else ""
    return count, "".join(c if c.isprintable() else " " for c in said[:SAYING_MAX_CHARS])


def _fields(data: bytes) -> dict[int, int | bytes]:
    """Field number -> its last value. Raises IndexError, ValueError for what is no message."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(data):
            raise IndexError("it ends within a field")
        found[key >> 3] = value
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number without an end")


def _seconds(retry_after: str | None) -> float | None:
    """Whole seconds; a date, which collectors do not send, counts as nothing said."""
    if retry_after is None or not retry_after.strip().isdigit():
        return None
    return min(RETRY_AFTER_MAX_S, float(retry_after.strip()[:9]))
