"""Which of our formats a scraper asks for in its Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

from typing import Final, Literal

Format = Literal["text", "openmetrics", "protobuf"]

_TYPES: Final[dict[str, Format]] = {
    "text/plain": "text",
    "application/openmetrics-text": "openmetrics",
    "application/vnd.google.protobuf": "protobuf",
}
ACCEPT_MAX_CHARS: Final = 2000


def wanted_format(accept: str) -> Format:
    """The one with the highest weight, the first of those; text where none of them is asked for."""
    best: tuple[float, Format] = (0.0, "text")
    for part in accept[:ACCEPT_MAX_CHARS].split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if media not in _TYPES:
            continue
        values = dict(piece.partition("=")[::2] for piece in parameters)
        if media == "application/vnd.google.protobuf" and (
            values.get("proto", "io.prometheus.client.metricfamily") != "io.prometheus.client.metricfamily"
            or values.get("encoding", "delimited") != "delimited"
        ):
            continue
        if media == "application/openmetrics-text" and values.get("version", "1.0.0") not in (
            "1.0.0",
            "0.0.1",
        ):
            continue
        weight = _weight(values.get("q", "1"))
        if weight > best[0]:
            best = (weight, _TYPES[media])
    return best[1]


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
