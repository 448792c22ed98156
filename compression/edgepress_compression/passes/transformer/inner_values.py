"""Values inside a graph: shown as outputs, taught to a student, or used as the inputs of a part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.graph.edit import drop_dead_nodes
from edgepress_compression.graph.model import Graph
from edgepress_compression.training.loop import Samples, Teacher


def showing(graph: Graph, inner: Sequence[str]) -> Graph:
    """A copy of the graph whose outputs are also the float values `inner`."""
    shown = graph.copy()
    given = {info.name for info in shown.proto.graph.output}
    shown.proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in inner
        if name not in given
    )
    return shown


def part(graph: Graph, start: str, end: str) -> Graph:
    """A copy that gives the float value `end` from the float value `start`, which has three sides; and from
    those inputs of the model that this takes."""
    cut = graph.copy()
    proto = cut.proto.graph
    for node in [node for node in proto.node if start in node.output]:
        proto.node.remove(node)
    del proto.output[:]
    proto.output.append(onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, None))
    drop_dead_nodes(cut)
    read = {name for node in proto.node for name in node.input}
    for info in [info for info in proto.input if info.name not in read]:
        proto.input.remove(info)
    if start not in {info.name for info in proto.input}:
        sides = ["N", "L", "C"]
        proto.input.append(onnx.helper.make_tensor_value_info(start, onnx.TensorProto.FLOAT, sides))
    cut.refresh()
    return cut


class PlainTeacher(Teacher):
    """Answers computed for each batch: inner values are as long as the batch's longest sentence."""

    def __init__(self, executor: Executor, samples: Samples) -> None:
        super().__init__(executor, samples)
        self._original, self._split = executor, samples

    def __call__(self, rows: np.ndarray) -> dict[str, Tensor]:
        answers = self._original.run(self._split.fetch(rows))
        return {name: torch.from_numpy(array) for name, array in answers.items()}
