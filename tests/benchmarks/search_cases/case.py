"""What a part of the search benchmark measures: one row of the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    case: str
    what: str  # "the search", "random", "the recipe int8"
    figures: str  # in words, for the table
    met: bool | None = None  # None: no target
    target: str = ""
    numbers: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
