"""The digits: data that ships in a dependency, a model trained here, one that means something."""

from pathlib import Path

import onnx
import pytest

from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.data.digits import make_digits_model, write_digits_npz
from edgepress_compression.evaluate import evaluate


@pytest.fixture(scope="module")
def model() -> bytes:
    return make_digits_model(seed=0)


def test_the_trained_cnn_reads_digits_it_has_not_seen(model: bytes, tmp_path: Path) -> None:
    write_digits_npz(tmp_path / "digits.npz")
    data = load_dataset(tmp_path / "digits.npz")
    assert {name: len(data.split(name)) for name in data.splits} == {"test": 360, "train": 1437}
    assert evaluate(model, data.split("test"), threads=1).value > 0.97


def test_the_model_is_plain_onnx_that_the_checker_accepts(model: bytes) -> None:
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)


def test_the_same_seed_trains_the_same_model(model: bytes) -> None:
    assert make_digits_model(seed=0) == model
