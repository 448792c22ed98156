"""docs/cli.md is what the commands say of themselves."""

from pathlib import Path

from edgepress_server.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_command_line_reference_is_current() -> None:
    assert PAGE.read_text() == reference(), "stale: run `make docs` and commit docs/cli.md"
