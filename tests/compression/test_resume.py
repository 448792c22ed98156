"""A compression killed with no warning, in the middle of a training, ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from blobs import blobs
from tiny_models import mlp

from edgepress_compression.artifact.codes import ScaledIntegers, SharedWeights
from edgepress_compression.compress import Progress, compress
from edgepress_compression.errors import TrainingError
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.recipe import Recipe, Step
from edgepress_compression.resume import SavedRun
from edgepress_devices.profile import load_profile

torch.set_num_threads(1)
RECIPE = Recipe(
    "two-trainings",
    "Trains twice.",
    passes=(
        Step("fine-tune", {"steps": 60, "batch_size": 16, "learning_rate": 0.01, "most_epochs": 1000.0}),
        Step("fine-tune", {"steps": 60, "batch_size": 16, "learning_rate": 0.005, "most_epochs": 1000.0}),
    ),
)


def compressed(folder: Path | None, progress: object = lambda progress: None) -> bytes:
    result = compress(
        mlp(np.random.default_rng(0)),
        recipe=RECIPE,
        profile="x86-pc",
        dataset=blobs(1000),
        latency_seconds=0.01,
        stage_seconds=0.0,
        checkpoint_dir=folder,
        progress=progress,  # type: ignore[arg-type]
    )
    return result.artifact


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from edgepress_compression.training import checkpoint, loop
checkpoint.EVERY_SECONDS = 0.0
checkpoint.PassCheckpoints.__init__.__defaults__ = (0.0,)
advance = loop._Training.advance
count = 0
def dying(self):
    global count
    count += 1
    if count == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(self)
loop._Training.advance = dying
import test_resume
test_resume.compressed(Path({folder!r}))
"""


def killed_at(step: int, folder: Path) -> None:
    """In a process of its own, before that step of all trainings, with a checkpoint after every step."""
    code = CHILD.format(tests=str(Path(__file__).parent), step=step, folder=str(folder))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()


@pytest.mark.parametrize("step", [30, 90], ids=["in the first training", "in the second"])
def test_a_killed_compression_resumes_to_the_same_artifact(step: int, tmp_path: Path) -> None:
    killed_at(step, tmp_path)
    said: list[Progress] = []
    steps: list[str] = []

    def listen(progress: Progress) -> None:
        said.append(progress)
        steps.append(progress.message)

    artifact = compressed(tmp_path, listen)
    assert artifact == compressed(None)
    assert any("was done before" in message for message in steps) == (step > 60)


def test_a_resumed_training_does_not_do_its_steps_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress_compression.training import loop

    killed_at(90, tmp_path)
    advance, count = loop._Training.advance, 0

    def counted(training: loop._Training) -> float:
        nonlocal count
        count += 1
        return advance(training)

    monkeypatch.setattr(loop._Training, "advance", counted)
    compressed(tmp_path)
    assert count == 120 - 89


def test_another_run_does_not_meet_the_checkpoints_of_this_one(tmp_path: Path) -> None:
    one, other = SavedRun(tmp_path, {"seed": 1}), SavedRun(tmp_path, {"seed": 2})
    state = PassState(graph=mlp(np.random.default_rng(0)), profile=load_profile("x86-pc"))
    one.save(state, 1)
    assert other.restore(state, 1) == 0
    assert one.restore(state, 1) == 1
    one.forget()
    assert one.restore(state, 1) == 0


def test_what_a_pass_left_comes_back_whole(tmp_path: Path) -> None:
    state = PassState(graph=mlp(np.random.default_rng(0)), profile=load_profile("x86-pc"))
    codebook = np.array([-0.5, 0.0, 0.5], np.float32)
    indices = np.random.default_rng(1).integers(0, 3, (32, 16)).astype(np.int32)
    shared = SharedWeights(indices, codebook, {"bloomier": b"payload"})
    whole = ScaledIntegers(indices[:4, :32].repeat(2, 1) - 1, np.array([0.25], np.float32))
    state.codes = {"w1": shared, "w2": whole}
    state.graph.set_weight("w1", shared.weights())
    state.graph.set_weight("w2", whole.weights())
    state.stages.append(
        Stage(name="a", seconds=1.5, detail={"filters": [{"group": "g", "alive": 1, "of": 2}]})
    )
    state.warn("A sentence.")
    run = SavedRun(tmp_path, {})
    run.save(state, 2)
    other = PassState(graph=mlp(np.random.default_rng(5)), profile=load_profile("x86-pc"))
    assert run.restore(other, 3) == 2
    assert other.graph.serialize() == state.graph.serialize()
    assert other.original.serialize() == state.original.serialize()
    assert other.stages == state.stages
    assert other.warnings == ["A sentence."]
    assert list(other.codes) == ["w1", "w2"]
    again = other.codes["w1"]
    assert isinstance(again, SharedWeights)
    assert again.ready == shared.ready
    for name, code in state.codes.items():
        np.testing.assert_array_equal(other.codes[name].weights(), code.weights())


def test_a_damaged_file_is_as_if_not_written(tmp_path: Path) -> None:
    state = PassState(graph=mlp(np.random.default_rng(0)), profile=load_profile("x86-pc"))
    run = SavedRun(tmp_path, {})
    run.save(state, 1)
    run.save(state, 2)
    last = next(tmp_path.rglob("after-02.npz"))
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 255
    last.write_bytes(data)
    assert run.restore(state, 2) == 1
    last.write_bytes(data[: len(data) // 3])
    assert run.restore(state, 2) == 1


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingError, match="Give another one"):
        SavedRun(tmp_path / "file", {})


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive", "array", "graph", "facts", "codes"])
def test_an_empty_or_foreign_file_is_as_if_not_written(data: bytes | str, tmp_path: Path) -> None:
    state = PassState(graph=mlp(np.random.default_rng(0)), profile=load_profile("x86-pc"))
    run = SavedRun(tmp_path, {})
    run.save(state, 1)
    run.save(state, 2)
    last = next(tmp_path.rglob("after-02.npz"))
    if isinstance(data, bytes):
        last.write_bytes(data)
    elif data == "array":
        with last.open("wb") as stream:
            np.save(stream, np.zeros(3))
    else:
        with np.load(last) as arrays:
            parts = dict(arrays)
        if data == "codes":
            parts["facts"] = np.frombuffer(b'{"codes": [{}], "stages": [], "warnings": []}', np.uint8)
        else:
            parts[data] = np.frombuffer(b"\xff\xff\xff", np.uint8)
        np.savez(last, **parts)  # type: ignore[arg-type]
    assert run.restore(state, 2) == 1
    next(tmp_path.rglob("after-01.npz")).write_bytes(b"")
    assert run.restore(state, 2) == 0
