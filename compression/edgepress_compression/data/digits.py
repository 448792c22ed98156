"""A model and a data set that any machine has: a small CNN on the digits that ship inside scikit-learn.

1,797 pictures of 8 x 8 pixels (UCI optical recognition of handwritten digits, Alpaydin and Kaynak 1998).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.data.dataset import TEST_EVERY, Dataset, dataset_from_arrays

EPOCHS = 20
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
OPSET = 13


def digits_arrays() -> dict[str, np.ndarray]:
    """Arrays of a plain .npz: input float32 (1797, 1, 8, 8) in 0..1, labels, split, class_names."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    split = np.where(np.arange(len(labels)) % TEST_EVERY == 0, "test", "train")
    return {
        "input": (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8),
        "labels": labels.astype(np.int64),
        "split": split,
        "class_names": np.array([str(digit) for digit in range(10)]),
    }


def digits_dataset() -> Dataset:
    """1,437 samples train, 360 test."""
    return dataset_from_arrays("digits", digits_arrays())


def write_digits_npz(path: Path) -> None:
    """Writes the data set as the plain .npz that a person would upload."""
    content = io.BytesIO()
    np.savez_compressed(content, **digits_arrays())  # type: ignore[arg-type]
    path.write_bytes(content.getvalue())


def make_digits_model(seed: int = 0, *, progress: Callable[[float], None] = lambda fraction: None) -> bytes:
    """Trains a CNN of 44,850 weights in a few seconds and returns it as ONNX. `progress` gets 0..1.

    The same seed gives the same bytes on one kind of machine and one number of threads.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 72),
            nn.ReLU(),
            nn.Linear(72, 10),
        )
        optimizer = torch.optim.Adam(layers.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        split = digits_dataset().split("train")
        for epoch in range(EPOCHS):
            for feed, labels in split.batches(BATCH_SIZE, shuffle_seed=seed * EPOCHS + epoch):
                loss = nn.functional.cross_entropy(
                    layers(torch.from_numpy(feed["input"])), torch.from_numpy(labels)
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            schedule.step()
            progress((epoch + 1) / EPOCHS)
        weights = {name: tensor.detach().numpy() for name, tensor in layers.state_dict().items()}
    return _as_onnx(weights)


def _as_onnx(weights: dict[str, np.ndarray]) -> bytes:
    names = {"0": "conv1", "2": "conv2", "6": "fc1", "8": "fc2"}
    initializers = [
        numpy_helper.from_array(array, f"{names[key.split('.')[0]]}.{key.split('.')[1]}")
        for key, array in weights.items()
    ]
    nodes = [
        helper.make_node("Conv", ["input", "conv1.weight", "conv1.bias"], ["conv1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("Conv", ["relu1", "conv2.weight", "conv2.bias"], ["conv2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv2"], ["relu2"]),
        helper.make_node("MaxPool", ["relu2"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["fc1"], transB=1),
        helper.make_node("Relu", ["fc1"], ["relu3"]),
        helper.make_node("Gemm", ["relu3", "fc2.weight", "fc2.bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgepress"
    )
    model.ir_version = 8  # what onnxruntime has read since 1.10
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
