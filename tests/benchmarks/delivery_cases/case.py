"""What a case of the delivery benchmark measures: one row of the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    case: str
    what: str
    measured: str  # in words, for the table
    peer: str = ""  # the peer, or the limit that physics sets, of the same run
    target: str = ""
    met: bool | None = None  # None: no target
    numbers: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Options:
    folder: Path  # every case makes its own below
    devices: int
    enrolled: int
    repeat: int
