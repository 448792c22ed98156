"""Shapes as values: a length that follows a cut must not reach a computation.

`Walk.sized` remembers, for every element of a value that Shape computes, the labels whose cut would change
it. Such a value may end where a rule writes the lengths anew (the target shape of a Reshape) and nowhere
else.
"""

from __future__ import annotations

import numpy as np
import onnx

from edgepress_compression.graph.channels.walk import Walk, title

_PICKS = {"Gather", "Slice"}


def shape(walk: Walk, node: onnx.NodeProto) -> None:
    """Shape: one element an axis."""
    source, out = node.input[0], node.output[0]
    walk.whole_use(source)
    walk.put_plain(node)
    labels = walk.of(source)
    settings = walk.attributes(node)
    found = []
    for axis in range(labels.ndim):
        found.append([labels] if labels.shape[axis] > 1 else [])
    first = settings.get("start", 0)
    last = settings.get("end")
    found = found[int(str(first)) : None if last is None else int(str(last))]
    if any(found):
        walk.sized[out] = found


def size(walk: Walk, node: onnx.NodeProto) -> None:
    """Size: the product of all lengths."""
    walk.whole_use(node.input[0])
    walk.put_plain(node)
    labels = walk.of(node.input[0])
    if labels.any():
        walk.sized[node.output[0]] = [[labels]]


def follow(walk: Walk, node: onnx.NodeProto) -> None:
    """After a node's own rule: what happens to lengths that it reads."""
    for position, name in enumerate(node.input):
        lengths = walk.sized.get(name)
        if not lengths or (position > 0 and node.output[0] in walk.edits):
            continue
        if position == 0 and node.op_type in _PICKS and name in walk.trace.whole:
            rest = [walk.trace.constant(other) for other in node.input[1:]]
            if node.op_type == "Gather" and rest[0] is not None:
                lengths = [lengths[int(i)] for i in rest[0].reshape(-1)]
            _add(walk, node, lengths)
        elif all(out in walk.trace.whole for out in node.output if out) and node.op_type not in ("Expand",):
            _add(walk, node, [[label for element in lengths for label in element]])
        else:
            for label in (label for element in lengths for label in element):
                walk.labels.fix(label, f"{title(node)} computes with how many there are")


def _add(walk: Walk, node: onnx.NodeProto, lengths: list[list[np.ndarray]]) -> None:
    if not any(lengths):
        return
    for name in node.output:
        if name:
            count = int(np.prod(walk.dims(name)))
            spread = lengths if len(lengths) == count else [[x for one in lengths for x in one]] * count
            known = walk.sized.get(name)
            walk.sized[name] = [a + b for a, b in zip(known, spread, strict=True)] if known else spread
