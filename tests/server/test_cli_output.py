"""How the command line says things, and what it does with what people type."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgepress_server.cli import client, device, output
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
    # Changing keys is done by people, step by step; `keys show` and `verify` print what came of it.
    ceremonies = {path for path in without if path.startswith("edgepress keys ")}
    assert not ceremonies & {"edgepress keys show", "edgepress keys verify"}
    others = {"edgepress serve", "edgepress demo", "edgepress login", "edgepress completion"}
    assert without - ceremonies == others


def test_a_missing_server_is_said_in_one_sentence_that_helps() -> None:
    done = CliRunner().invoke(edgepress, ["device", "list", "--url", "http://127.0.0.1:9", "--token", "x"])
    assert done.exit_code == 1
    assert "(connection refused)" in done.output
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


def test_commands_go_where_one_signed_in_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EDGEPRESS_URL", raising=False)
    assert client.default_url() == "http://127.0.0.1:8080"
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:1"):
        client.save_credentials(url, "token")
    assert "answers at http://127.0.0.1:1 " in CliRunner().invoke(edgepress, ["token", "create", "x"]).output
    named = CliRunner().invoke(edgepress, ["token", "create", "x", "--url", "http://127.0.0.1:2"])
    assert "answers at http://127.0.0.1:2 " in named.output


@pytest.mark.parametrize("url", ["localhost:8080", "garbage", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused_with_an_example(url: str) -> None:
    done = CliRunner().invoke(edgepress, ["device", "list", "--url", url])
    assert done.exit_code == 2
    assert "http://127.0.0.1:8080" in done.output


def test_a_misspelt_command_is_put_right() -> None:
    done = CliRunner().invoke(edgepress, ["devcie"])
    assert done.exit_code == 2
    assert "Did you mean 'device'?" in done.output


def test_what_goes_into_a_pipe_is_one_line_a_row_without_trailing_blanks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.table(("NAME", "TEXT"), [("a", "w " * 200), ("b", None)], empty="")
    output.table(("NAME",), [], empty="Make one: " + "command " * 20)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line == line.rstrip() for line in lines[:3])


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    refused = pytest.raises(click.ClickException, match=r"cannot write .*No such file")
    with refused, output.writing(tmp_path / "absent" / "file") as stream:
        stream.write(b"x")
    with pytest.raises(client.ApiFailure), output.writing(tmp_path / "file") as stream:
        stream.write(b"half")
        raise client.ApiFailure("broke off")
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_was_damaged_on_the_server_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, damaged = b"artifact", b"artifacT"
    digest = hashlib.sha256(whole).hexdigest()
    sent = [damaged]

    def get(self: client.Api, path: str, **query: Any) -> Any:
        return [{"digest": digest}] if path == "/artifacts" else {"digest": digest, "bytes": len(whole)}

    def download(self: client.Api, path: str, **query: Any) -> Iterator[bytes]:
        yield sent[0]

    monkeypatch.setattr(client.Api, "get", get)
    monkeypatch.setattr(client.Api, "download", download)
    command = ["artifact", "download", digest[:12], "-o", str(tmp_path / "a"), "--token", "t"]
    done = CliRunner().invoke(edgepress, command)
    assert done.exit_code == 1 and "is damaged" in done.output
    assert list(tmp_path.iterdir()) == []
    sent[0] = whole
    assert CliRunner().invoke(edgepress, command).exit_code == 0
    assert (tmp_path / "a").read_bytes() == whole


def test_a_new_code_says_how_long_it_is_good_for_from_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device.time, "time", lambda: 10 * 86400.0)
    registered_long_ago = {"name": "pi", "profile": "raspberry-pi-4", "created_at": 0}
    answer = {"device": registered_long_ago, "code": "C", "enrol_url": "u", "expires_at": 11 * 86400_000}
    device._print_code(answer, False, "A new code for")
    assert "expires in 24 hours" in capsys.readouterr().out


def test_an_empty_file_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    done = CliRunner().invoke(edgepress, ["model", "add", str(tmp_path / "m.onnx"), "--token", "t"])
    assert done.exit_code == 1 and "is empty" in done.output
