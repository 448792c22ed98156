"""Two processes that share each batch give what one gives, up to rounding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import two_processes
from blobs import blobs
from tiny_models import mlp

from edgepress_compression.errors import EdgepressError, TrainingError
from edgepress_compression.parallel import compress_parallel
from edgepress_compression.training.parallel import share_of
from edgepress_compression.training.schedule import scaled

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two real processes left."""
    folder = tmp_path_factory.mktemp("together")
    script = Path(__file__).with_name("two_processes.py")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(script), str(folder),
    ]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    return folder


def saved(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("task", ["classification", "other"])
def test_two_processes_give_the_weights_of_one_up_to_rounding(together: Path, task: str) -> None:
    alone = two_processes.train(task)
    first, second = (saved(together / f"{task}-{rank}.npz") for rank in (0, 1))
    for name, weight in alone.items():
        np.testing.assert_array_equal(first[name], second[name])  # the same bits in both
        np.testing.assert_allclose(first[name], weight, atol=2e-4)


@pytest.mark.parametrize("what", ["statistics", "inside"])
def test_statistics_dropout_and_features_are_those_of_the_whole_batch(together: Path, what: str) -> None:
    alone = two_processes.train_statistics() if what == "statistics" else two_processes.train_inside()
    first, second = (saved(together / f"{what}-{rank}.npz") for rank in (0, 1))
    for name, weight in alone.items():
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], weight, atol=2e-4, err_msg=name)


def test_a_batch_smaller_than_the_processes_is_refused(together: Path) -> None:
    for rank in (0, 1):
        assert "start fewer" in (together / f"small-{rank}.txt").read_text()


def test_processes_that_do_not_agree_stop_in_words(together: Path) -> None:
    for rank in (0, 1):
        assert "do not agree" in (together / f"apart-{rank}.txt").read_text()


def test_one_process_has_the_whole_batch() -> None:
    assert share_of(7) == slice(0, 7)


def test_larger_batches_get_higher_rates() -> None:
    assert scaled(0.1, "sgd", 4) == pytest.approx(0.4)
    assert scaled(0.1, "adam", 4) == pytest.approx(0.2)


def recipe(folder: Path, steps: int = 80) -> str:
    path = folder / "train.toml"
    path.write_text(
        'name = "train"\ndescription = "Trains."\n[[passes]]\nname = "fine-tune"\n'
        f"steps = {steps}\nbatch_size = 32\nlearning_rate = 0.01\nlabel_share = 1.0\n"
    )
    return str(path)


def saved_blobs(folder: Path) -> Path:
    data = blobs(1000)
    parts = [(name, data.split(name)) for name in data.splits]
    rows = {name: np.arange(len(split)) for name, split in parts}
    np.savez(
        folder / "blobs.npz",
        x=np.concatenate([split.fetch(rows[name])["x"] for name, split in parts]),
        labels=np.concatenate([split.labels for _, split in parts]),
        split=np.concatenate([np.full(len(split), name) for name, split in parts]),
    )
    return folder / "blobs.npz"


def test_a_model_is_compressed_by_two_processes(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(mlp(np.random.default_rng(0)).serialize())
    fractions: list[float] = []
    result = compress_parallel(
        tmp_path / "net.onnx",
        processes=2,
        recipe=recipe(tmp_path),
        profile="x86-pc",
        data=saved_blobs(tmp_path),
        progress=lambda progress: fractions.append(progress.fraction),
    )
    assert result.report["accuracy"]["after"] > 0.9
    assert result.report["bytes"]["artifact"] == len(result.artifact)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_what_went_wrong_in_the_processes_is_said(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(mlp(np.random.default_rng(0)).serialize())
    with pytest.raises(EdgepressError, match="give a data set"):
        compress_parallel(
            tmp_path / "net.onnx", processes=2, recipe=recipe(tmp_path), profile="x86-pc", data=None
        )


def test_checkpoints_stay_until_the_caller_has_the_result(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(mlp(np.random.default_rng(0)).serialize())
    saved = tmp_path / "saved"
    result = compress_parallel(
        tmp_path / "net.onnx",
        processes=2,
        recipe=recipe(tmp_path, steps=4),
        profile="x86-pc",
        data=saved_blobs(tmp_path),
        checkpoint_dir=saved,
    )
    assert [path.name for path in saved.rglob("*.npz")] == ["after-01.npz"]
    result.finished()
    assert list(saved.iterdir()) == []


def test_the_last_words_of_a_process_that_died_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nif os.environ.get('RANK') == '1':\n"
        "    os.write(2, b'the reason why\\n')\n    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "net.onnx").write_bytes(mlp(np.random.default_rng(0)).serialize())
    with pytest.raises(
        TrainingError, match=r"ended before its time:[\s\S]*the reason why[\s\S]*exitcode: -9"
    ):
        compress_parallel(tmp_path / "net.onnx", processes=2, recipe="none", profile="x86-pc", data=None)
