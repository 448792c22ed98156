"""Transfer: a trained classifier learns other classes, those of the data set.

The last layer is replaced by one for the data set's classes, fitted by ridge regression from the features
that the model already computes to the labels, so it answers well before any training. So deep features are
used for logo recognition (Bianco et al. 2017, "Deep Learning for Logo Recognition", fine-tune a network
with augmented samples). Put `fine-tune` behind it.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from edgepress_compression.data.dataset import Split
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor, missing_operators
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.calibration_rows import calibration_order
from edgepress_compression.passes.learning.classifier import Classifier, find_classifier
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import HELD_OUT
from edgepress_compression.training.features import Seen

_BATCH = 20


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the fit."""

    ridge: Annotated[float, msgspec.Meta(gt=0.0)] = 0.1  # of the features' mean square
    sharpness: Annotated[float, msgspec.Meta(gt=0.0)] = 10.0  # scores between the right class and the others
    samples: Annotated[int, msgspec.Meta(ge=10)] = 20_000


def run(state: PassState, options: Options) -> None:
    """Replaces the classifier of `state.graph`, and takes the result for the model that is to be kept.

    Raises RecipeError without labelled training samples.
    """
    started = time.monotonic()
    split = _split(state)
    graph = state.graph.copy()
    classifier = find_classifier(graph)
    classes = _classes(state, split)
    features, labels = _features(state, graph, classifier, split, options)
    weight, bias = ridge_regression(features, labels, classes, options.ridge)
    put_classifier(graph, classifier, options.sharpness * weight, options.sharpness * bias)
    state.graph = graph
    state.original = graph.copy()  # the old classes are no teacher of the new
    state.codes = {name: code for name, code in state.codes.items() if name in graph.weights}
    state.warn("The model knew other classes before: its accuracy from before counts for nothing.")
    right = float(((features @ weight.T + bias).argmax(axis=1) == labels).mean())
    state.stages.append(
        Stage(
            name=f"new head for {classes} classes",
            seconds=time.monotonic() - started,
            note=f"{right:.1%} of {len(labels):,} training samples right by the fit alone",
        )
    )


def _split(state: PassState) -> Split:
    data = state.dataset
    if data is None or "train" not in data.splits or data.task != "classification":
        raise RecipeError(
            "new-head needs labelled samples of the new classes in a split named train; give a data set "
            "(--data)."
        )
    missing = missing_operators(state.graph)
    if missing:
        raise RecipeError(f"The model uses {', '.join(missing)}, which cannot be trained here.")
    return data.split("train")


def _classes(state: PassState, split: Split) -> int:
    names = state.dataset.class_names if state.dataset is not None else None
    classes = len(names) if names else int(split.labels.max()) + 1
    if classes < 2:
        raise RecipeError("The data set has one class only; there is nothing to tell apart.")
    return classes


def _features(
    state: PassState, graph: Graph, classifier: Classifier, split: Split, options: Options
) -> tuple[np.ndarray, np.ndarray]:
    """((samples, width) float64, labels)"""
    # the other end of the order is held out: samples that judge the training to come must not be fitted
    rows = calibration_order(len(split), state.seed)
    rows = rows[: min(options.samples, len(rows) - int(HELD_OUT * len(rows)))]
    executor, seen = Executor(graph), Seen([classifier.features])
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), _BATCH):
            state.check_cancelled()
            state.progress(start / len(rows), "computing features of the training samples")
            feed = split.fetch(rows[start : start + _BATCH])
            executor({name: torch.from_numpy(array) for name, array in feed.items()}, watch=seen)
            value = seen.values[classifier.features]
            found.append((value.flatten(2).mean(dim=2) if value.ndim > 2 else value).double().numpy())
    return np.concatenate(found), split.labels[rows]


def ridge_regression(
    features: np.ndarray, labels: np.ndarray, classes: int, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """(weight (classes, width), bias (classes,)) that give 1 for the sample's class and 0 for others."""
    mean = features.mean(axis=0)
    centred = features - mean
    target = np.eye(classes)[labels]
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += ridge * max(float(np.trace(gram)) / len(gram), 1e-12)
    weight = np.linalg.solve(gram, centred.T @ (target - target.mean(axis=0))).T
    return np.asarray(weight), np.asarray(target.mean(axis=0) - weight @ mean)


def put_classifier(graph: Graph, classifier: Classifier, weight: np.ndarray, bias: np.ndarray) -> None:
    """Replaces the classifier's weight and bias; the model's output gets their number of classes."""
    old = graph.weights[classifier.weight]
    shaped = weight if classifier.rows_first else weight.T
    graph.set_weight(classifier.weight, shaped.reshape(*shaped.shape, *old.shape[2:]).astype(np.float32))
    node = next(n for n in graph.proto.graph.node if n.output[0] == classifier.node.output[0])
    if classifier.bias is not None:
        graph.set_weight(classifier.bias, bias.astype(np.float32))
    else:
        name = f"{classifier.weight}.bias"
        graph.proto.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
        if node.op_type == "MatMul":
            _add_behind(graph, node, name)
        else:
            del node.input[2:]
            node.input.append(name)
    dims = graph.proto.graph.output[0].type.tensor_type.shape.dim
    if len(dims) > 1:
        dims[1].dim_value = len(bias)
    del graph.proto.graph.value_info[:]
    graph.refresh()


def _add_behind(graph: Graph, node: onnx.NodeProto, bias: str) -> None:
    """A sum with `bias` between the node and all that read it."""
    output = node.output[0]
    node.output[0] = f"{output}.product"
    position = list(graph.proto.graph.node).index(node)
    graph.proto.graph.node.insert(position + 1, helper.make_node("Add", [node.output[0], bias], [output]))
