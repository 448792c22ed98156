"""Optimal Brain Surgeon against magnitude: the same weights' number of each tensor goes at once, nothing is
trained, and the loss of the decoded artifact is measured on training samples that no method looked at.

The loss is cross-entropy with the labels. Uniform: the same sparsity for each tensor, so that both methods
keep as many weights everywhere. The exact OBS of all weights together fits a small network only: an MLP on
scikit-learn's digits, trained here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from cases.case import Row, Settings
from edgepress_compression.artifact.read import decode
from edgepress_compression.compress import compress
from edgepress_compression.data.dataset import Dataset
from edgepress_compression.data.digits import digits_dataset
from edgepress_compression.data.fit import fit
from edgepress_compression.evaluate import open_session
from edgepress_compression.graph.load import load_model
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit, training_data
from edgepress_compression.recipe import Recipe, Step
from edgepress_compression.training.losses import loss_for
from edgepress_devices.profile import load_profile

TITLE = "OBS against magnitude, one-shot, without training (loss on held-out training samples)"
TARGET = "lower loss than magnitude at equal sparsity"
PROFILE = "x86-pc"


@dataclass(frozen=True)
class _Case:
    title: str
    model: str  # of the data folder, or "digits-mlp"
    dataset: str
    sparsities: tuple[float, ...]
    samples: int = 1000  # that OBS looks at
    methods: tuple[str, ...] = ("layer-obs",)


CASES = (
    _Case("digits MLP", "digits-mlp", "digits", (0.5, 0.7, 0.8, 0.9), 600, ("obs", "layer-obs")),
    _Case("LeNet-300-100", "lenet_300_100_mnist", "mnist", (0.7, 0.8, 0.9, 0.95)),
    _Case("LeNet-5", "lenet5_caffe_mnist", "mnist", (0.7, 0.8, 0.9, 0.95)),
    _Case("ResNet-20", "resnet20_cifar10", "cifar10", (0.3, 0.5, 0.7, 0.8), 500),
    _Case("VGG-small", "vgg_small_cifar10", "cifar10", (0.5, 0.7, 0.8), 500),
    _Case("DS-CNN", "dscnn_fsdd", "fsdd", (0.3, 0.5, 0.7), 500),
    _Case("SqueezeNet 1.1", "squeezenet1.1", "imagenet_sample", (0.3, 0.5, 0.6), 150),
    _Case("MiniLM-3", "minilm3_sst2", "sst2", (0.3, 0.5, 0.7), 200),
)


def measure(settings: Settings) -> Iterator[Row]:
    for case in CASES:
        dataset = _dataset(settings, case)
        source = _digits_mlp(settings.seed) if case.model == "digits-mlp" else settings.model(case.model)
        judge = _Judge(source, case, dataset, settings.seed)
        for sparsity in case.sparsities:
            by_magnitude, row = _pruned(settings, case, source, dataset, judge, sparsity, "magnitude")
            yield row
            for method in case.methods:
                loss, row = _pruned(settings, case, source, dataset, judge, sparsity, method)
                row.target, row.met = TARGET, loss < by_magnitude
                row.note += f", {loss / by_magnitude:.3f} times that by magnitude"
                row.more["loss_ratio"] = loss / by_magnitude
                yield row


def _dataset(settings: Settings, case: _Case) -> Dataset:
    if case.dataset == "digits":
        return digits_dataset()
    return settings.cifar10() if case.dataset == "cifar10" else settings.dataset(case.dataset)


class _Judge:
    """The mean loss of a model on rows of the training split that no pass looks at."""

    def __init__(self, source: Path | bytes, case: _Case, dataset: Dataset, seed: int) -> None:
        graph = load_model(source)
        fitted = fit(dataset, graph.inputs, graph.outputs, model_name=case.model)
        state = PassState(graph=graph, profile=load_profile(PROFILE), dataset=fitted, seed=seed)
        data = training_data(state)
        if data is None:
            raise SystemExit(f"{case.title}: {' '.join(state.warnings)}")
        self._split = data.split
        self._rows = data.held_out if len(data.held_out) else data.rows[case.samples :]
        self._loss = loss_for(graph, "classification", label_share=1.0)
        self._batch = batch_limit(graph, 50)
        self.before = self(graph.serialize())

    def __call__(self, model: bytes) -> float:
        session = open_session(model)
        names = [output.name for output in session.get_outputs()]
        total = 0.0
        for start in range(0, len(self._rows), self._batch):
            rows = self._rows[start : start + self._batch]
            outputs = session.run(None, self._split.fetch(rows))
            found = {name: torch.from_numpy(array) for name, array in zip(names, outputs, strict=True)}
            total += float(self._loss(found, torch.from_numpy(self._split.labels[rows]), {})) * len(rows)
        return total / len(self._rows)


def _pruned(
    settings: Settings,
    case: _Case,
    source: Path | bytes,
    dataset: Dataset,
    judge: _Judge,
    sparsity: float,
    method: str,
) -> tuple[float, Row]:
    options = {
        "saliency": method,
        "sparsity": sparsity,
        "distribution": "uniform",
        "samples": case.samples,
        "steps": 0,
        "most_lost_points": 100.0,
    }
    recipe = Recipe(method, "one-shot", passes=(Step("prune-weights", options),))
    result = compress(
        source,
        recipe=recipe,
        profile=load_profile(PROFILE),
        dataset=dataset,
        seed=settings.seed,
        model_name=case.model,
        latency_seconds=0.2,
    )
    report = result.report
    loss = judge(decode(result.artifact, max_bytes=report["bytes"]["onnx_after"]))
    accuracy = report["accuracy"]
    row = Row(
        case=f"{case.title}, {sparsity:.0%} zero",
        method=method,
        target="",
        met=None,
        metric=accuracy["metric"],
        before=accuracy["before"],
        after=accuracy["after"],
        lost_points=100 * (accuracy["before"] - accuracy["after"]),
        artifact_bytes=report["bytes"]["artifact"],
        ratio=report["bytes"]["ratio"],
        seconds=report["seconds"],
        note=f"loss {loss:.4f} (before {judge.before:.4f})",
        more={"loss": loss, "loss_before": judge.before, "sparsity": sparsity, "options": options},
    )
    return loss, row


def _digits_mlp(seed: int) -> bytes:
    """64-20-10, trained here: 1,530 weights."""
    split = digits_dataset().split("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10)
        )
        optimizer = torch.optim.Adam(layers.parameters(), lr=5e-3)
        for epoch in range(30):
            for feed, labels in split.batches(64, shuffle_seed=epoch):
                optimizer.zero_grad()
                scores = layers(torch.from_numpy(feed["input"]))
                torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels)).backward()
                optimizer.step()
        weights = {key: tensor.detach().numpy() for key, tensor in layers.state_dict().items()}
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("Gemm", ["flat", "1.weight", "1.bias"], ["hidden"], transB=1),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "3.weight", "3.bias"], ["logits"], transB=1),
        ],
        "digits-mlp",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))
