"""A network that is split and joined again: a half may not lose all its units."""

from __future__ import annotations

import numpy as np
from onnx import helper
from tiny_models import model, normal

from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph


def halves(rng: np.random.Generator, *, units: int = 64, first: int = 4) -> Graph:
    """x (N, 16) -> y (N, 4). The `first` hidden units, which go through a Relu of their own, matter least."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Split", ["h", "sizes"], ["few", "many"], axis=1),
        helper.make_node("Relu", ["few"], ["positive"]),
        helper.make_node("Concat", ["positive", "many"], ["r"], axis=1),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
    ]
    weights = {
        "w1": normal(rng, units, 16),
        "b1": np.zeros(units, np.float32),
        "sizes": np.array([first, units - first]),
        "w2": normal(rng, 4, units),
        "b2": np.zeros(4, np.float32),
    }
    weights["w1"][:first] *= 1e-4
    weights["w2"][:, :first] *= 1e-4
    proto = model(nodes, weights, input_shape=["N", 16], output_shape=["N", 4])
    return load_model(proto.SerializeToString())
