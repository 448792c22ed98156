"""`edgepress broker` as a person meets it; what it finds out about real brokers is in tests/e2e."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgepress_server.cli.main import edgepress


def run(*arguments: str) -> Result:
    return CliRunner().invoke(edgepress, ["broker", *arguments])


def test_a_broker_that_is_not_there_breaks_everything_and_the_exit_code_says_so() -> None:
    done = run("check", "mqtt://127.0.0.1:1", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found[-1]["level"] == "broken"
    assert found[-1]["remedy"].endswith(".")


@pytest.mark.parametrize("url", ["http://broker", "mqtt://", "mqtt://broker:port", "mqtt://broker:99999"])
def test_an_address_that_is_none_is_said_in_a_sentence(url: str) -> None:
    done = run("check", url)
    assert done.exit_code == 1
    assert "Error: " in done.output and "Traceback" not in done.output


def test_a_ca_that_is_none_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    done = run("check", "mqtts://127.0.0.1:1", "--ca", str(tmp_path / "ca.pem"))
    assert done.exit_code == 1
    assert "no usable CA certificate" in done.output


def test_the_hooks_secret_is_drawn_once_private_and_shown_with_its_addresses(tmp_path: Path) -> None:
    first = json.loads(run("hook", "--data", str(tmp_path), "--json").stdout)
    again = json.loads(run("hook", "--data", str(tmp_path), "--json").stdout)
    assert first == again
    assert len(first["secret"]) >= 40
    assert stat.S_IMODE((tmp_path / "broker" / "hook-secret").stat().st_mode) == 0o600
    assert first["addresses"]["emqx"][0].endswith("/api/v1/broker/emqx/connect")
    assert set(first["addresses"]) == {"emqx", "vernemq", "rabbitmq", "nanomq"}
    shown = run("hook", "--data", str(tmp_path)).output
    assert first["secret"] in shown
