"""From a model to an artifact and its report: what is reported is what was decoded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepress_compression.artifact.read import decode, read_header
from edgepress_compression.compress import Progress, Result, _Work, compress
from edgepress_compression.data.digits import digits_dataset, make_digits_model
from edgepress_compression.errors import CompressionCancelledError, DatasetError, GraphError, RecipeError
from edgepress_compression.evaluate import evaluate
from edgepress_compression.verify import verify_artifact
from edgepress_devices.profile import load_profile

PROFILE = load_profile("x86-pc")


@pytest.fixture(scope="module")
def digits() -> bytes:
    return make_digits_model(seed=0)


def work(model: bytes | Path, recipe: str | Path, **more: object) -> Result:
    arguments = {"profile": PROFILE, "dataset": digits_dataset(), "latency_seconds": 0.0, **more}
    return compress(model, recipe=recipe, **arguments)  # type: ignore[arg-type]


def test_none_ships_the_very_model_and_reports_it_unchanged(digits: bytes) -> None:
    result = work(digits, "none")
    report = result.report
    assert report["accuracy"]["before"] == report["accuracy"]["after"] > 0.97
    assert report["accuracy"]["n"] == 360
    assert report["bytes"]["onnx_before"] == report["bytes"]["onnx_after"] == len(decode(result.artifact))
    assert report["bytes"]["weights_before"] == 4 * 44_850
    assert report["stages"] == []


def test_int8_is_a_quarter_of_the_bytes_and_reports_the_decoded_artifact(digits: bytes) -> None:
    result = work(digits, "int8")
    report = result.report
    assert report["bytes"]["artifact"] == len(result.artifact)
    assert report["bytes"]["ratio"] == 4 * 44_850 / len(result.artifact) > 3.5
    assert report["artifact_sha256"] == hashlib.sha256(result.artifact).hexdigest()
    assert report["source_sha256"] == hashlib.sha256(digits).hexdigest()
    found = evaluate(decode(result.artifact), digits_dataset().split("test"))
    assert report["accuracy"]["after"] == found.value > 0.97
    assert report["bytes"]["onnx_after"] == len(decode(result.artifact)) < len(digits) / 3
    assert (
        report["accuracy"]["ci95"] == list(found.ci95 or ())
        or tuple(report["accuracy"]["ci95"]) == found.ci95
    )
    assert sum(row["stored_bytes"] for row in report["tensors"]) == len(result.artifact)
    assert [stage["name"] for stage in report["stages"]] == ["int8"]
    assert report["latency_us"]["before"]["p50"] > 0
    assert report["memory_bytes"]["after"] > 0
    assert json.loads(json.dumps(report)) is not None
    assert verify_artifact(result.artifact) is None
    header = read_header(result.artifact)
    assert header.metadata["labels"] == [str(digit) for digit in range(10)]
    assert (header.profile, header.recipe["name"]) == ("x86-pc", "int8")


def test_deep_compression_prunes_shares_and_keeps_most_answers(digits: bytes, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.toml"  # the shipped recipe with fewer steps
    recipe.write_text(
        'name = "quick"\ndescription = "d"\n'
        '[[passes]]\nname = "prune"\nsparsity = 0.8\nrounds = 4\nsteps = 120\n'
        '[[passes]]\nname = "share"\nbits = 4\nsteps = 40\n'
    )
    result = work(digits, recipe)
    assert result.report["bytes"]["ratio"] > 15
    after = evaluate(decode(result.artifact), digits_dataset().split("test")).value
    assert result.report["accuracy"]["after"] == after > 0.93
    assert after != result.report["accuracy"]["before"]  # so it cannot be the original that was measured
    assert verify_artifact(result.artifact) is None


def test_the_same_arguments_give_the_same_artifact(digits: bytes) -> None:
    assert work(digits, "int8", seed=4).artifact == work(digits, "int8", seed=4).artifact


def test_progress_only_grows_and_ends_at_one(digits: bytes) -> None:
    steps: list[Progress] = []
    work(digits, "int8", progress=steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert {step.step for step in steps} == {"load", "measure", "int8", "write", "verify", "time"}


def test_a_pass_that_starts_over_does_not_move_progress_back() -> None:
    fractions: list[float] = []
    say = _Work(lambda step: fractions.append(step.fraction), lambda: False).part("prune", 0.2, 0.6)
    for within in (0.0, 0.5, 0.1, 1.0, 2.0):
        say(within, "working")
    assert fractions == pytest.approx([0.2, 0.4, 0.4, 0.6, 0.6])


def test_it_stops_at_any_step_when_cancelled(digits: bytes) -> None:
    for until in ("load", "measure", "int8", "write", "verify", "time"):
        reached: list[str] = []
        with pytest.raises(CompressionCancelledError):
            work(
                digits,
                "int8",
                progress=lambda step, reached=reached: reached.append(step.step),
                cancelled=lambda reached=reached, until=until: until in reached,
            )


def test_without_data_accuracy_is_absent_and_the_report_says_so(digits: bytes) -> None:
    report = work(digits, "int8", dataset=None).report
    assert report["accuracy"] is None
    assert any("accuracy is unknown" in warning for warning in report["warnings"])


def test_the_command_makes_the_same_artifact_again(digits: bytes, tmp_path: Path) -> None:
    path = tmp_path / "my digits.onnx"
    path.write_bytes(digits)
    report = work(path, "none", dataset=None, seed=3).report
    assert report["model"] == "my digits"
    assert report["command"].startswith(
        f"edgepress compress '{path}' --recipe none --profile x86-pc --seed 3 "
    )


def test_bad_input_is_refused_before_any_work(digits: bytes, tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        work(digits, "no-such-recipe")
    with pytest.raises(GraphError):
        work(b"no model", "none")
    np.savez(tmp_path / "wrong.npz", input=np.zeros((4, 3, 9, 9), np.float32), labels=np.zeros(4, int))
    from edgepress_compression.data.dataset import load_dataset

    with pytest.raises(DatasetError, match="takes samples of 1 x 8 x 8, the data set gives 3 x 9 x 9"):
        work(digits, "none", dataset=load_dataset(tmp_path / "wrong.npz"))


def test_each_pass_is_measured_on_the_model_as_it_left_it(digits: bytes, tmp_path: Path) -> None:
    recipe = tmp_path / "two.toml"
    recipe.write_text(
        'name = "two"\ndescription = "d"\n'
        '[[passes]]\nname = "prune"\nsparsity = 0.5\nrounds = 2\nsteps = 20\n'
        '[[passes]]\nname = "int8"\n'
    )
    report = work(digits, recipe).report
    pruned, quantized = report["stages"]
    before, after = report["costs"]["before"], report["costs"]["after"]
    assert before["nonzero"] == before["parameters"] == pruned["parameters"] == 44_850
    assert pruned["sparsity"] == pytest.approx(0.5, abs=0.05)  # what is never lit goes, too
    assert quantized["sparsity"] == pytest.approx(1 - after["nonzero"] / after["parameters"])
    assert quantized["sparsity"] >= pruned["sparsity"] - 0.01  # rounding makes zeros, never unmakes them
    assert before["flops"] == pruned["flops"] > 0
    assert quantized["peak_activation_bytes"] <= pruned["peak_activation_bytes"]
    for stage in (pruned, quantized):
        assert stage["latency_us"] > 0
        assert stage["speedup"] > 0


def test_a_recipe_that_needs_data_runs_nothing_without(digits: bytes, tmp_path: Path) -> None:
    recipe = tmp_path / "needy.toml"
    recipe.write_text('name = "needy"\ndescription = "d"\nneeds = "labelled"\n[[passes]]\nname = "int8"\n')
    steps: list[Progress] = []
    with pytest.raises(RecipeError, match=r"needs labelled samples to train on: give a data set \(--data"):
        work(digits, recipe, dataset=None, progress=steps.append)
    everything = digits_dataset()
    only_test = replace(everything, openers={"test": everything.openers["test"]})
    with pytest.raises(RecipeError, match="a split `train` and a split `test`; this one has test"):
        work(digits, recipe, dataset=only_test, progress=steps.append)
    assert steps == []
    with pytest.raises(RecipeError, match="layer-distillation needs samples to look at: give a data set"):
        work(digits, "layer-distillation", dataset=None)
