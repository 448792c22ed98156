"""A PyTorch module, or a program saved from one, is compressed like a file."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgepress_compression
from edgepress_compression.artifact.read import decode
from edgepress_compression.data.dataset import dataset_from_arrays
from edgepress_compression.errors import GraphError
from edgepress_compression.evaluate import open_session, run


class Net(nn.Module):
    """What has a mode of its own in training: batch normalization and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.drop(torch.relu(self.norm(self.conv(x))).mean((2, 3))))
        return made


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    made = Net()
    made.train()
    with torch.no_grad():
        for _ in range(20):
            made(torch.randn(16, 3, 8, 8) * 2 + 1)  # running statistics that are not the initial ones
    return made


def test_a_module_is_compressed_in_evaluation_mode_with_a_free_batch(net: Net) -> None:
    result = edgepress_compression.compress(
        net, torch.randn(1, 3, 8, 8), recipe="none", profile="x86-pc", latency_seconds=0.0
    )
    assert net.training  # put back
    x = torch.randn(5, 3, 8, 8)
    net.eval()
    session = open_session(decode(result.artifact))
    (answers,) = run(session, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(answers, net(x).detach().numpy(), atol=1e-5)
    assert result.report["model"] == "net"
    assert result.report["accuracy"] is None


def test_a_module_is_measured_on_a_data_set(net: Net) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3, 8, 8)).astype(np.float32)
    net.eval()
    labels = net(torch.from_numpy(x)).argmax(1).numpy()
    result = edgepress_compression.compress(
        net,
        (torch.randn(2, 3, 8, 8),),
        recipe="int8",
        profile="x86-pc",
        dataset=dataset_from_arrays("noise", {"x": x, "labels": labels}),
        latency_seconds=0.0,
    )
    assert result.report["accuracy"]["before"] == 1.0  # batch statistics or dropout would not agree
    assert result.report["accuracy"]["after"] > 0.8


def test_a_pt2_file_is_compressed(net: Net) -> None:
    net.eval()
    stream = io.BytesIO()
    batch = torch.export.Dim("N", min=1, max=64)
    program = torch.export.export(net, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(program, stream)
    result = edgepress_compression.compress(
        stream.getvalue(), recipe="none", profile="x86-pc", latency_seconds=0.0
    )
    assert result.report["costs"]["before"]["parameters"] > 250


def test_a_module_without_example_inputs_is_refused(net: Net) -> None:
    with pytest.raises(GraphError, match="give example inputs, such as"):
        edgepress_compression.compress(net, recipe="none", profile="x86-pc")


def test_the_package_stays_light_until_compress_is_asked_for() -> None:
    code = (
        "import sys, edgepress_compression, edgepress_compression.codec\n"
        "assert not {'torch', 'onnx'} & set(sys.modules), 'heavy'\n"
        "from edgepress_compression.compress import compress\n"
        "import edgepress_compression.compress\n"
        "assert callable(edgepress_compression.compress) and callable(compress)\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
