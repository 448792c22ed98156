"""Takes units out of a graph: weights get shorter, and shapes, slices, paddings and groups follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepress_compression.errors import GraphError
from edgepress_compression.graph.channels.groups import ChannelGroup, ChannelGroups, channel_groups
from edgepress_compression.graph.channels.walk import Walk
from edgepress_compression.graph.edit import drop_dead_nodes
from edgepress_compression.graph.model import Graph


def cut(graph: Graph, kept: Mapping[str, np.ndarray], groups: list[ChannelGroup] | None = None) -> Graph:
    """A new graph without the units that `kept` marks False: group name -> bool (units,).

    It computes what `graph` computes with all members of those units at 0 (makers, riders and readers).
    `groups` may be what `channel_groups` gave for a graph of the same structure: that spares following the
    channels again.

    Raises GraphError for an unknown or fixed group, a mask of the wrong length, or where a value would have
    no channels left.
    """
    known = groups if isinstance(groups, ChannelGroups) and groups.fit(graph) else channel_groups(graph)
    gone = known.gone(kept)
    for value, units in known.emptied(kept):
        names = ", ".join(dict.fromkeys(group for group, _ in units))
        raise GraphError(f"{value} would have no channels left; keep at least one unit of {names}.")
    new = graph.copy()
    if len(gone):
        _Cutting(new, known, gone).run()
    return new


class _Cutting:
    """Edits one graph."""

    def __init__(self, graph: Graph, groups: ChannelGroups, gone: np.ndarray) -> None:
        self._graph = graph
        self._analysis = groups.analysis
        self._walk: Walk = groups.analysis.walk
        self._gone = gone
        self._names = {name for node in graph.proto.graph.node for name in node.output}
        self._names |= {tensor.name for tensor in graph.proto.graph.initializer}
        self._new = 0
        self.node = onnx.NodeProto()  # the one that is being edited

    def run(self) -> None:
        # every edit is computed from the walk, which keeps the old shapes: the order does not matter
        for node in self._graph.proto.graph.node:
            self.node = node
            self._edit()
        lengths: dict[tuple[str, int], np.ndarray] = {}
        for use in self._walk.uses:
            mask = self._mask(use.labels)
            if not mask.all():
                lengths[use.tensor, use.axis] = mask
        for (tensor, axis), mask in lengths.items():
            self._graph.set_weight(tensor, np.compress(mask, self._graph.weights[tensor], axis=axis))
        drop_dead_nodes(self._graph)

    def _edit(self) -> None:
        shuffles = self._analysis.shuffles
        for out in self.node.output:
            if out not in self._analysis.needed:
                continue
            if out in shuffles:
                shuffle = shuffles[out]
                kept = self.kept(shuffle.root, shuffle.axis)
                if not kept.all():
                    order = (np.cumsum(kept) - 1)[shuffle.order[kept[shuffle.order]]]
                    self.replace("Gather", [shuffle.root, self.constant(order)], axis=shuffle.axis)
                return
        if self.node.output[0] in self._walk.edits and self._touched():
            self._walk.edits[self.node.output[0]](self)

    def _touched(self) -> bool:
        """Whether the cut changes a value of this node, or a length that it reads."""
        if not self._analysis.needed.intersection(self.node.output):
            return False
        names = [name for name in (*self.node.input, *self.node.output) if name]
        lengths = [x for name in names for element in self._walk.sized.get(name, ()) for x in element]
        values = [self._walk.values[name] for name in names if name in self._walk.values]
        views = [x for (name, _), x in self._walk.view_labels.items() if name in names]
        return any(not self._mask(labels).all() for labels in (*lengths, *values, *views))

    def _mask(self, labels: np.ndarray) -> np.ndarray:
        mask: np.ndarray = np.isin(self._walk.labels.find(labels), self._gone, invert=True)
        return mask

    def kept(self, value: str, axis: int) -> np.ndarray:
        """(length before the cut,) bool: which positions of the value's axis remain."""
        length = self._walk.dims(value)[axis]
        if value in self._walk.views:
            labels = self._walk.view_labels.get((value, axis))
            return np.ones(length, dtype=bool) if labels is None else self._mask(labels)
        mask = self._mask(self._walk.of(value))
        if mask.shape[axis] == 1 and length > 1:
            return np.ones(length, dtype=bool)
        # labels may change along other axes only where that makes no difference to what is kept
        return np.asarray(np.moveaxis(mask, axis, 0).reshape(length, -1).any(axis=1))

    def constant(self, numbers: np.ndarray) -> str:
        """The name of a new initializer."""
        name = f"cut_{self._new}"
        while name in self._names:
            self._new += 1
            name = f"cut_{self._new}"
        self._names.add(name)
        self._graph.proto.graph.initializer.append(numpy_helper.from_array(np.asarray(numbers), name))
        return name

    def set_attribute(self, name: str, value: object) -> None:
        """None takes the attribute away."""
        others = [attribute for attribute in self.node.attribute if attribute.name != name]
        kept = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in others]
        if value is not None:
            kept.append(helper.make_attribute(name, value))
        del self.node.attribute[:]
        self.node.attribute.extend(kept)

    def replace(self, op_type: str, inputs: list[str], **attributes: Any) -> None:
        """Another operator in the place of the node."""
        new = helper.make_node(op_type, inputs, list(self.node.output), name=self.node.name, **attributes)
        self.node.CopyFrom(new)
