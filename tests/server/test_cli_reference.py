"""docs/cli.md is what the commands say of themselves."""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_command_line_reference_is_current(tmp_path: Path) -> None:
    # A process of its own: click keeps the help option of a command that another test has called by itself.
    made = tmp_path / "cli.md"
    subprocess.run([sys.executable, str(DOCS / "cli_reference.py"), str(made)], check=True)
    assert (DOCS / "cli.md").read_text() == made.read_text(), "stale: run `make docs` and commit docs/cli.md"
