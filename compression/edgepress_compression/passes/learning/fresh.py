"""Weights as they were before any training."""

from __future__ import annotations

import math

import numpy as np

from edgepress_compression.graph.learned import learned_weights
from edgepress_compression.graph.model import Graph


def fresh_weights(graph: Graph, seed: int) -> None:
    """Draws every matrix and kernel anew, normal with variance 2 / inputs (He et al. 2015, equation 10), and
    sets biases to 0; scales of normalizations become 1."""
    rng = np.random.default_rng(seed)
    users = graph.users()
    for name in sorted(learned_weights(graph)):
        array = graph.weights[name]
        node, position = users[name][0]
        if array.ndim >= 2:
            rows_first = node.op_type in ("Conv", "ConvTranspose") or any(
                a.name == "transB" and a.i for a in node.attribute
            )
            inputs = math.prod(array.shape[1:]) if rows_first else array.shape[0]
            new = rng.standard_normal(array.shape) * math.sqrt(2 / max(1, inputs))
        elif node.op_type.endswith("Normalization") and position == 1:
            new = np.ones(array.shape)
        else:
            new = np.zeros(array.shape)
        graph.set_weight(name, new.astype(array.dtype))
