"""What a model is before and after: work, parameters, zeros, memory. Counted, not measured."""

from __future__ import annotations

import msgspec
import numpy as np

from edgepress_compression.errors import GraphError
from edgepress_compression.graph.cost import model_cost
from edgepress_compression.graph.learned import learned_weights
from edgepress_compression.graph.model import Graph, attributes
from edgepress_devices.profile import DeviceProfile

_ZERO_POINT = {"DequantizeLinear": 2, "MatMulNBits": 3}  # input position
_PARAMETER = {"DequantizeLinear": 0, "MatMulNBits": 1}  # of integers that stand for weights
_NO_PARAMETER = {"DequantizeLinear": (1, 2), "QuantizeLinear": (1, 2), "MatMulNBits": (2, 3)}


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one sample, free lengths 64. None: the model's shapes are not known."""

    flops: int | None  # 2 for each multiply-add
    parameters: int  # what is learned: no settings of operators, statistics, scales or zero points
    nonzero: int  # of these, not 0
    peak_activation_bytes: int | None
    latency_us_estimate: float | None  # of the device profile (graph/cost.py): no measurement

    @property
    def sparsity(self) -> float:
        """Fraction 0..1 of the parameters that are 0."""
        return 1.0 - self.nonzero / max(1, self.parameters)


def figures(graph: Graph, profile: DeviceProfile | None = None) -> Figures:
    """Of a graph as it is; quantized weights count as the numbers that they stand for."""
    parameters, nonzero = _weights(graph)
    try:
        cost = model_cost(graph, profile)
    except GraphError:  # operators whose shapes nobody can tell: no reason to stop a compression
        cost = None
    return Figures(
        flops=None if cost is None else cost.flops,
        parameters=parameters,
        nonzero=nonzero,
        peak_activation_bytes=None if cost is None else cost.peak_activation_bytes,
        latency_us_estimate=None if cost is None else cost.latency_us,
    )


def _weights(graph: Graph) -> tuple[int, int]:
    """(parameters, those that are not 0), each tensor once however often it is used."""
    counts: dict[str, tuple[int, int]] = {}
    learned = learned_weights(graph)
    aside: set[str] = set()  # scales and zero points
    for node in graph.proto.graph.node:
        for position, name in enumerate(node.input):
            array = graph.weights.get(name)
            if array is None:
                continue
            if position in _NO_PARAMETER.get(node.op_type, ()):
                aside.add(name)
            elif node.op_type in _PARAMETER and position == _PARAMETER[node.op_type]:
                place = _ZERO_POINT[node.op_type]
                zero = graph.weights.get(node.input[place]) if len(node.input) > place else None
                if node.op_type == "MatMulNBits":
                    counts[name] = _packed(array, zero, attributes(node))
                else:
                    counts[name] = (array.size, _unlike(array, zero, attributes(node)))
            elif name in learned:
                counts[name] = (array.size, int(np.count_nonzero(array)))
    kept = [count for name, count in counts.items() if name not in aside]
    return sum(count for count, _ in kept), sum(nonzero for _, nonzero in kept)


def _unlike(array: np.ndarray, zero: np.ndarray | None, options: dict[str, object]) -> int:
    """How many integers differ from their zero point (one, or one for each channel of `axis`)."""
    if zero is None or zero.ndim == 0 or zero.size == 1 or array.ndim == 0:
        return int(np.count_nonzero(array != (0 if zero is None else zero.reshape(-1)[0])))
    axis = options.get("axis", 1)
    shape = [1] * array.ndim
    shape[int(axis) if isinstance(axis, int) else 1] = zero.size
    return int(np.count_nonzero(array != zero.reshape(shape))) if zero.ndim == 1 else array.size


def _packed(array: np.ndarray, zero: np.ndarray | None, options: dict[str, object]) -> tuple[int, int]:
    """MatMulNBits: (N, blocks, bytes) holds N rows of K numbers of `bits` each, lowest bits first; without
    zero points a number stands for itself less half the range (onnxruntime's operator documentation).
    """
    rows, columns, bits = (int(str(options.get(key, 4))) for key in ("N", "K", "bits"))
    if bits not in (2, 4, 8) or zero is not None:
        return rows * columns, rows * columns
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (array.reshape(rows, -1, 1) >> shifts) & np.uint8(2**bits - 1)  # (N, bytes, numbers in a byte)
    used = numbers.reshape(rows, -1)[:, :columns]
    return rows * columns, int(np.count_nonzero(used != 2 ** (bits - 1)))
