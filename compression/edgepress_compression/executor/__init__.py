"""The differentiable executor: an ONNX graph as a torch module. Operators stand in one file per family."""

from edgepress_compression.executor import (
    activation,
    border,
    constant,
    conv,
    elementwise,
    linear,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    shape,
)
from edgepress_compression.executor.executor import Executor, missing_operators

__all__ = [
    "Executor",
    "activation",
    "border",
    "constant",
    "conv",
    "elementwise",
    "linear",
    "missing_operators",
    "norm",
    "pool",
    "quantize",
    "recurrent",
    "reduce",
    "resize",
    "shape",
]
