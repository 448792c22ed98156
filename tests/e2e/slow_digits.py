"""A digits model with much to be saved, as one that was made for larger boards: some 6 ms on a core of a PC.

The pictures are twice as large as scikit-learn's. A small CNN is trained on them in seconds; then its
channels are copied and their sums shared out (Net2WiderNet: Chen, Goodfellow, Shlens, Net2Net, ICLR 2016,
section 3.1), with a little noise so that the copies differ. It says what the small one says, at WIDER squared
times the work.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.data.digits import digits_arrays

WIDER = 16
NOISE = 0.02
EPOCHS = 8
SIDE = 16  # pixels
SAMPLES = 900  # of the 1,797: what a search evaluates on


def large_digits() -> dict[str, np.ndarray]:
    """Half of the digits data set, with each pixel four times: input float32 (900, 1, 16, 16)."""
    arrays = digits_arrays()
    half = {name: arrays[name][:SAMPLES] for name in ("input", "labels", "split")}
    return {**arrays, **half, "input": np.kron(half["input"], np.ones((1, 1, 2, 2), np.float32))}


def write_slow_digits(model: Path, data: Path) -> None:
    arrays = large_digits()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    weights = _train(
        arrays["input"][arrays["split"] == "train"], arrays["labels"][arrays["split"] == "train"]
    )
    model.write_bytes(_as_onnx(_widen(weights)))


def _train(pictures: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Weights and biases of two convolutions and two dense layers, in this order."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(4), nn.Flatten(), nn.Linear(512, 72), nn.ReLU(), nn.Linear(72, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(layers.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(
                layers(torch.from_numpy(pictures[rows])), torch.from_numpy(labels[rows])
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return [each.detach().numpy() for each in layers.parameters()]


def _widen(weights: list[np.ndarray]) -> list[np.ndarray]:
    """WIDER copies of each channel; who reads them weighs each copy with its share."""
    rng = np.random.default_rng(0)
    wide = list(weights)
    for layer in (0, 2):  # of the weights; its bias is the next, its reader the one after
        channels = weights[layer].shape[0]
        wide[layer] = np.repeat(wide[layer], WIDER, axis=0)  # (out, in, 3, 3)
        wide[layer + 1] = np.repeat(wide[layer + 1], WIDER)
        read = wide[layer + 2]  # (out, in, 3, 3), or (72, channels * positions) behind the flattening
        inputs = np.arange(read.shape[1]).reshape(channels, -1)
        shared = read[:, np.repeat(inputs, WIDER, axis=0).ravel()] / WIDER
        wide[layer + 2] = shared * (1 + NOISE * rng.standard_normal(shared.shape)).astype(np.float32)
    return wide


def _as_onnx(weights: list[np.ndarray]) -> bytes:
    names = ["c1.w", "c1.b", "c2.w", "c2.b", "d1.w", "d1.b", "d2.w", "d2.b"]
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["input", "c1.w", "c1.b"], ["c1"], name="c1", **conv),
        helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "c2.w", "c2.b"], ["c2"], name="c2", **conv),
        helper.make_node("Relu", ["c2"], ["r2"], name="r2"),
        helper.make_node("MaxPool", ["r2"], ["p"], name="p", kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["p"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "d1.w", "d1.b"], ["d1"], name="d1", transB=1),
        helper.make_node("Relu", ["d1"], ["r3"], name="r3"),
        helper.make_node("Gemm", ["r3", "d2.w", "d2.b"], ["output"], name="d2", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "slow-digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 10])],
        [
            numpy_helper.from_array(np.ascontiguousarray(each, np.float32), name)
            for name, each in zip(names, weights, strict=True)
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()
