"""The shipped data set files against the accuracies that the data folder's README measured by other means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepress_compression.data.dataset import Dataset, load_dataset
from edgepress_compression.data.fit import fit
from edgepress_compression.data.spec import data_folder
from edgepress_compression.evaluate import evaluate
from edgepress_compression.graph.load import load_model

REPOSITORY = Path(__file__).parents[2]
DATASETS = REPOSITORY / "tests" / "benchmarks" / "datasets"
DATA = data_folder(Path(__file__))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the data folder {DATA} is not here (EDGEPRESS_DATA)"),
]


def opened(model: str, dataset: str) -> tuple[bytes, Dataset]:
    graph = load_model(DATA / "models" / f"{model}.onnx")
    data = fit(load_dataset(DATASETS / f"{dataset}.toml"), graph.inputs, graph.outputs, model_name=model)
    return graph.serialize(), data


ACCURACIES = [  # model, data set, split, value of the README, tolerance
    ("lenet_300_100_mnist", "mnist", "test", 0.9848, 0),
    ("lenet5_caffe_mnist", "mnist", "test", 0.9919, 0),
    ("resnet20_cifar10", "cifar10", "test", 0.9173, 0),
    ("mlperf_tiny_resnet8_cifar10", "cifar10", "test", 0.8719, 0),
    ("vgg_small_cifar10", "cifar10", "test", 0.8965, 0),
    ("squeezenet1.1", "imagenet_sample", "all", 0.6114, 0),
    ("efficientnet_lite0", "imagenet_sample", "all", 0.8643, 0),
    ("minilm3_sst2", "sst2", "dev", 0.8589, 0),
    ("dscnn_fsdd", "fsdd", "test", 0.9967, 0),
    ("FastestDet", "coco", "test", 0.334, 0.006),  # the README does not say how it resized and interpolated
]


@pytest.mark.parametrize(("model", "dataset", "split", "value", "tolerance"), ACCURACIES)
def test_the_measured_accuracy_is_the_published_one(
    model: str, dataset: str, split: str, value: float, tolerance: float
) -> None:
    onnx_bytes, data = opened(model, dataset)
    assert evaluate(onnx_bytes, data.split(split)).value == pytest.approx(value, abs=max(tolerance, 5e-5))


def test_our_word_pieces_are_those_the_model_was_trained_with() -> None:
    with np.load(DATA / "models" / "minilm3_sst2_ids.npz") as arrays:
        recorded = dict(arrays)
    _, data = opened("minilm3_sst2", "sst2")
    for split in ("dev", "test"):
        feed, labels = next(data.split(split).batches(2000))
        np.testing.assert_array_equal(feed["input_ids"], recorded[f"{split}_ids"])
        np.testing.assert_array_equal(labels, recorded[f"{split}_y"])


def test_the_imagenet_split_calibrates_on_no_test_image() -> None:
    data = load_dataset(DATASETS / "imagenet_sample.toml")
    train, test = (set(data.split(name).labels.tolist()) for name in ("train", "test"))
    assert (len(train), len(test), len(train & test)) == (200, 500, 0)  # one image a class


def test_logos_have_27_brands_in_both_splits() -> None:
    data = load_dataset(DATASETS / "logos27.toml")
    assert (len(data.split("train")), len(data.split("test"))) == (1064, 189)
    assert len(data.class_names or ()) == 27
    assert next(data.split("test").batches(3))[0]["input"].shape == (3, 3, 64, 64)
