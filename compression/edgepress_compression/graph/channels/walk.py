"""Follows channels through the graph, node by node: which label has each channel of each value.

A value's labels are an int64 array of the value's rank, squeezed: length 1 on every axis along which they
do not change. The rules of the operators are in the modules named `rules_...`; a rule reads the labels of
its inputs, puts those of its outputs, tells which axes of its weights belong to which labels (`use`), ties
what must be cut together, and says how the node itself changes after a cut (`edits`). What has no rule is
fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import onnx

from edgepress_compression.graph.channels.labels import KEPT, Labels, squeezed, varying
from edgepress_compression.graph.channels.trace import Trace, trace
from edgepress_compression.graph.model import Graph, attributes

Role = Literal["makes", "reads", "rides"]


@dataclass(frozen=True)
class View:
    """A weight, or what shape operators and functions of single numbers make of it."""

    tensor: str  # the initializer
    index: np.ndarray  # int64, in the view's shape: position of each number in the flat initializer


@dataclass(frozen=True)
class Use:
    """One node's use of one axis of a weight."""

    tensor: str
    axis: int
    labels: np.ndarray  # (length of the axis,) int64
    role: Role
    node: str  # output name
    kind: Literal["channels", "features"]


class Editor(Protocol):
    """What an edit may do to its node in the cut graph."""

    node: onnx.NodeProto

    def kept(self, value: str, axis: int) -> np.ndarray: ...  # bool, length of the axis before the cut

    def constant(self, numbers: np.ndarray) -> str: ...  # name of a new initializer

    def set_attribute(self, name: str, value: object) -> None: ...

    def replace(self, op_type: str, inputs: list[str], **attributes: Any) -> None: ...


Edit = Callable[[Editor], None]
Rule = Callable[["Walk", onnx.NodeProto], None]


@dataclass
class Walk:
    """State of one pass over a graph."""

    graph: Graph
    trace: Trace
    labels: Labels = field(default_factory=Labels)
    values: dict[str, np.ndarray] = field(default_factory=dict)  # activation -> squeezed labels
    views: dict[str, View] = field(default_factory=dict)
    view_labels: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)  # (view, axis) -> labels
    uses: list[Use] = field(default_factory=list)
    used_axes: dict[str, list[set[int]]] = field(default_factory=dict)  # tensor -> labelled axes, by use
    edits: dict[str, Edit] = field(default_factory=dict)  # output name of a node -> edit
    sized: dict[str, list[list[np.ndarray]]] = field(default_factory=dict)  # see rules_size

    def dims(self, name: str) -> tuple[int, ...]:
        """Shape at batch 1."""
        return self.trace.first[name]

    def of(self, name: str) -> np.ndarray:
        """Labels of a value; all `KEPT` for constants, views and inputs."""
        found = self.values.get(name)
        return found if found is not None else np.zeros((1,) * len(self.dims(name)), dtype=np.int64)

    def put(self, name: str, labels: np.ndarray) -> None:
        self.values[name] = squeezed(labels)

    def put_plain(self, node: onnx.NodeProto) -> None:
        """All outputs of the node are never cut."""
        for name in node.output:
            if name:
                self.values[name] = np.zeros((1,) * len(self.dims(name)), dtype=np.int64)

    def made(self, name: str, axis: int, labels: np.ndarray) -> None:
        """The value's labels change along one axis only."""
        shape = [1] * len(self.dims(name))
        shape[axis] = len(labels)
        self.put(name, labels.reshape(shape))

    def fresh(self, count: int) -> np.ndarray:
        """New labels of an axis; an axis of one channel cannot get shorter."""
        return self.labels.fresh(count) if count > 1 else np.zeros(count, dtype=np.int64)

    def along(self, name: str, axis: int, node: onnx.NodeProto) -> np.ndarray:
        """(length,) labels along `axis`; those that differ along other axes are tied."""
        self.whole_use(name)
        labels, length = self.of(name), self.dims(name)[axis]
        rows = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
        if rows.shape[1] > 1:
            self.labels.tie(rows[:, :1], rows, f"{title(node)} works along axis {axis} of {name}")
        return np.broadcast_to(rows[:, 0], (length,))

    def fix(self, name: str, why: str) -> None:
        """No channel of this value is cut."""
        self.labels.fix(self.of(name), why)

    def attributes(self, node: onnx.NodeProto) -> dict[str, object]:
        return attributes(node)

    def whole_use(self, name: str) -> None:
        """A node uses this weight (if it is one) as it is: none of its axes may get shorter."""
        view = self.views.get(name)
        if view is not None:
            self.used_axes.setdefault(view.tensor, []).append(set())

    def use(
        self,
        name: str,
        axes: Mapping[int, np.ndarray],
        roles: Mapping[int, Role],
        node: onnx.NodeProto,
        *,
        kind: Literal["channels", "features"] = "channels",
    ) -> None:
        """`node` uses the weight `name`, whose axes (of the view) have these labels. Fixes them where the
        weight is computed in a way that is not followed.
        """
        axes = {axis: labels for axis, labels in axes.items() if labels.any()}
        view = self.views.get(name)
        found: dict[int, tuple[int, np.ndarray]] = {}
        for axis, labels in axes.items():
            where = None if view is None else self._original_axis(view, axis)
            if where is None:
                self.labels.fix(labels, f"{title(node)} reads {name}, which is computed by the graph")
            else:
                found[axis] = where
        if view is None:
            return
        self.used_axes.setdefault(view.tensor, []).append({where[0] for where in found.values()})
        for axis, (original, position) in found.items():
            ordered = np.zeros(len(axes[axis]), dtype=np.int64)
            ordered[position] = axes[axis]
            self.uses.append(
                Use(view.tensor, original, ordered, roles.get(axis, "rides"), node.output[0], kind)
            )
            known = self.view_labels.setdefault((name, axis), axes[axis])
            self.labels.tie(known, axes[axis], f"{title(node)} and another node share {view.tensor}")

    def _original_axis(self, view: View, axis: int) -> tuple[int, np.ndarray] | None:
        """The axis of the initializer along which the view's `axis` runs, and the position there of each of
        its positions; None when there is no such axis.
        """
        shape = self.graph.weights[view.tensor].shape
        # numpy 2.4.6 unravels an array of several axes wrongly beyond 8192 elements, and a flat one rightly
        coordinates = [c.reshape(view.index.shape) for c in np.unravel_index(view.index.reshape(-1), shape)]
        line = [np.moveaxis(c, axis, 0).reshape(view.index.shape[axis], -1) for c in coordinates]
        moving = [a for a, c in enumerate(line) if (c[:, 0] != c[0, 0]).any()]
        if len(moving) != 1:
            return None
        along = line[moving[0]]  # (length, rest)
        if len(along) != shape[moving[0]] or (along != along[:, :1]).any():
            return None
        return moving[0], along[:, 0]


def title(node: onnx.NodeProto) -> str:
    """How reasons name a node: its operator and what it makes."""
    return f"{node.op_type} {node.name or node.output[0]}"


def start(graph: Graph) -> Walk:
    """A walk that knows the graph's inputs and weights."""
    walk = Walk(graph, trace(graph))
    for name, array in graph.weights.items():
        walk.views[name] = View(name, np.arange(array.size, dtype=np.int64).reshape(array.shape))
    for value in graph.inputs:
        walk.values[value.name] = np.zeros((1,) * len(value.shape), dtype=np.int64)
    return walk


def settle(walk: Walk, needed: set[str]) -> None:
    """Ties until every value that is needed keeps a rectangular shape whatever is cut, and every weight is
    used alike by all of its users.
    """
    _agree_on_weights(walk)
    changed = True
    while changed:
        changed = False
        for name in sorted(needed & walk.values.keys()):
            changed |= _rectangular(walk, name)


def _agree_on_weights(walk: Walk) -> None:
    whole: dict[tuple[str, int], np.ndarray] = {}
    for use in walk.uses:
        known = whole.setdefault((use.tensor, use.axis), use.labels)
        walk.labels.tie(known, use.labels, f"{use.tensor} is used by more than one node")
    for (tensor, axis), labels in whole.items():
        if not all(axis in axes for axes in walk.used_axes[tensor]):
            walk.labels.fix(labels, f"{tensor} is also used whole, by another node")


def _rectangular(walk: Walk, name: str) -> bool:
    """One value: labels may change along one axis only. Ties along the others; the axis that leaves more
    units stays. True when something changed.
    """
    raw = walk.values[name]
    if not raw.any():
        return False
    found = walk.labels.free(raw)
    if not found.any():
        return False
    axes = varying(squeezed(found))
    one, other = walk.trace.first[name], walk.trace.second[name]
    if any(one[axis] != other[axis] for axis in axes):
        return walk.labels.fix(raw, f"{name} has its channels on one axis with the samples")
    if not axes:
        return walk.labels.fix(raw, f"all channels of {name} hang together: cutting one cuts all")
    if len(axes) == 1:
        return False
    stays = max(axes, key=lambda axis: (_parts(found, axis), raw.shape[axis]))
    slices = np.moveaxis(raw, stays, 0).reshape(raw.shape[stays], -1)
    why = f"{name} has its channels on {len(axes)} axes, and axis {stays} is the one that is cut"
    changed = walk.labels.tie(slices[:, :1], slices, why)
    return walk.labels.tie(slices, slices[:, :1], why) or changed


def _parts(found: np.ndarray, axis: int) -> int:
    """How many units are left along `axis` when each of its slices is tied to one."""
    slices = np.moveaxis(found, axis, 0).reshape(found.shape[axis], -1)
    scratch = Labels()
    own = scratch.fresh(len(slices))
    seen: dict[int, int] = {}
    for position, row in enumerate(slices):
        for label in np.unique(row).tolist():
            if label == KEPT:
                scratch.fix(own[position : position + 1], "kept")
            elif label in seen:
                scratch.tie(own[[position]], own[[seen[label]]], "shared")
            else:
                seen[label] = position
    return len(set(scratch.free(own).tolist()) - {KEPT})
