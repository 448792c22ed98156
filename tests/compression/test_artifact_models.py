"""Artifacts of real models, from the data folder."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgepress_compression.artifact.probe import Probe
from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.data.spec import data_folder

MODELS = data_folder(Path(__file__)) / "models"
SMALL = [
    "FastestDet",
    "dscnn_fsdd",
    "lenet5_caffe_mnist",
    "mlperf_tiny_kws_dscnn",
    "mlperf_tiny_resnet8_cifar10",
    "mlperf_tiny_vww_mobilenetv1_0.25_96",
    "resnet20_cifar10",
    "squeezenet1.1",
]

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not MODELS.is_dir(), reason="the data folder (EDGEPRESS_DATA) is not here"),
]


def write(onnx_model):
    return write_artifact(
        onnx_model, name="m", profile="p", recipe={}, provenance={}, metadata={}, probe=Probe()
    )


@pytest.mark.parametrize("name", SMALL)
def test_a_real_model_comes_back_bit_for_bit_and_smaller(name):
    onnx_model = (MODELS / f"{name}.onnx").read_bytes()
    artifact = write(onnx_model)
    assert decode(artifact) == onnx_model
    assert len(artifact) < 0.95 * len(onnx_model)


def test_the_deep_compression_authors_squeezenet_takes_fewer_bytes_than_their_own_file():
    onnx_model = (MODELS / "squeezenet1.0_deepcompressed.onnx").read_bytes()
    artifact = write(onnx_model)
    assert decode(artifact) == onnx_model
    theirs = (MODELS / "compressed_SqueezeNet.net").stat().st_size
    assert len(artifact) < 0.82 * theirs


@pytest.mark.parametrize(("name", "ratio"), [("lenet_300_100_mnist", 55), ("lenet5_caffe_mnist", 45)])
def test_lenet_at_8_percent_and_4_bits_takes_this_fraction_of_its_weights(name, ratio):
    model = onnx.load(MODELS / f"{name}.onnx")
    fp32_bytes = 0
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        fp32_bytes += weights.nbytes
        if weights.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(prune_and_share(weights), tensor.name))
    onnx_model = model.SerializeToString()
    artifact = write(onnx_model)
    assert decode(artifact) == onnx_model
    assert len(artifact) < fp32_bytes / ratio


def prune_and_share(weights):
    """The largest 8 % as 15 values, equally spaced."""
    kept = np.abs(weights) >= np.quantile(np.abs(weights), 0.92)
    low, high = weights[kept].min(), weights[kept].max()
    levels = np.linspace(low, high, 15, dtype=np.float32)
    nearest = levels[np.round((weights - low) / (high - low) * 14).clip(0, 14).astype(int)]
    return np.where(kept, nearest, np.float32(0))
