"""How the command line says things, and what it does with what people type."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edgepress_server.cli import client, output
from edgepress_server.cli.main import COMMANDS, edgepress


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1536, "1.5 KB"),
        (4_951_981, "5.0 MB"),
        (2_300_000_000, "2.30 GB"),
        (None, None),
    ],
)
def test_sizes_are_decimal_and_absent_stays_absent(size_bytes: int | None, said: str | None) -> None:
    assert output.size(size_bytes) == said


@pytest.mark.parametrize(
    ("us", "said"), [(12, "12 us"), (999.6, "1000 us"), (12_345, "12.35 ms"), (None, None)]
)
def test_latency_is_said_in_the_unit_people_think_in(us: float | None, said: str | None) -> None:
    assert output.micros(us) == said


def test_a_label_without_a_value_is_refused_with_the_right_form() -> None:
    assert output.labels(("site=hall 3", "x=a=b")) == {"site": "hall 3", "x": "a=b"}
    with pytest.raises(click.BadParameter, match="KEY=VALUE"):
        output.labels(("site",))


def test_every_command_loads_and_has_a_help_line() -> None:
    context = click.Context(edgepress)
    for name in COMMANDS:
        command = edgepress.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(), name


def test_every_leaf_command_that_prints_data_offers_json() -> None:
    def leaves(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            children = [(n, command.get_command(context, n)) for n in command.list_commands(context)]
            return [leaf for name, child in children if child for leaf in leaves(child, f"{path} {name}")]
        return [(path, command)]

    without = {p for p, c in leaves(edgepress, "edgepress") if "as_json" not in {o.name for o in c.params}}
    assert without == {"edgepress serve", "edgepress demo", "edgepress login", "edgepress completion"}


def test_a_missing_server_is_said_in_one_sentence_that_helps() -> None:
    done = CliRunner().invoke(edgepress, ["device", "list", "--url", "http://127.0.0.1:9", "--token", "x"])
    assert done.exit_code == 1
    assert "edgepress serve" in done.output
    assert "Traceback" not in done.output


def test_compressing_a_file_says_what_is_missing_before_it_loads_anything(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"not a model")
    run = CliRunner().invoke
    done = run(edgepress, ["compress", str(model), "--recipe", "none", "--profile", "x86-pc"])
    assert done.exit_code == 2
    assert "-o OUT" in done.output
    done = run(
        edgepress, ["compress", str(tmp_path / "absent.onnx"), "--recipe", "none", "--profile", "x86-pc"]
    )
    assert done.exit_code == 2
    assert "there is no file" in done.output


def test_credentials_are_kept_privately_per_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    client.save_credentials("http://one", "t1")
    path = client.save_credentials("http://two", "t2")
    assert json.loads(path.read_text()) == {"http://one": "t1", "http://two": "t2"}
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{broken")
    with pytest.raises(click.ClickException, match="edgepress login"):
        client.saved_credentials()
