"""Layers with weights: convolutions, matrix products, embeddings, batch normalization."""

from __future__ import annotations

import numpy as np
import onnx

from edgepress_compression.graph.channels.labels import KEPT, on_axis, varying
from edgepress_compression.graph.channels.walk import Editor, Role, Rule, Walk, title


def convolution(walk: Walk, node: onnx.NodeProto) -> None:
    """Conv: weight (O, I / group, ...)."""
    settings = walk.attributes(node)
    group = int(str(settings.get("group", 1)))
    source, weight = node.input[0], node.input[1]
    read = walk.along(source, 1, node)
    made = walk.fresh(walk.dims(node.output[0])[1])
    if group == 1:
        walk.use(weight, {0: made, 1: read}, {0: "makes", 1: "reads"}, node)
    else:
        _grouped(walk, node, read, made, group, maker=0)
    _finish(walk, node, made)


def transposed_convolution(walk: Walk, node: onnx.NodeProto) -> None:
    """ConvTranspose: weight (I, O / group, ...)."""
    settings = walk.attributes(node)
    group = int(str(settings.get("group", 1)))
    source, weight = node.input[0], node.input[1]
    read = walk.along(source, 1, node)
    made = walk.fresh(walk.dims(node.output[0])[1])
    if group == 1:
        walk.use(weight, {0: read, 1: made}, {0: "reads", 1: "makes"}, node)
    else:
        _grouped(walk, node, read, made, group, maker=1)
    _finish(walk, node, made)


def _finish(walk: Walk, node: onnx.NodeProto, made: np.ndarray) -> None:
    if len(node.input) > 2 and node.input[2]:
        walk.use(node.input[2], {0: made}, {}, node)
    walk.made(node.output[0], 1, made)


def _grouped(
    walk: Walk,
    node: onnx.NodeProto,
    read: np.ndarray,
    made: np.ndarray,
    group: int,
    *,
    maker: int,
) -> None:
    """Either whole groups are cut (depthwise: every channel is its own), or the same positions in every
    group: whatever leaves more units.

    The weight's axis 0 runs over all channels of one side (outputs of Conv, inputs of ConvTranspose), its
    axis 1 over those of the other side within a group.
    """
    long, short = (made, read) if maker == 0 else (read, made)  # by axis 0 and axis 1 of the weight
    weight = node.input[1]
    by_group = (read.reshape(group, -1), made.reshape(group, -1))  # (group, channels of it)
    per_group = min(side.shape[1] for side in by_group)
    if per_group == 1 or group >= per_group:
        whole = np.concatenate(by_group, axis=1)
        why = f"{title(node)} computes each of its {group} groups from its own channels"
        walk.labels.tie(whole, by_group[0][:, :1], why)
        if not made.any():
            walk.labels.fix(read, f"{title(node)} makes a single channel")
        role: Role = "rides" if by_group[0].shape[1] == 1 else "makes"  # depthwise: a channel to itself
        walk.use(weight, {0: long}, {0: role}, node)

        def fewer_groups(editor: Editor) -> None:
            kept = editor.kept(node.input[0], 1).reshape(group, -1)[:, 0]
            editor.set_attribute("group", int(kept.sum()))

        walk.edits[node.output[0]] = fewer_groups
        return
    why = f"{title(node)} has {group} groups, which must stay equally wide"
    for side in by_group:
        walk.labels.tie(side, side[:1], why)
    walk.use(
        weight,
        {0: long, 1: short.reshape(group, -1)[0]},
        {0: "makes" if maker == 0 else "reads", 1: "reads" if maker == 0 else "makes"},
        node,
    )


def gemm(walk: Walk, node: onnx.NodeProto) -> None:
    """Gemm: activations (N, K) times weight (K, M), or (M, K) with transB."""
    settings = walk.attributes(node)
    source, weight = node.input[0], node.input[1]
    if weight not in walk.views or source in walk.views or settings.get("transA"):
        _not_followed(walk, node)
        return
    read = walk.along(source, 1, node)
    made = walk.fresh(walk.dims(node.output[0])[1])
    out, into = (0, 1) if settings.get("transB") else (1, 0)
    walk.use(weight, {out: made, into: read}, {out: "makes", into: "reads"}, node, kind="features")
    if len(node.input) > 2 and node.input[2]:
        bias = node.input[2]
        if bias in walk.views:
            shape = walk.dims(bias)
            if shape and shape[-1] == len(made):
                walk.use(bias, {len(shape) - 1: made}, {}, node, kind="features")
            else:
                walk.whole_use(bias)
        else:
            walk.labels.fix(made, f"{title(node)} adds {bias}, which the graph computes")
            walk.fix(bias, f"{title(node)} adds it to other features")
    walk.made(node.output[0], 1, made)


def matmul(walk: Walk, node: onnx.NodeProto) -> None:
    """MatMul by a matrix of weights on either side, or of two activations (attention)."""
    one, other = node.input[0], node.input[1]
    if min(len(walk.dims(one)), len(walk.dims(other))) < 2:
        _not_followed(walk, node)
    elif other in walk.views and one not in walk.views and len(walk.dims(other)) == 2:
        _times_weight(walk, node, source=one, weight=other, contracted=(-1, 0), makes=(-1, 1))
    elif one in walk.views and other not in walk.views and len(walk.dims(one)) == 2:
        _times_weight(walk, node, source=other, weight=one, contracted=(-2, 1), makes=(-2, 0))
    elif one not in walk.views and other not in walk.views:
        _product(walk, node)
    else:
        _not_followed(walk, node)


def _times_weight(
    walk: Walk,
    node: onnx.NodeProto,
    *,
    source: str,
    weight: str,
    contracted: tuple[int, int],
    makes: tuple[int, int],
) -> None:
    """`contracted`: axis of the source and of the weight; `makes`: axis of the output and of the weight."""
    out = node.output[0]
    rank, out_rank = len(walk.dims(source)), len(walk.dims(out))
    read = walk.along(source, rank + contracted[0], node)
    made = walk.fresh(walk.dims(out)[makes[0]])
    walk.use(
        weight,
        {makes[1]: made, contracted[1]: read},
        {makes[1]: "makes", contracted[1]: "reads"},
        node,
        kind="features",
    )
    walk.made(out, out_rank + makes[0], made)


def _product(walk: Walk, node: onnx.NodeProto) -> None:
    """A (..., M, K) times B (..., K, N), as in attention: scores, and weighted values.

    Where batch axes have labels they are heads: all of a head's K is one unit. Otherwise the terms of the sum
    over K are tied in pairs: a term is cut from both sides.
    """
    one, other = node.input[0], node.input[1]
    a, b = walk.of(one), walk.of(other)
    rank = len(walk.dims(node.output[0]))
    a = a.reshape((1,) * (rank - a.ndim) + a.shape)
    b = b.reshape((1,) * (rank - b.ndim) + b.shape)
    heads = any(axis < rank - 2 for axis in (*varying(a), *varying(b)))
    if not heads and (varying(a) == [rank - 1] or varying(b) == [rank - 2]):
        why = f"{title(node)} sums over the products of {one} and {other}"
        length = walk.dims(one)[-1]
        left, right = on_axis(a, rank - 1, length), on_axis(b, rank - 2, length)
        if left is None or right is None:
            _not_followed(walk, node)
            return
        walk.labels.tie(left, right, why)
        walk.put_plain(node)
        return
    if rank - 2 in varying(a) or (not heads and (rank - 1 in varying(a) or rank - 2 in varying(b))):
        _not_followed(walk, node)
        return
    if not heads:
        walk.put(node.output[0], b)
        return
    why = f"{title(node)} is the attention of one head"
    walk.labels.tie(a, a[..., :1], why)  # over K
    walk.labels.tie(b, b[..., :1, :], why)
    a, b = a[..., :1], b[..., :1, :]
    out = np.broadcast_to(b if b.any() else a, np.broadcast_shapes(a.shape, b.shape))
    for name in (one, other):
        dims = (1,) * (rank - len(walk.dims(name))) + walk.dims(name)
        if any(dims[axis] == 1 for axis in varying(out) if axis < rank - 2):
            _not_followed(walk, node)  # one key for the queries of several heads
            return
    walk.labels.tie(a, out, why)
    walk.labels.tie(b, out, why)
    walk.labels.heads.extend(np.unique(out[out != KEPT]).tolist())
    walk.put(node.output[0], np.array(out))


def gather(walk: Walk, node: onnx.NodeProto) -> None:
    """An embedding (rows of a table of weights), or constant positions of activations."""
    source, index = node.input[0], node.input[1]
    out = node.output[0]
    axis = int(str(walk.attributes(node).get("axis", 0))) % len(walk.dims(source))
    where = walk.trace.constant(index)
    if source in walk.views:
        if axis == 0 and len(walk.dims(source)) == 2:
            made = walk.fresh(walk.dims(source)[1])
            walk.use(source, {1: made}, {1: "makes"}, node, kind="features")
            walk.made(out, len(walk.dims(out)) - 1, made)
        else:
            walk.whole_use(source)
            walk.put_plain(node)
        return
    walk.whole_use(index)
    walk.fix(index, f"{title(node)} uses it as an index")
    labels = walk.of(source)
    if labels.shape[axis] == 1:
        dims = (1,) * len(walk.dims(index))
        walk.put(out, labels.reshape(labels.shape[:axis] + dims + labels.shape[axis + 1 :]))
        return
    if where is None or index in walk.sized:
        walk.fix(source, f"{title(node)} picks channels by an index that the graph computes")
        walk.put_plain(node)
        return
    walk.put(out, np.take(labels, where, axis=axis))

    def positions(editor: Editor) -> None:
        kept = editor.kept(source, axis)
        moved = np.cumsum(kept) - 1
        wanted = where % len(kept)
        if where.ndim == 1:
            wanted = wanted[kept[wanted]]
        editor.node.input[1] = editor.constant(moved[wanted].astype(np.int64))

    if where.ndim > 1:
        walk.fix(source, f"{title(node)} picks channels by a table of positions")
    walk.edits[out] = positions


def batch_normalization(walk: Walk, node: onnx.NodeProto) -> None:
    channels = walk.along(node.input[0], 1, node)
    for name in node.input[1:]:
        walk.use(name, {0: channels}, {}, node)
    walk.put_plain(node)
    walk.put(node.output[0], walk.of(node.input[0]))


def _not_followed(walk: Walk, node: onnx.NodeProto) -> None:
    for name in node.input:
        if name:
            walk.whole_use(name)
            walk.fix(name, f"{title(node)} multiplies in a way that is not followed")
    walk.put_plain(node)


RULES: dict[str, Rule] = {
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "Gather": gather,
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": batch_normalization,
}
