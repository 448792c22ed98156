"""docs/cli.md is what the commands say of themselves."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_command_line_reference_is_current() -> None:
    written = runpy.run_path(str(DOCS / "cli_reference.py"))["reference"]()
    assert (DOCS / "cli.md").read_text() == written, "stale: run `make docs` and commit docs/cli.md"
