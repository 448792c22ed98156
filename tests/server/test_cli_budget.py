"""``edgepress budget``: what is typed has units, and is refused with words before any server is asked."""

import pytest
from click.testing import CliRunner

from edgepress_server.cli.budget import budget


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--latency", "20", "has no unit"),
        ("--latency", "20 parsecs", "unknown unit"),
        ("--memory", "-3MB", "must be above 0"),
        ("--energy", "much", "no number"),
        ("--max-drop", "120", "from 0 to 100 points"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_in_words(option: str, value: str, words: str) -> None:
    found = CliRunner().invoke(budget, ["set", "lenet", "--profile", "raspberry-pi-4", option, value])
    assert found.exit_code == 2
    assert words in " ".join(found.output.split())
    assert "Traceback" not in found.output
