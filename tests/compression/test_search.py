"""A whole search on the digits: what it chooses is what a recipe makes again, and a kill costs one trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgepress_compression.compress import compress
from edgepress_compression.data.dataset import Dataset, load_dataset
from edgepress_compression.data.digits import digits_dataset, make_digits_model, write_digits_npz
from edgepress_compression.errors import BudgetError, CompressionCancelledError, SearchError
from edgepress_compression.recipe import Recipe, load_recipe
from edgepress_compression.search.budget import Budget
from edgepress_compression.search.evaluate import Evaluator
from edgepress_compression.search.log import FileLog
from edgepress_compression.search.recipe_toml import recipe_toml
from edgepress_compression.search.rows import SELECTION, choose_rows
from edgepress_compression.search.search import search
from edgepress_compression.search.trial import Figures, Trial
from edgepress_devices.profile import load_profile

PI = load_profile("raspberry-pi-4")
DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.onnx and data.npz."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "model.onnx").write_bytes(make_digits_model(seed=0))
    write_digits_npz(folder / "data.npz")
    return folder


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits_dataset()


def test_a_search_meets_a_budget_and_its_recipe_makes_the_same_artifact_again(
    digits: Path, data: Dataset, tmp_path: Path
) -> None:
    budget = Budget(artifact_bytes=30_000, max_drop=0.01)
    with FileLog(tmp_path / "log") as log:
        result = search(digits / "model.onnx", PI, data, budget, log=log, trials=3, seconds=300)
        kept = log.trials()
    assert [one.state for one in kept] == ["done"] * 3
    best = result.best
    assert best is not None and best.within and not result.blocked and result.artifact is not None
    assert len(result.artifact) <= 30_000
    assert best.figures is not None and best.figures.split == SELECTION
    assert best.figures.latency_basis == "datasheet", "nothing here is a Raspberry Pi"
    assert best.tested is not None and best.tested.split == "test" and best.tested.samples == 360
    assert any("held out" in note for note in result.notes)
    assert any("predictions for raspberry-pi-4" in note for note in result.notes)
    path = tmp_path / "found.toml"
    path.write_text(recipe_toml(msgspec.convert(best.recipe, Recipe)))
    again = compress(digits / "model.onnx", recipe=path, profile=PI, dataset=data, latency_seconds=0.0)
    assert again.artifact == result.artifact


def test_an_impossible_budget_gives_the_nearest_point_and_what_blocks(
    digits: Path, data: Dataset, tmp_path: Path
) -> None:
    with FileLog(tmp_path) as log:
        result = search(
            digits / "model.onnx", PI, data, Budget(artifact_bytes=200, max_drop=0.01), log=log, trials=2
        )
    assert result.best is None and result.nearest is not None
    assert "The smallest size found is" in result.blocked[0] and "asks for 200 B" in result.blocked[0]
    assert result.artifact is not None, "the nearest one can be looked at"


def test_a_drop_without_data_is_refused_before_anything_runs(digits: Path, tmp_path: Path) -> None:
    with FileLog(tmp_path) as log, pytest.raises(BudgetError, match="give a data set"):
        search(digits / "model.onnx", PI, None, Budget(max_drop=0.01), log=log)


def test_without_data_a_search_goes_by_bytes_and_predicted_latency(digits: Path, tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        result = search(digits / "model.onnx", PI, None, Budget(artifact_bytes=20_000), log=log, trials=8)
    assert result.best is not None and result.best.figures is not None
    assert result.best.point, "a point of the space, whose recipe is run once more at the end"
    assert result.best.figures.accuracy is None and result.report is not None


def test_a_search_that_is_cancelled_says_so(digits: Path, data: Dataset, tmp_path: Path) -> None:
    with FileLog(tmp_path) as log, pytest.raises(CompressionCancelledError):
        search(digits / "model.onnx", PI, data, Budget(), log=log, cancelled=lambda: True)


def test_no_time_at_all_is_an_error_that_says_what_to_do(digits: Path, data: Dataset, tmp_path: Path) -> None:
    with FileLog(tmp_path) as log, pytest.raises(SearchError, match="more time"):
        search(digits / "model.onnx", PI, data, Budget(), log=log, seconds=0.0)


def test_another_budget_does_not_go_on_in_the_same_folder(
    digits: Path, data: Dataset, tmp_path: Path
) -> None:
    with FileLog(tmp_path) as log:
        search(digits / "model.onnx", PI, data, Budget(), log=log, trials=1)
        with pytest.raises(SearchError, match="holds another search"):
            search(digits / "model.onnx", PI, data, Budget(max_drop=0.01), log=log, trials=1)


def test_what_a_device_says_is_what_counts(digits: Path, data: Dataset, tmp_path: Path) -> None:
    asked: list[int] = []

    def measure(trial: Trial, artifact: bytes) -> Figures | None:
        asked.append(trial.number)
        assert artifact
        return Figures(latency_us=123.0, latency_basis="device")

    with FileLog(tmp_path) as log:
        budget = Budget(latency_us=1e6, artifact_bytes=60_000, max_drop=0.02)
        result = search(digits / "model.onnx", PI, data, budget, log=log, trials=3, measure_on_device=measure)
    assert asked
    best = result.best
    assert best is not None and best.stage == "measured" and best.figures is not None
    assert (best.figures.latency_us, best.figures.latency_basis) == (123.0, "device")


def test_a_device_that_goes_away_ends_nothing(digits: Path, data: Dataset, tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        result = search(
            digits / "model.onnx", PI, data, Budget(artifact_bytes=60_000), log=log, trials=2,
            measure_on_device=lambda trial, artifact: None,
        )  # fmt: skip
    assert result.best is not None
    assert any("did not measure all" in note for note in result.notes)


def test_rows_that_test_are_never_looked_at(data: Dataset) -> None:
    rows = choose_rows(data, seed=0)
    assert "test" not in rows.passes.splits
    chosen, train = rows.selection.fetch(np.arange(3))["input"], rows.passes.split("train")
    assert len(train) + len(rows.selection) == len(data.split("train"))
    everything = train.fetch(np.arange(len(train)))["input"]
    assert not any((everything == one).all(axis=(1, 2, 3)).any() for one in chosen[:1] if one.std() > 0.35)


def test_trials_that_begin_alike_share_their_first_passes(digits: Path, data: Dataset) -> None:
    bench = Evaluator(digits / "model.onnx", PI, data, Budget())
    recipe = load_recipe("balanced")
    first: list[str] = []
    second: list[str] = []
    bench.evaluate(Trial(number=1, recipe=recipe.as_json()), say=lambda fraction, said: first.append(said))
    shared, artifact = bench.evaluate(
        Trial(number=2, recipe=recipe.as_json()), say=lambda fraction, said: second.append(said)
    )
    fresh, other = Evaluator(digits / "model.onnx", PI, data, Budget()).evaluate(
        Trial(number=2, recipe=recipe.as_json())
    )
    assert shared.figures == fresh.figures and artifact == other
    assert any(said.startswith("quantize:") for said in first)
    assert not any(said.startswith("quantize:") for said in second)


def test_what_trials_share_changes_none_of_them(digits: Path, data: Dataset) -> None:
    balanced, bytes_only = (load_recipe(name).as_json() for name in ("balanced", "rate-distortion"))
    bench = Evaluator(digits / "model.onnx", PI, data, Budget())
    bench.evaluate(Trial(number=1, recipe=balanced))  # leaves what it found out about the model
    after, artifact = bench.evaluate(Trial(number=2, recipe=bytes_only))
    fresh = Evaluator(digits / "model.onnx", PI, data, Budget())
    alone, other = fresh.evaluate(Trial(number=2, recipe=bytes_only))
    assert artifact == other and after.figures == alone.figures


def test_a_recipe_that_cannot_run_is_a_trial_that_failed_with_its_reason(digits: Path, data: Dataset) -> None:
    bench = Evaluator(digits / "model.onnx", PI, data, Budget())
    broken = {"name": "x", "description": "x", "passes": [{"name": "int8", "options": {"no": 1}}]}
    done, artifact = bench.evaluate(Trial(number=1, recipe=broken))
    assert done.state == "failed" and done.error is not None and "no" in done.error and artifact is None


def test_processes_share_a_search(digits: Path, tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        result = search(
            digits / "model.onnx", PI, load_dataset(digits / "data.npz"), Budget(max_drop=0.01),
            log=log, trials=3, workers=2, seconds=300,
        )  # fmt: skip
        trials = log.trials()
    assert result.best is not None and not any("One worker only" in note for note in result.notes)
    assert [one.number for one in trials] == [0, 1, 2] and all(one.state == "done" for one in trials)


SCRIPT = """
import sys
from pathlib import Path
from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.search.budget import Budget
from edgepress_compression.search.log import FileLog
from edgepress_compression.search.search import search
from edgepress_devices.profile import load_profile

folder, log = Path(sys.argv[1]), FileLog(Path(sys.argv[2]))
search(folder / "model.onnx", load_profile("raspberry-pi-4"), load_dataset(folder / "data.npz"),
       Budget(max_drop=0.01), log=log, trials=50, seconds=300)
"""


def test_a_search_that_is_killed_goes_on_and_does_nothing_whole_twice(digits: Path, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, str(digits), str(tmp_path)])
    path = tmp_path / "trials.jsonl"
    end = time.monotonic() + DEADLINE_S
    try:
        while not path.exists() or path.read_bytes().count(b'"state":"done"') < 2:
            assert time.monotonic() < end and child.poll() is None, "the child made no two trials"
            select_a_moment()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    whole = [line for line in path.read_bytes().splitlines() if b'"state":"done"' in line]
    with FileLog(tmp_path) as log:
        known = len(log.trials())
        result = search(
            digits / "model.onnx", PI, load_dataset(digits / "data.npz"), Budget(max_drop=0.01),
            log=log, trials=max(3, known), seconds=300,
        )  # fmt: skip
        trials = log.trials()
    assert result.best is not None
    lines = path.read_bytes().splitlines()
    assert len(whole) >= 2 and all(line in lines for line in whole)
    finished = [msgspec.json.decode(line)["number"] for line in lines if b'"state":"done"' in line]
    tested = sum(one.tested is not None for one in trials)
    assert len(finished) - tested == len(set(finished)) == len(trials)
    assert all(one.state == "done" for one in trials)


def select_a_moment() -> None:
    """Lets another process run: there is no event to wait for across a kill."""
    import select

    select.select([], [], [], 0.05)
