"""``edgepress model cost`` of what lies on the server: what it prints, and how it finds what is meant."""

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgepress_server.cli import model_cost, model_cost_server
from edgepress_server.cli.client import Api
from edgepress_server.cli.main import edgepress
from edgepress_server.cli.model_cost_server import ask, cost_on_server, subject

LAYER = {
    "name": "conv1", "kind": "convolution nchw fp32", "known": True, "latency_us": 900.0, "share": 0.9,
    "bound": "compute", "operations": 2_000_000, "operations_per_byte": 12.0, "operations_per_us": 2222.0,
}  # fmt: skip
MOVE = {
    **LAYER, "name": "move", "kind": "Transpose fp32", "known": False, "latency_us": 100.0, "share": 0.1,
    "bound": "memory", "operations": 0, "operations_per_byte": 0.0, "operations_per_us": 0.0,
}  # fmt: skip
READY: dict[str, Any] = {
    "state": "ready", "profile": "raspberry-pi-4", "threads": 4, "latency_us": 1000.0, "low_us": 926.0,
    "high_us": 1080.0, "words": "calibrated on 3 devices (+-8 %)", "measured": None,
    "memory_bytes": 70_000_000, "memory_basis": "datasheet", "energy_mj": 3.1, "energy_basis": "datasheet",
    "operations": 2_000_000, "overhead_us": 0.0, "layers": [MOVE, LAYER],
}  # fmt: skip
MEASURED = {
    "p50_us": 950.0, "p95_us": 1200.0, "words": "measured on 2 devices", "latency_ratio": 1.05,
    "rss_bytes": 80_000_000.0, "energy_mj": 3.0, "energy_method": "pmic",
}  # fmt: skip


class Server(Api):
    """Answers from a list, one after the other; the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    def get(self, path: str, **query: Any) -> Any:
        self.asked.append((path, query))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_a_predicted_time_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    cost_on_server(Server(READY), "net", "raspberry-pi-4", layers=None, as_json=False)
    said = capsys.readouterr().out
    assert "about 1.00 ms (926 us to 1.08 ms), calibrated on 3 devices (+-8 %)" in said
    assert "Times are predicted: calibrated on 3 devices (+-8 %)." in said
    assert "Transpose fp32 (not timed)" in said


def test_what_devices_measured_is_printed_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {**READY, "measured": MEASURED}
    cost_on_server(Server(answer), "net", "raspberry-pi-4", layers=None, as_json=False)
    said = capsys.readouterr().out
    assert "p50 950 us, p95 1.20 ms, measured on 2 devices; predicted / measured = 1.05" in said
    assert "3 mJ told by devices, pmic" in said


def test_the_slowest_layers_come_first_when_only_some_are_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cost_on_server(Server(READY), "net", "raspberry-pi-4", layers=1, as_json=False)
    said = capsys.readouterr().out
    assert "conv1" in said and "Transpose" not in said and "The 1 slowest of 2 layers." in said


def test_json_is_the_answer_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    cost_on_server(Server(READY), "net", "raspberry-pi-4", layers=1, as_json=True)
    assert json.loads(capsys.readouterr().out) == READY


def test_it_asks_again_until_the_server_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cost_server, "ASK_AGAIN_S", 0.0)
    server = Server({"state": "computing"}, {"state": "computing"}, READY)
    assert ask(server, "/models/net", "raspberry-pi-4") == READY
    assert len(server.asked) == 3


def test_it_does_not_ask_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cost_server, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(model_cost_server, "GIVE_UP_S", -1.0)
    with pytest.raises(click.ClickException, match="ask again in a minute"):
        ask(Server({"state": "computing"}), "/models/net", "raspberry-pi-4")


FILES = [
    ("a name with a dot is a model on the server", "squeezenet1.1", "/models/squeezenet1.1"),
    ("a file that is not there is no model", "nothing.onnx", None),
    ("neither is a path", "folder/net", None),
]


@pytest.mark.parametrize(("what", "name", "address"), FILES, ids=[file[0] for file in FILES])
def test_the_command_tells_files_from_models(
    what: str, name: str, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(READY)
    monkeypatch.setattr(model_cost, "api", lambda url, token: server)
    done = CliRunner().invoke(edgepress, ["model", "cost", name, "--profile", "raspberry-pi-4"])
    if address is None:
        assert done.exit_code != 0 and f"there is no file {name}" in done.output
    else:
        assert done.exit_code == 0 and server.asked == [
            (f"{address}/prediction", {"profile": "raspberry-pi-4"})
        ]


ARTIFACTS = [
    {"digest": "abcdef" + 58 * "0"},
    {"digest": "abcdef" + 58 * "1"},
    {"digest": "123456" + 58 * "2"},
]
NAMES = [
    ("a model", "squeezenet1.1", "/models/squeezenet1.1"),
    ("the start of a digest", "123456", f"/artifacts/123456{58 * '2'}"),
    ("a model whose name could begin a digest", "decade", "/models/decade"),
]


@pytest.mark.parametrize(("what", "name", "address"), NAMES, ids=[name[0] for name in NAMES])
def test_a_name_is_a_model_or_the_start_of_an_artifact(what: str, name: str, address: str) -> None:
    assert subject(Server(ARTIFACTS), name) == address


def test_a_digest_that_fits_two_artifacts_is_refused() -> None:
    with pytest.raises(click.ClickException, match="2 artifacts"):
        subject(Server(ARTIFACTS), "abcdef")
