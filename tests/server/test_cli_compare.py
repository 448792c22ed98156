"""``edgepress compress``, ``compare`` and ``report`` on files: what they write and what they say."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from onnx_files import tiny_npz, tiny_onnx

from edgepress_compression import compare as compare_module
from edgepress_server.cli.main import edgepress


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare_module, "SECONDS_A_MODEL", 0.0)
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx())
    (tmp_path / "data.npz").write_bytes(tiny_npz())
    return tmp_path


def run(*words: str) -> Result:
    done = CliRunner().invoke(edgepress, list(words))
    assert "Traceback" not in done.output
    return done


def test_compress_writes_the_report_as_json_and_as_a_page(here: Path) -> None:
    words = ["compress", "tiny.onnx", "--recipe", "none", "--profile", "x86-pc", "--data", "data.npz"]
    done = run(*words, "-o", "a.epa", "--report", "a.json", "--report", "a.html")
    assert done.exit_code == 0, done.output
    assert "Wrote a.epa" in done.output and "a.json and a.html" in done.output
    report = json.loads((here / "a.json").read_text())
    assert report["costs"]["before"] == report["costs"]["after"]
    page = (here / "a.html").read_text()
    assert page.startswith("<!doctype html>") and "Make it again" in page
    shown = run("report", "show", "a.json", "-o", "again.html")
    assert shown.exit_code == 0 and "BEFORE" in shown.output
    assert (here / "again.html").read_text() == page


def test_compare_makes_a_table_a_file_and_a_page(here: Path) -> None:
    words = ["compare", "tiny.onnx", "--recipes", "none,int8", "--profile", "x86-pc", "--data", "data.npz"]
    done = run(*words, "-o", "out")
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.output.splitlines()[1:4]] == ["original", "none", "int8"]
    found = json.loads((here / "out" / "compare.json").read_text())
    assert found["command"] == " ".join(["edgepress", *words, "-o", "out", "--seed", "0"])
    page = (here / "out" / "compare.html").read_text()
    assert 'href="int8.html"' in page and (here / "out" / "int8.html").is_file()


REFUSED = [
    ("an unknown recipe", ["--recipes", "nothing"], "There is no recipe 'nothing'"),
    ("no recipe", ["--recipes", " ,"], "name at least one recipe"),
    ("an unknown profile", ["--recipes", "none", "--profile", "toaster"], "toaster"),
    ("absent data", ["--recipes", "none", "--data", "no.npz"], "There is no data set no.npz"),
]


@pytest.mark.parametrize(("words", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_compare_refuses_in_a_sentence(words: list[str], says: str) -> None:
    done = run("compare", "tiny.onnx", "--profile", "x86-pc", "-o", "out", *words)
    assert done.exit_code != 0 and says in done.output


def test_a_file_that_is_no_report_is_said_to_be_none(here: Path) -> None:
    (here / "x.json").write_text('{"a": 1}')
    assert "is no report" in run("report", "show", "x.json").output
    (here / "y.json").write_text("[" * 100_000)
    assert "is no JSON" in run("report", "show", "y.json").output
    (here / "z.json").write_text('{"artifact_sha256": "", "bytes": {}}')
    for more in ([], ["-o", "z.html"]):
        assert "this is no report of this edgepress" in run("report", "show", "z.json", *more).output
    assert not (here / "z.html").exists()
