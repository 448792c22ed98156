"""``edgepress model cost FILE``: no server is asked, and every figure says that it is predicted."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepress_devices.microbench.nets import write_net
from edgepress_server.cli.main import edgepress


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(write_net("separable-96", "fp32"))
    return path


def cost(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(edgepress, ["model", "cost", *words])
    return done.exit_code, done.output


def test_layers_totals_and_their_basis_are_printed(file: Path) -> None:
    code, said = cost(str(file), "--profile", "raspberry-pi-4", "--layers", "3")
    assert code == 0
    assert "datasheet (roofline, expect a factor of 2)" in said
    assert "The 3 slowest of" in said
    assert "OP/BYTE" in said
    assert "pointwise nchw fp32" in said


def test_json_and_the_page_hold_the_same_prediction(file: Path, tmp_path: Path) -> None:
    page = tmp_path / "cost.html"
    code, said = cost(str(file), "--profile", "x86-pc", "--json", "--report", str(page))
    assert code == 0
    told = json.loads(said[said.index("{") :])
    assert told["basis"] == "datasheet"
    assert told["latency_us"] > 0
    html = page.read_text(encoding="utf-8")
    assert all(one["name"] in html for one in told["operators"])
    assert told["words"] in html


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.onnx", "--profile", "raspberry-pi-4"], "there is no file missing.onnx"),
        (["somewhere/else", "--profile", "raspberry-pi-4"], "there is no file somewhere/else"),
        (["name", "--profile", "raspberry-pi-4", "--report", "x.html"], "there is no file name"),
    ],
)
def test_what_is_no_file_is_said(words: list[str], said: str) -> None:
    code, output = cost(*words)
    assert code == 2
    assert said in output


def test_an_unknown_profile_and_a_file_that_is_no_model_are_errors_in_words(
    file: Path, tmp_path: Path
) -> None:
    code, said = cost(str(file), "--profile", "raspbery-pi-4")
    assert code == 1
    assert "raspberry-pi-4" in said
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    code, said = cost(str(bad), "--profile", "x86-pc")
    assert code == 1
    assert "Traceback" not in said
