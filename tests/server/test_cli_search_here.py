"""``edgepress compress FILE --size ...``: from a budget to an artifact and the recipe that makes it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgepress_compression.data.digits import make_digits_model, write_digits_npz
from edgepress_compression.recipe import load_recipe
from edgepress_compression.search import search
from edgepress_server.cli.main import edgepress

PROFILE = "raspberry-pi-4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.onnx and data.npz."""
    made = tmp_path_factory.mktemp("digits")
    (made / "model.onnx").write_bytes(make_digits_model(seed=0))
    write_digits_npz(made / "data.npz")
    return made


def compress(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(
        edgepress, ["compress", str(folder / "model.onnx"), "--profile", PROFILE, *words]
    )


def test_a_budget_becomes_an_artifact_its_recipe_and_a_table_that_says_where_figures_come_from(
    folder: Path, tmp_path: Path
) -> None:
    out, report = tmp_path / "small.epz", tmp_path / "small.json"
    done = compress(
        folder, "--data", str(folder / "data.npz"), "--size", "60kB", "--max-drop", "2",
        "--search-trials", "3", "-o", str(out), "--report", str(report),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert out.stat().st_size <= 60_000
    assert json.loads(report.read_bytes())["bytes"]["artifact"] == out.stat().st_size
    recipe = load_recipe(tmp_path / "small.recipe.toml")
    assert recipe.passes, "the model as it is has more bytes"
    assert "Chosen: trial" in done.output and "POINTS LOST" in done.output
    assert "latency: predicted from the datasheet's roofline" in done.output
    assert "held out of the split train" in done.output


def test_an_impossible_budget_ends_with_1_and_writes_no_artifact(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.epz"
    done = compress(folder, "--size", "100B", "--search-trials", "2", "-o", str(out), "--json")
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert answer["best"] is None and answer["nearest"] is not None
    assert "The smallest size found is" in answer["blocked"][0]
    assert not out.exists() and (tmp_path / "small.recipe.toml").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "say either how"),
        (("--recipe", "int8", "--size", "1MB"), "say either how"),
        (("--size", "1"), "has no unit. Say 2MB"),
        (("--latency", "fast"), "is no number with a unit"),
        (("--max-drop", "200"), "from 0 to 100"),
        (("--size", "1MB", "--target-bytes", "5"), "belong to a recipe"),
        (("--size", "1MB", "--device", "pi"), "belongs to a search on a server"),
        (("--recipe", "int8", "--device", "pi"), "belongs to a search on a server"),
        (("--size", "1MB"), "an output file: -o OUT"),
        (("--max-drop", "1", "-o", "out.epz"), "give a data set"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_runs(
    folder: Path, words: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = compress(folder, *words)
    assert done.exit_code != 0
    assert says in " ".join(done.output.split())


def test_ctrl_c_says_where_the_trials_are_kept_and_how_to_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "search", stopped)
    words = ("--size", "60kB", "-o", str(tmp_path / "small.epa"))
    kept = compress(folder, *words, "--resume", str(tmp_path / "trials"))
    assert kept.exit_code == 1 and f"kept in {tmp_path / 'trials'}" in kept.output.replace("\n", "")
    assert "with --resume DIR" in compress(folder, *words).output
