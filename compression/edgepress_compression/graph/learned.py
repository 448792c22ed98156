"""Which initializers were learned: weights, and not settings or statistics of operators."""

from __future__ import annotations

from edgepress_compression.graph.model import Graph

# inputs that are settings or statistics, and not learned
_SETTINGS = {
    "BatchNormalization": (3, 4),
    "Clip": (1, 2),
    "Pad": (1, 2),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Pow": (1,),
    "Range": (0, 1, 2),
    "OneHot": (2,),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "RNN": (4, 5),
    "GRU": (4, 5),
    "LSTM": (4, 5, 6),
    "FakeQuantize": (2,),
}
_LEARNED_SCALARS = {
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "PRelu",
    "BatchNormalization",
    "LayerNormalization",
    "FakeQuantize",
}


def learned_weights(graph: Graph) -> set[str]:
    """Names of the float initializers that are weights, and not settings or statistics of operators."""
    users = graph.users()
    learned = set()
    for name, array in graph.float_weights().items():
        readers = [(node.op_type, position) for node, position in users.get(name, [])]
        if not readers or any(position in _SETTINGS.get(op_type, ()) for op_type, position in readers):
            continue
        if array.size > 1 or any(op_type in _LEARNED_SCALARS for op_type, _ in readers):
            learned.add(name)
    return learned
