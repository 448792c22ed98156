"""scikit-learn's handwritten digits and a small CNN for them: a real job with nothing to download.

The data ships inside scikit-learn: 1,797 images of 8 x 8, values 0..16 (Alpaydin & Kaynak 1998, UCI "Optical
Recognition of Handwritten Digits", test part).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.graph.load import load_model

EPOCHS = 8
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WIDTHS = (16, 32, 32)  # channels of the three 3 x 3 convolutions
HIDDEN = 64


def digits_arrays() -> dict[str, np.ndarray]:
    """`image` float32 (1797, 1, 8, 8) in 0..1, `labels` int64 (1797,), `split`: every fifth sample tests."""
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import

    found = load_digits()
    image = (found.images / 16).astype(np.float32)[:, None]  # (N, 1, 8, 8)
    split = np.where(np.arange(len(image)) % 5 == 0, "test", "train")
    return {"image": image, "labels": found.target.astype(np.int64), "split": split}


def digits_dataset() -> Dataset:
    return dataset_from_arrays("digits", digits_arrays())


def write_digits_npz(path: Path) -> None:
    """A plain `.npz`, as anyone would upload one (docs/datasets.md)."""
    np.savez_compressed(path, allow_pickle=False, **digits_arrays())


def make_digits_model(seed: int = 0) -> bytes:
    """An ONNX file: a CNN of 47,530 parameters, trained here on the train split in a few seconds."""
    import torch

    from edgepress_compression.executor import Executor

    graph = load_model(_untrained(seed))
    executor = Executor(graph)
    arrays = digits_arrays()
    rows = np.flatnonzero(arrays["split"] == "train")
    order = np.random.default_rng(seed)
    steps = EPOCHS * -(-len(rows) // BATCH_SIZE)
    optimizer = torch.optim.Adam(executor.parameters(), lr=LEARNING_RATE)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        shuffled = order.permutation(rows)
        for start in range(0, len(shuffled), BATCH_SIZE):
            batch = shuffled[start : start + BATCH_SIZE]
            logits = executor({"image": torch.from_numpy(arrays["image"][batch])})["logits"]
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(arrays["labels"][batch]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
    executor.write_back(graph)
    return graph.serialize()


def _untrained(seed: int) -> bytes:
    """conv 3x3 - conv 3x3 - pool - conv 3x3 - dense - dense, ReLU between; initialised as He et al. 2015."""
    draw = np.random.default_rng(seed)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def weight(name: str, *shape: int) -> str:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        weights.append(
            numpy_helper.from_array((draw.standard_normal(shape) * deviation).astype(np.float32), name)
        )
        return name

    def bias(name: str, count: int) -> str:
        weights.append(numpy_helper.from_array(np.zeros(count, np.float32), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    at, channels = "image", 1
    for number, width in enumerate(WIDTHS, 1):
        inputs = [
            at,
            weight(f"conv{number}.weight", width, channels, 3, 3),
            bias(f"conv{number}.bias", width),
        ]
        at = node("Relu", [node("Conv", inputs, f"conv{number}", pads=[1, 1, 1, 1])], f"relu{number}")
        if number == 2:
            at = node("MaxPool", [at], "pool", kernel_shape=[2, 2], strides=[2, 2])  # (N, 32, 4, 4)
        channels = width
    at = node("Flatten", [at], "flat")  # (N, 512)
    for number, (name, width, depth) in enumerate(
        (("hidden", HIDDEN, channels * 16), ("logits", 10, HIDDEN))
    ):
        inputs = [at, weight(f"{name}.weight", width, depth), bias(f"{name}.bias", width)]
        at = node("Gemm", inputs, name, transB=1)
        if number == 0:
            at = node("Relu", [at], "relu_hidden")
    graph = helper.make_graph(
        nodes,
        "digits-cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
