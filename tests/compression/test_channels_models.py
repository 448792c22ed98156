"""The cut on the data folder's models: each loses a third of its units and equals the masked model."""

from __future__ import annotations

from pathlib import Path

import pytest
from channels_oracle import check_cut, units

from edgepress_compression.data.spec import data_folder
from edgepress_compression.graph import load_model

DATA = data_folder(Path(__file__))
MODELS = {  # name -> groups that can be cut, their units
    "FastestDet": (87, 2112),
    "dscnn_fsdd": (5, 320),
    "efficientnet_lite0": (24, 11024),
    "lenet5_caffe_mnist": (3, 570),
    "lenet_300_100_mnist": (2, 400),
    "minilm3_sst2": (7, 5028),
    "mlperf_tiny_ad_autoencoder": (9, 1032),
    "mlperf_tiny_kws_dscnn": (5, 320),
    "mlperf_tiny_resnet8_cifar10": (6, 224),
    "mlperf_tiny_vww_mobilenetv1_0.25_96": (14, 1496),
    "resnet20_cifar10": (12, 400),
    "squeezenet1.0_deepcompressed": (25, 2976),
    "squeezenet1.1": (25, 2944),
    "vgg_small_cifar10": (7, 704),
}


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the data folder {DATA} is not here (EDGEPRESS_DATA)")
@pytest.mark.parametrize("name", MODELS)
def test_a_third_of_every_group_is_cut_exactly(name: str) -> None:
    free = units(check_cut(load_model(DATA / "models" / f"{name}.onnx")))
    assert (len(free), sum(free.values())) == MODELS[name]
