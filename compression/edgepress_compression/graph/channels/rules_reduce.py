"""Operators that compute over several positions: pools, means, softmax, resizing."""

from __future__ import annotations

import numpy as np
import onnx

from edgepress_compression.graph.channels.labels import varying
from edgepress_compression.graph.channels.walk import Editor, Rule, Walk, title

# fmt: off
POOLS = (
    "AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool",
)
# fmt: on
# fmt: off
REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare", "ArgMax", "ArgMin",
)
# fmt: on
# fmt: off
NORMALISATIONS = (
    "Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "LayerNormalization", "RMSNormalization",
    "CumSum",
)
# fmt: on


def pool(walk: Walk, node: onnx.NodeProto) -> None:
    """Works on each channel (axis 1) by itself."""
    channels = walk.along(node.input[0], 1, node)
    walk.put_plain(node)
    for name in node.output:
        if name:
            walk.made(name, 1, channels)


def reduction(walk: Walk, node: onnx.NodeProto) -> None:
    """Sums, means and the like over some axes; channels on those axes cannot be cut."""
    source = node.input[0]
    settings = walk.attributes(node)
    rank = len(walk.dims(source))
    given = settings.get("axis" if node.op_type.startswith("Arg") else "axes")
    if node.op_type.startswith("Arg"):
        given = 0 if given is None else given
    if len(node.input) > 1 and node.input[1]:
        constant = walk.trace.constant(node.input[1])
        given = list(range(rank)) if constant is None else constant.reshape(-1).tolist()
    if given is None or (isinstance(given, list) and not given):
        given = [] if settings.get("noop_with_empty_axes") else list(range(rank))
    axes = sorted(int(axis) % rank for axis in np.atleast_1d(np.asarray(given, dtype=np.int64)))
    walk.whole_use(source)
    labels = walk.of(source)
    if set(axes) & set(varying(labels)):
        what = "averages" if node.op_type == "ReduceMean" else "computes one number"
        walk.fix(source, f"{title(node)} {what} over all of them, so cutting one would change the others")
        walk.put_plain(node)
        return
    if not int(str(settings.get("keepdims", 1))):
        labels = np.squeeze(labels, axis=tuple(axes))
    walk.put(node.output[0], labels)


def normalisation(walk: Walk, node: onnx.NodeProto) -> None:
    """Every result depends on all numbers along an axis (or, for some, along all axes from there)."""
    source = node.input[0]
    settings = walk.attributes(node)
    rank = len(walk.dims(source))
    old_softmax = node.op_type in ("Softmax", "LogSoftmax", "Hardmax") and walk.graph.opset < 13
    axis = int(str(settings.get("axis", 1 if old_softmax else -1))) % rank
    trailing = old_softmax or node.op_type in ("LayerNormalization", "RMSNormalization")
    axes = set(range(axis, rank)) if trailing else {axis}
    if node.op_type == "CumSum":
        axes = set(range(rank))
    labels = walk.of(source)
    walk.put_plain(node)
    for name in node.input:
        walk.whole_use(name)
    if axes & set(varying(labels)):
        walk.fix(source, f"{title(node)} normalises over all of them, so cutting one would change the others")
    else:
        walk.put(node.output[0], labels)


def resize(walk: Walk, node: onnx.NodeProto) -> None:
    """Resize and Upsample: along axes that keep their length, channels stay themselves."""
    source, out = node.input[0], node.output[0]
    walk.whole_use(source)
    labels = walk.of(source)
    axes = varying(labels)
    sizes = node.input[3] if len(node.input) > 3 and node.input[3] else None
    wanted = None if sizes is None else walk.trace.constant(sizes)
    moved = any(walk.dims(source)[axis] != walk.dims(out)[axis] for axis in axes)
    cropped = str(walk.attributes(node).get("coordinate_transformation_mode", "")) == "tf_crop_and_resize"
    subset = walk.attributes(node).get("axes")
    if moved or cropped or (axes and sizes is not None and (wanted is None or subset is not None)):
        walk.fix(source, f"{title(node)} resizes along them or by a computed size")
        walk.put_plain(node)
        return
    walk.put(out, labels)
    if axes and sizes is not None and wanted is not None:
        before = wanted.copy()

        def shorter(editor: Editor) -> None:
            now = before.copy()
            for axis in axes:
                now[axis] = editor.kept(out, axis).sum()
            editor.node.input[3] = editor.constant(now)

        walk.edits[out] = shorter


RULES: dict[str, Rule] = {
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(NORMALISATIONS, normalisation),
    "Resize": resize,
    "Upsample": resize,
}
