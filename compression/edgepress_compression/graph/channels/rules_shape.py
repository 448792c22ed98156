"""Operators that move numbers and compute none: reshape, transpose, concat, split, slice, pad."""

from __future__ import annotations

import numpy as np
import onnx

from edgepress_compression.graph.channels.labels import varying
from edgepress_compression.graph.channels.walk import Editor, Rule, View, Walk, title


def setting(walk: Walk, node: onnx.NodeProto, position: int, attribute: str) -> np.ndarray | None:
    """(n,) integers that newer operator sets give as an input and older ones as an attribute; None where they
    are absent or follow the batch.
    """
    if position < len(node.input) and node.input[position]:
        found = walk.trace.constant(node.input[position])
        return None if found is None else found.reshape(-1)
    given = walk.attributes(node).get(attribute)
    return None if given is None else np.atleast_1d(np.asarray(given, dtype=np.int64))


def full(walk: Walk, name: str) -> np.ndarray:
    """Labels in the value's whole shape."""
    return np.broadcast_to(walk.of(name), walk.dims(name))


def reshape(walk: Walk, node: onnx.NodeProto) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same numbers in the same order."""
    source, out = node.input[0], node.output[0]
    dims = walk.dims(out)
    view = walk.views.get(source)
    if view is not None:
        walk.views[out] = View(view.tensor, view.index.reshape(dims))
    elif walk.of(source).any():
        walk.put(out, full(walk, source).reshape(dims))
    else:
        walk.put_plain(node)
    if node.op_type != "Reshape":
        return
    plan = _expressible(walk, source, out)
    if plan is None:
        if view is None:
            walk.fix(source, f"{title(node)} computes more than one length from the batch")
        else:
            walk.whole_use(source)
        return

    def shorter(editor: Editor) -> None:
        sizes = [
            keep if keep is not None else int(editor.kept(out, axis).sum()) for axis, keep in enumerate(plan)
        ]
        editor.node.input[1] = editor.constant(np.array(sizes, dtype=np.int64))
        editor.set_attribute("allowzero", None)

    walk.edits[out] = shorter


def _expressible(walk: Walk, source: str, out: str) -> list[int | None] | None:
    """A target shape with 0 (as in the input) or -1 for lengths that follow the batch and None for those that
    do not; None when it takes more than one -1.
    """
    one, other = walk.trace.first, walk.trace.second
    plan: list[int | None] = []
    for axis, (length, elsewhere) in enumerate(zip(one[out], other[out], strict=True)):
        if length == elsewhere:
            plan.append(None)
        elif axis < len(one[source]) and (one[source][axis], other[source][axis]) == (length, elsewhere):
            plan.append(0)
        else:
            plan.append(-1)
    return plan if plan.count(-1) <= 1 else None


def transpose(walk: Walk, node: onnx.NodeProto) -> None:
    source, out = node.input[0], node.output[0]
    rank = len(walk.dims(source))
    given = walk.attributes(node).get("perm")
    order = list(range(rank))[::-1] if given is None else [int(axis) for axis in np.asarray(given)]
    view = walk.views.get(source)
    if view is not None:
        walk.views[out] = View(view.tensor, view.index.transpose(order))
    else:
        walk.put(out, walk.of(source).transpose(order))


def concat(walk: Walk, node: onnx.NodeProto) -> None:
    out = node.output[0]
    rank = len(walk.dims(out))
    axis = int(str(walk.attributes(node).get("axis", 0))) % rank
    for name in node.input:
        walk.whole_use(name)
    labels = [walk.of(name) for name in node.input]
    if not any(one.any() for one in labels):
        walk.put_plain(node)
        return
    shape = list(np.broadcast_shapes(*((*one.shape[:axis], 1, *one.shape[axis + 1 :]) for one in labels)))
    parts = []
    for name, one in zip(node.input, labels, strict=True):
        shape[axis] = walk.dims(name)[axis]
        parts.append(np.broadcast_to(one, shape))
    walk.put(out, np.concatenate(parts, axis=axis))


def split(walk: Walk, node: onnx.NodeProto) -> None:
    source = node.input[0]
    labels = walk.of(source)
    axis = int(str(walk.attributes(node).get("axis", 0))) % labels.ndim
    walk.whole_use(source)
    if labels.shape[axis] == 1:
        for name in node.output:
            walk.put(name, labels)
        return
    ends = np.cumsum([walk.dims(name)[axis] for name in node.output])
    for name, end in zip(node.output, ends, strict=True):
        walk.put(name, np.take(labels, np.arange(end - walk.dims(name)[axis], end), axis=axis))

    def sizes(editor: Editor) -> None:
        lengths = np.array([editor.kept(name, axis).sum() for name in node.output], dtype=np.int64)
        if walk.graph.opset < 13:
            editor.set_attribute("split", lengths.tolist())
            return
        editor.set_attribute("num_outputs", None)
        del editor.node.input[1:]
        editor.node.input.append(editor.constant(lengths))

    walk.edits[node.output[0]] = sizes


def slice_(walk: Walk, node: onnx.NodeProto) -> None:
    """Along an axis of channels: the positions that remain. A slice with steps becomes a Gather when it is
    cut.
    """
    source, out = node.input[0], node.output[0]
    walk.whole_use(source)
    labels = walk.of(source)
    channels = varying(labels)
    starts, ends = setting(walk, node, 1, "starts"), setting(walk, node, 2, "ends")
    count = walk.dims(node.input[1])[0] if walk.graph.opset >= 10 else (0 if starts is None else len(starts))
    axes = setting(walk, node, 3, "axes") if _given(node, 3) else None
    if walk.graph.opset < 10:
        axes = setting(walk, node, 3, "axes")
    if axes is None and not _given(node, 3):
        axes = np.arange(count)
    axes = None if axes is None else axes % labels.ndim
    if axes is not None and not set(axes.tolist()) & set(channels):
        walk.put(out, labels)
        return
    steps = setting(walk, node, 4, "steps") if _given(node, 4) else np.ones(count, dtype=np.int64)
    if starts is None or ends is None or axes is None or steps is None:
        walk.fix(source, f"{title(node)} cuts pieces whose place the graph computes")
        walk.put_plain(node)
        return
    strided = any(abs(step) > 1 for axis, step in zip(axes, steps, strict=True) if axis in channels)
    if strided and count > 1:
        walk.fix(source, f"{title(node)} takes every nth channel and cuts along another axis, too")
        walk.put_plain(node)
        return
    taken = {
        int(axis): _taken(walk.dims(source)[axis], int(start), int(end), int(step))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
        if axis in channels
    }
    for axis, places in taken.items():
        labels = np.take(labels, places, axis=axis)
    walk.put(out, labels)

    def remaining(editor: Editor) -> None:
        begin, end = starts.copy(), ends.copy()
        for position, axis in enumerate(axes.tolist()):
            if axis not in taken:
                continue
            kept = editor.kept(source, axis)
            places = (np.cumsum(kept) - 1)[taken[axis][kept[taken[axis]]]]
            if strided:
                editor.replace("Gather", [source, editor.constant(places.astype(np.int64))], axis=axis)
                return
            past = int(places[-1] + steps[position])
            begin[position], end[position] = places[0], past if past >= 0 else np.iinfo(np.int64).min
        if walk.graph.opset < 10:
            editor.set_attribute("starts", begin.tolist())
            editor.set_attribute("ends", end.tolist())
        else:
            editor.node.input[1] = editor.constant(begin.astype(np.int64))
            editor.node.input[2] = editor.constant(end.astype(np.int64))
            if _given(node, 3):
                editor.node.input[3] = editor.constant(axes.astype(np.int64))
            if _given(node, 4):
                editor.node.input[4] = editor.constant(steps.astype(np.int64))

    walk.edits[out] = remaining


def _given(node: onnx.NodeProto, position: int) -> bool:
    return position < len(node.input) and bool(node.input[position])


def _taken(length: int, start: int, end: int, step: int) -> np.ndarray:
    """Positions that a slice takes: negative numbers count from the end, what lies outside is clamped."""
    first, last = (n + length if n < 0 else n for n in (start, end))
    if step > 0:
        return np.arange(min(max(first, 0), length), min(max(last, 0), length), step)
    return np.arange(min(max(first, -1), length - 1), min(max(last, -1), length - 1), step)


def pad(walk: Walk, node: onnx.NodeProto) -> None:
    """Padding along the channels, as in the shortcuts of ResNets on CIFAR-10 (He et al. 2016, option A),
    makes channels of its own.

    Those of the input stay tied to the same channels of the output: were they apart, a channel whose makers
    are 0 would still hold what the shortcut brings, and cutting it would change the model.
    """
    source, out = node.input[0], node.output[0]
    for name in node.input:
        walk.whole_use(name)
    labels = walk.of(source)
    rank = labels.ndim
    longer = [axis for axis in varying(labels) if walk.dims(source)[axis] != walk.dims(out)[axis]]
    walk.put(out, labels)
    mode = str(walk.attributes(node).get("mode", "constant"))
    if not longer and (mode == "constant" or not varying(labels)):
        return
    amounts = setting(walk, node, 1, "pads")
    axes = setting(walk, node, 3, "axes") if _given(node, 3) else np.arange(rank)
    if amounts is None or axes is None or len(longer) != 1 or mode != "constant":
        walk.fix(source, f"{title(node)} pads channels in a way that is not followed")
        walk.put_plain(node)
        return
    axis = longer[0]
    at = (axes % rank).tolist().index(axis)
    first, last = int(amounts[at]), int(amounts[at + len(axes)])
    if min(first, last) < 0:
        walk.fix(source, f"{title(node)} takes some of them off")
        walk.put_plain(node)
        return
    sides = []
    for count in (first, last):
        line, shape = [1] * rank, list(labels.shape)
        line[axis] = shape[axis] = count
        sides.append(np.broadcast_to(walk.labels.fresh(count).reshape(line), shape))
    walk.put(out, np.concatenate([sides[0], labels, sides[1]], axis=axis))

    def fewer(editor: Editor) -> None:
        kept = editor.kept(out, axis)
        now = amounts.copy()
        now[at], now[at + len(axes)] = kept[:first].sum(), kept[len(kept) - last :].sum()
        if walk.graph.opset < 11:
            editor.set_attribute("pads", now.tolist())
        else:
            editor.node.input[1] = editor.constant(now)

    walk.edits[out] = fewer


def expand(walk: Walk, node: onnx.NodeProto) -> None:
    source, out = node.input[0], node.output[0]
    walk.whole_use(source)
    labels = walk.of(source)
    rank = len(walk.dims(out))
    labels = labels.reshape((1,) * (rank - labels.ndim) + labels.shape)
    walk.put(out, labels)
    axes = varying(labels)
    if not axes:
        return
    lengths = walk.trace.whole.get(node.input[1])
    if lengths is None or any(lengths[0][axis] not in (1, walk.dims(out)[axis]) for axis in axes):
        walk.fix(source, f"{title(node)} repeats them to a length that the graph computes")
        return
    one, other = walk.trace.first[out], walk.trace.second[out]
    dynamic = [axis for axis in range(rank) if one[axis] != other[axis]]
    size = (1,) * (rank - len(walk.dims(source))) + walk.dims(source)
    second = (1,) * (rank - len(walk.dims(source))) + walk.trace.second[source]
    if any((size[axis], second[axis]) != (one[axis], other[axis]) for axis in dynamic):
        walk.fix(source, f"{title(node)} repeats them by a length that follows the batch")
        return

    def shorter(editor: Editor) -> None:
        now = [1 if axis in dynamic else int(editor.kept(out, axis).sum()) for axis in range(rank)]
        editor.node.input[1] = editor.constant(np.array(now, dtype=np.int64))

    walk.edits[out] = shorter


def blocks(walk: Walk, node: onnx.NodeProto) -> None:
    """DepthToSpace and SpaceToDepth (N, C, H, W): the channels of a block are tied."""
    source, out = node.input[0], node.output[0]
    settings = walk.attributes(node)
    size = int(str(settings["blocksize"]))
    walk.whole_use(source)
    if not walk.of(source).any():
        walk.put_plain(node)
        return
    labels = full(walk, source)
    n, c, h, w = labels.shape
    if node.op_type == "SpaceToDepth":
        moved = labels.reshape(n, c, h // size, size, w // size, size).transpose(0, 3, 5, 1, 2, 4)
    elif settings.get("mode", "DCR") == "CRD":
        moved = labels.reshape(n, c // size**2, size, size, h, w).transpose(0, 1, 4, 2, 5, 3)
    else:
        moved = labels.reshape(n, size, size, c // size**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    walk.put(out, moved.reshape(walk.dims(out)))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), reshape),
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "Expand": expand,
    "DepthToSpace": blocks,
    "SpaceToDepth": blocks,
}
