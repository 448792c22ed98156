"""LeNet-5 on MNIST, and what one epoch of fine-tuning or a new last layer makes of it: ONNX files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

MODEL: Final = "lenet5_caffe_mnist"
BATCH: Final = 64
LAST_LAYER: Final = ("fc2.weight", "fc2.bias")

Parameters = dict[str, torch.Tensor]


def fine_tuned(folder: Path, target: Path, *, rate: float, only: Iterable[str] | None = None) -> Path:
    """One epoch of SGD (momentum 0.9, seed 0) over the training images; ``only`` these tensors move."""
    model = onnx.load(folder / "models" / f"{MODEL}.onnx")
    parameters = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in model.graph.initializer
    }
    moving = [parameters[name].requires_grad_() for name in only or list(parameters)]
    torch.manual_seed(0)
    images, labels = _training_images(folder)
    optimizer = torch.optim.SGD(moving, lr=rate, momentum=0.9)
    for chosen in torch.randperm(len(labels)).split(BATCH):
        optimizer.zero_grad()
        functional.cross_entropy(_logits(parameters, images[chosen]), labels[chosen]).backward()
        optimizer.step()
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(parameters[tensor.name].detach().numpy(), tensor.name))
    onnx.save(model, target)
    return target


def _training_images(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(folder / "data" / "mnist.npz") as arrays:
        images = torch.from_numpy(arrays["x_train"]).float().reshape(-1, 1, 28, 28) / 255
        return images, torch.from_numpy(arrays["y_train"]).long()


def _logits(p: Parameters, x: torch.Tensor) -> torch.Tensor:
    x = functional.max_pool2d(functional.conv2d(x, p["conv1.weight"], p["conv1.bias"]), 2)
    x = functional.max_pool2d(functional.conv2d(x, p["conv2.weight"], p["conv2.bias"]), 2)
    x = functional.relu(functional.linear(x.flatten(1), p["fc1.weight"], p["fc1.bias"]))
    return functional.linear(x, p["fc2.weight"], p["fc2.bias"])
