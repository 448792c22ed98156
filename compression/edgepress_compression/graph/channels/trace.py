"""What onnxruntime computes for two batch sizes: the shape of every value, and the small whole numbers.

A number that is the same in both runs is a constant of the graph; one that differs follows the batch or a
free length. So shape arithmetic needs no interpreter of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from edgepress_compression.errors import GraphError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.model import Graph

_MAX_WHOLE = 4096  # elements of an integer value that is remembered: shapes, starts, indices of channels
_PLAIN = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # every value is asked for; nothing may be fused
# (batch, free length) of the two runs; the next pair is tried where a model does not run with one
_PAIRS = (((1, 8), (2, 12)), ((1, 64), (2, 48)), ((1, 64), (1, 64)))


@dataclass(frozen=True)
class Trace:
    """Both runs, by value name."""

    first: Mapping[str, tuple[int, ...]]  # shapes at batch 1
    second: Mapping[str, tuple[int, ...]]  # shapes of the other run
    whole: Mapping[str, tuple[np.ndarray, bool]]  # integers of the first run; whether the second agrees

    def constant(self, name: str) -> np.ndarray | None:
        """The integers of `name` where both runs agree on them."""
        found = self.whole.get(name)
        return found[0] if found is not None and found[1] else None


def trace(graph: Graph) -> Trace:
    """Runs `graph` twice on zeros. Raises GraphError when it does not run."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    names = [name for node in proto.graph.node for name in node.output if name]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(proto.SerializeToString(), level=_PLAIN)
    problem = None
    for pair in _PAIRS:
        try:
            one, other = (
                _recorded(run(session, feed), names, feed, graph)
                for feed in (_zeros(graph, batch=batch, length=length) for batch, length in pair)
            )
        except GraphError as error:
            problem = error
            continue
        return Trace(
            {name: shape for name, (shape, _) in one.items()},
            {name: shape for name, (shape, _) in other.items()},
            {
                name: (numbers, _same(numbers, other[name][1]))
                for name, (_, numbers) in one.items()
                if numbers is not None
            },
        )
    raise GraphError(f"The channels of this model cannot be followed: {problem}")


def _same(one: np.ndarray, other: np.ndarray | None) -> bool:
    return other is not None and np.array_equal(one, other)


def _zeros(graph: Graph, *, batch: int, length: int) -> dict[str, np.ndarray]:
    return {
        value.name: np.zeros(
            [
                size if isinstance(size, int) else (batch if axis == 0 else length)
                for axis, size in enumerate(value.shape)
            ],
            dtype=value.dtype,
        )
        for value in graph.inputs
    }


def _recorded(
    produced: list[np.ndarray], names: list[str], feed: Mapping[str, np.ndarray], graph: Graph
) -> dict[str, tuple[tuple[int, ...], np.ndarray | None]]:
    """Value name -> (shape, the numbers where they are few and whole)."""
    values = {**graph.weights, **feed, **dict(zip(names, produced, strict=True))}
    return {
        name: (
            array.shape,
            array if array.dtype.kind in "iu" and array.size <= _MAX_WHOLE and name not in feed else None,
        )
        for name, array in ((name, np.asarray(array)) for name, array in values.items())
    }
