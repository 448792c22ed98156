"""The pages that say what an alert means, how to look and what to do: Markdown files beside this one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepress_server.alerts.rule import NAME
from edgepress_server.errors import NotFoundError

FOLDER: Final = Path(__file__).parent / "runbooks"
PARTS: Final = ("What it means", "How to look", "What to do")


@dataclass(frozen=True)
class Runbook:
    name: str
    title: str
    text: str


def runbooks() -> list[Runbook]:
    return [get(path.stem) for path in sorted(FOLDER.glob("*.md"))]


def get(name: str) -> Runbook:
    """Raises NotFoundError."""
    path = FOLDER / f"{name}.md"
    if not NAME.fullmatch(name) or not path.is_file():
        raise NotFoundError(
            "runbook_unknown", f"There is no runbook {name[:63]!r}; GET /api/v1/runbooks lists them."
        )
    text = path.read_text("utf-8")
    return Runbook(name, text.partition("\n")[0].removeprefix("# ").strip(), text)
