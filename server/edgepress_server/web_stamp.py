"""Says whether the built web UI in ``static/`` is there and was built from the sources beside it.

``deploy/build_web.py`` writes ``static/stamp.json`` = ``{"sources_sha256": ..., "files": n, "gzip_bytes":
b}`` after a build. Standard library only: the build hook loads this file by its path, in an environment where
nothing of edgepress is installed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
SOURCES: Final = Path(__file__).parent.parent / "web"  # in a checkout; an installed wheel has none
BUILD_COMMAND: Final = "python deploy/build_web.py"

_NOT_SOURCES: Final = {"node_modules", "README.md", "dist"}


def sources_sha256(sources: Path) -> str:
    """SHA-256 over the path and the bytes of every source file below ``sources``, in sorted order."""
    total = hashlib.sha256()
    for path in _source_files(sources):
        name = path.relative_to(sources).as_posix().encode()
        body = hashlib.sha256(path.read_bytes()).digest()
        total.update(len(name).to_bytes(4, "big") + name + body)
    return total.hexdigest()


def built_sha256(static: Path) -> str | None:
    """The hash the build in ``static`` was made from; None where no whole build is there."""
    try:
        stamp = json.loads((static / "stamp.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    built = stamp.get("sources_sha256") if isinstance(stamp, dict) else None
    return built if isinstance(built, str) and (static / "index.html").is_file() else None


def missing_reason(static: Path = STATIC, sources: Path = SOURCES) -> str | None:
    """None when the built UI may be served, else one sentence that says which command builds it."""
    built = built_sha256(static)
    in_checkout = (sources / "package.json").is_file()
    if built is None:
        if in_checkout:
            return f"The web UI is not built: run `{BUILD_COMMAND}` in the repository."
        return (
            "This installation has no web UI: its wheel was built where Node.js was missing. Run"
            f" `{BUILD_COMMAND}` in the repository before building the wheel."
        )
    if in_checkout and built != sources_sha256(sources):
        return f"The web UI is older than its sources: run `{BUILD_COMMAND}` in the repository."
    return None


def _source_files(sources: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, files in os.walk(sources):
        folders[:] = [name for name in folders if name not in _NOT_SOURCES and not name.startswith(".")]
        found += [
            Path(folder, name) for name in files if name not in _NOT_SOURCES and not name.startswith(".")
        ]
    return sorted(found, key=lambda path: path.relative_to(sources).as_posix())
