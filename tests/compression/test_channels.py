"""Channel groups: what is tied, what is fixed and why, and that a cut equals the masked model."""

from __future__ import annotations

import numpy as np
import pytest
from channels_oracle import Weights, check_cut, net, units, whole, why_fixed

from edgepress_compression.errors import GraphError
from edgepress_compression.graph import Graph
from edgepress_compression.graph.channels import channel_groups, cut

IMAGE = "float[N,3,8,8] x"
SCORES = "float[N,5] y"
HEAD = "p = GlobalAveragePool(last) f = Flatten(p) y = Gemm<transB=1>(f, fc, fcb)"


def classifier(body: str, weights: Weights, channels: int, *, opset: int = 13) -> Graph:
    """x (N, 3, 8, 8) -> `last` -> pooled -> 5 scores."""
    return net(IMAGE, SCORES, f"{body} {HEAD}", {**weights, "fc": (5, channels), "fcb": (5,)}, opset=opset)


CASES: dict[str, tuple[str, Weights, int, dict[str, int]]] = {
    "a convolution, its bias and the next one's inputs": (
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) last = Conv(r, w2, b2)",
        {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (8, 6, 1, 1), "b2": (8,)},
        8,
        {"w1": 6, "w2": 8},
    ),
    "batch normalization and PReLU ride along": (
        "a = Conv(x, w1) n = BatchNormalization(a, s, t, m, var) last = PRelu(n, slope)",
        {"w1": (6, 3, 3, 3), "s": (6,), "t": (6,), "m": (6,), "var": (6,), "slope": (6, 1, 1)},
        6,
        {"w1": 6},
    ),
    "a depthwise convolution follows the channels it works on": (
        "a = Conv(x, w1) d = Conv<group=6>(a, dw, db) last = Conv(d, w2)",
        {"w1": (6, 3, 1, 1), "dw": (6, 1, 3, 3), "db": (6,), "w2": (4, 6, 1, 1)},
        4,
        {"w1": 6, "w2": 4},
    ),
    "a depthwise convolution with two outputs a channel": (
        "a = Conv(x, w1) d = Conv<group=6>(a, dw, db) last = Conv(d, w2)",
        {"w1": (6, 3, 1, 1), "dw": (12, 1, 3, 3), "db": (12,), "w2": (4, 12, 1, 1)},
        4,
        {"w1": 6, "w2": 4},
    ),
    "few wide groups stay equally wide": (
        "a = Conv(x, w1) g = Conv<group=2>(a, gw, gb) last = Conv(g, w2)",
        {"w1": (8, 3, 1, 1), "gw": (12, 4, 3, 3), "gb": (12,), "w2": (4, 12, 1, 1)},
        4,
        {"w1": 4, "gw": 6, "w2": 4},
    ),
    "many narrow groups are cut whole": (
        "a = Conv(x, w1) g = Conv<group=6>(a, gw, gb) last = Conv(g, w2)",
        {"w1": (12, 3, 1, 1), "gw": (12, 2, 3, 3), "gb": (12,), "w2": (4, 12, 1, 1)},
        4,
        {"w1": 6, "w2": 4},
    ),
    "a transposed convolution": (
        "a = Conv(x, w1) t = ConvTranspose<strides=[2,2]>(a, tw, tb) last = Relu(t)",
        {"w1": (6, 3, 1, 1), "tw": (6, 8, 2, 2), "tb": (8,)},
        8,
        {"w1": 6, "tw": 8},
    ),
    "a depthwise transposed convolution": (
        "a = Conv(x, w1) t = ConvTranspose<group=6>(a, tw, tb) last = Relu(t)",
        {"w1": (6, 3, 1, 1), "tw": (6, 1, 2, 2), "tb": (6,)},
        6,
        {"w1": 6},
    ),
    "a residual sum ties both of its sides": (
        "a = Conv(x, w1, b1) b = Conv<pads=[1,1,1,1]>(a, w2, b2) last = Add(a, b)",
        {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (6, 6, 3, 3), "b2": (6,)},
        6,
        {"w1": 6},
    ),
    "a concatenation keeps its parts apart": (
        "a = Conv(x, w1) b = Conv(x, w2) c = Concat<axis=1>(a, b) last = Conv(c, w3)",
        {"w1": (6, 3, 1, 1), "w2": (4, 3, 1, 1), "w3": (5, 10, 1, 1)},
        5,
        {"w1": 6, "w2": 4, "w3": 5},
    ),
    "channels next to the image's own": (
        "a = Conv(x, w1) c = Concat<axis=1>(x, a) last = Conv(c, w2)",
        {"w1": (6, 3, 1, 1), "w2": (5, 9, 1, 1)},
        5,
        {"w1": 6, "w2": 5},
    ),
    "halves of a split that is not told its sizes": (
        "a = Conv(x, w1) l, r = Split<axis=1>(a) u = Relu(l) s = Conv(r, w2) last = Concat<axis=1>(u, s)",
        {"w1": (12, 3, 1, 1), "w2": (4, 6, 1, 1)},
        10,
        {"w1": 6, "w1[2]": 6, "w2": 4},
    ),
    "uneven parts of a split": (
        "a = Conv(x, w1) l, r = Split<axis=1>(a, sizes) last = Concat<axis=1>(r, l)",
        {"w1": (12, 3, 1, 1), "sizes": whole(4, 8)},
        12,
        {"w1": 12},
    ),
    "a slice and the rest": (
        "a = Conv(x, w1) l = Slice(a, i0, i4, i1) r = Slice(a, i4, far, i1) s = Conv(r, w2)"
        " last = Concat<axis=1>(l, s)",
        {"w1": (9, 3, 1, 1), "w2": (4, 5, 1, 1), "i0": whole(0), "i1": whole(1), "i4": whole(4),
         "far": whole(2**62)},
        8,
        {"w1": 4, "w1[2]": 5, "w2": 4},
    ),
    "every other channel becomes a Gather when it is cut": (
        "a = Conv(x, w1) l = Slice(a, i0, far, i1, i2) last = Conv(l, w2)",
        {"w1": (9, 3, 1, 1), "w2": (4, 5, 1, 1), "i0": whole(0), "i1": whole(1), "i2": whole(2),
         "far": whole(2**62)},
        4,
        {"w1": 5, "w1[2]": 4, "w2": 4},  # the second are made and never read
    ),
    "channels in reverse": (
        "a = Conv(x, w1) last = Slice(a, end, start, i1, back)",
        {"w1": (9, 3, 1, 1), "end": whole(-1), "start": whole(-(2**62)), "i1": whole(1), "back": whole(-1)},
        9,
        {"w1": 9},
    ),
    "a list of positions": (
        "a = Conv(x, w1) l = Gather<axis=1>(a, order) last = Conv(l, w2)",
        {"w1": (6, 3, 1, 1), "w2": (4, 4, 1, 1), "order": whole(5, 0, 3, -4)},
        4,
        {"w1": 4, "w1[2]": 2, "w2": 4},
    ),
    "a shortcut padded with zero channels (option A)": (
        "a = Conv(x, w1, b1) s = Slice(a, st, en, ax, by) q = Pad(s, pads)"
        " b = Conv<strides=[2,2],pads=[1,1,1,1]>(a, w2, b2) last = Add(q, b)",
        {"w1": (4, 3, 1, 1), "b1": (4,), "w2": (8, 4, 3, 3), "b2": (8,), "st": whole(0, 0),
         "en": whole(2**62, 2**62), "ax": whole(2, 3), "by": whole(2, 2),
         "pads": whole(0, 2, 0, 0, 0, 2, 0, 0)},
        8,
        {"w1": 4, "w2": 4},
    ),
    "squeeze and excite": (
        "a = Conv(x, w1) g = GlobalAveragePool(a) s = Conv(g, se1) t = Relu(s) e = Conv(t, se2)"
        " h = Sigmoid(e) last = Mul(a, h)",
        {"w1": (8, 3, 1, 1), "se1": (4, 8, 1, 1), "se2": (8, 4, 1, 1)},
        8,
        {"w1": 8, "se1": 4},
    ),
    "channels last and back": (
        "a = Conv(x, w1) t = Transpose<perm=[0,2,3,1]>(a) u = Add(t, bias)"
        " last = Transpose<perm=[0,3,1,2]>(u)",
        {"w1": (6, 3, 1, 1), "bias": (6,)},
        6,
        {"w1": 6},
    ),
    "depth to space ties a block": (
        "a = Conv(x, w1) d = DepthToSpace<blocksize=2>(a) last = Conv(d, w2)",
        {"w1": (24, 3, 1, 1), "w2": (4, 6, 1, 1)},
        4,
        {"w1": 6, "w2": 4},
    ),
    "space to depth reads a channel in four places": (
        "a = Conv(x, w1) d = SpaceToDepth<blocksize=2>(a) last = Conv(d, w2)",
        {"w1": (6, 3, 1, 1), "w2": (4, 24, 1, 1)},
        4,
        {"w1": 6, "w2": 4},
    ),
    "resized to given lengths": (
        'a = Conv(x, w1) r = Resize<mode="nearest">(a, , , sizes) last = Conv(r, w2)',
        {"w1": (6, 3, 1, 1), "w2": (4, 6, 1, 1), "sizes": whole(1, 6, 16, 16)},
        4,
        {"w1": 6, "w2": 4},
    ),
    "instance normalization works on each channel": (
        "a = Conv(x, w1) last = InstanceNormalization(a, s, t)",
        {"w1": (6, 3, 1, 1), "s": (6,), "t": (6,)},
        6,
        {"w1": 6},
    ),
    "a softmax over space": (
        "a = Conv(x, w1) m = Softmax<axis=3>(a) last = Conv(m, w2)",
        {"w1": (6, 3, 1, 1), "w2": (4, 6, 1, 1)},
        4,
        {"w1": 6, "w2": 4},
    ),
    "one weight for two branches": (
        "a = Conv(x, w1) m = MaxPool<kernel_shape=[1,1]>(x) b = Conv(m, w1) c = Add(a, b) last = Conv(c, w2)",
        {"w1": (6, 3, 1, 1), "w2": (4, 6, 1, 1)},
        4,
        {"w1": 6, "w2": 4},
    ),
    "a bias that is reshaped in the graph": (
        "a = Conv(x, w1) u = Reshape(bias, shape) s = Add(a, u) last = Conv(s, w2)",
        {"w1": (6, 3, 1, 1), "w2": (4, 6, 1, 1), "bias": (6,), "shape": whole(1, 6, 1, 1)},
        4,
        {"w1": 6, "w2": 4},
    ),
}  # fmt: skip
SOFT = {"a softmax over space", "squeeze and excite"}  # softmax and sigmoid make something of zero


@pytest.mark.parametrize("case", CASES)
def test_a_cut_equals_the_masked_model(case: str) -> None:
    body, weights, channels, expected = CASES[case]
    graph = classifier(body, weights, channels)
    for seed in range(3):
        groups = check_cut(graph, seed=seed, readers=case in SOFT)
    assert units(groups) == expected
    assert "output y" in why_fixed(groups, "fc")


def test_features_behind_a_flatten_are_read_at_every_position() -> None:
    body = "a = Conv(x, w1) r = Relu(a) f = Flatten(r) h = Gemm(f, w2, b2) t = Tanh(h) y = MatMul(t, w3)"
    weights = {"w1": (6, 3, 3, 3), "w2": (216, 10), "b2": (10,), "w3": (10, 5)}
    groups = check_cut(net(IMAGE, SCORES, body, weights))
    assert units(groups) == {"w1": 6, "w2": 10}
    reader = next(m for m in groups[0].members if m.role == "reads")
    assert (reader.tensor, reader.axis, reader.positions.shape) == ("w2", 0, (6, 36))
    assert [group.kind for group in groups] == ["channels", "features", "features"]


def test_a_weight_behind_a_transpose_is_cut_where_it_lies() -> None:
    body = "t = Transpose(w1) h = MatMul(x, t) s = Add(h, b) u = Cast<to=1>(w2) y = MatMul(s, u)"
    graph = net("float[N,7] x", SCORES, body, {"w1": (9, 7), "b": (1, 9), "w2": (9, 5)})
    assert units(check_cut(graph)) == {"w1": 9}


@pytest.mark.parametrize("batch", [0, -1])
def test_a_channel_shuffle_ties_nothing(batch: int) -> None:
    body = (
        "a = Conv(x, w1) s = Reshape(a, five) t = Transpose<perm=[0,2,1,3,4]>(s) u = Reshape(t, four)"
        " l, r = Split<axis=1>(u) c = Conv(r, w2) d = Concat<axis=1>(l, c) last = Conv(d, w3)"
    )
    weights = {"w1": (8, 3, 3, 3), "w2": (4, 4, 1, 1), "w3": (4, 8, 1, 1),
               "five": whole(batch, 2, 4, 6, 6), "four": whole(batch, 8, 6, 6)}  # fmt: skip
    graph = classifier(body, weights, 4)
    groups = check_cut(graph)
    assert units(groups) == {"w1": 4, "w1[2]": 4, "w2": 4, "w3": 4}
    assert next(g for g in groups if g.name == "w1").members[0].positions.ravel().tolist() == [0, 1, 4, 5]
    small = cut(graph, {"w1": np.array([True, False, True, True])})
    assert "Transpose" not in {node.op_type for node in small.proto.graph.node}
    untouched = cut(graph, {"w2": np.array([True, False, True, True])})
    assert "Transpose" in {node.op_type for node in untouched.proto.graph.node}


def test_halves_that_a_shuffle_deals_out_are_picked_by_one_gather() -> None:
    body = (
        "a = Conv(x, w1) s = Reshape(a, three) t = Transpose<perm=[1,0,2]>(s) u = Reshape(t, five)"
        " l = Gather<axis=0>(u, zero) r = Gather<axis=0>(u, one) c = Conv(r, w2)"
        " last = Concat<axis=1>(l, c)"
    )
    weights: Weights = {
        "w1": (8, 3, 3, 3), "w2": (4, 4, 1, 1), "three": whole(-1, 2, 36), "five": whole(2, -1, 4, 6, 6),
        "zero": np.array(0, dtype=np.int64), "one": np.array(1, dtype=np.int64),
    }  # fmt: skip
    graph = classifier(body, weights, 8)
    groups = check_cut(graph)
    assert units(groups) == {"w1": 4, "w1[2]": 4, "w2": 4}
    assert groups[0].members[0].positions.ravel().tolist() in ([0, 2, 4, 6], [1, 3, 5, 7])


def test_a_shuffle_that_something_else_looks_into_ties_its_halves() -> None:
    body = (
        "a = Conv(x, w1) s = Reshape(a, five) m = ReduceMean<axes=[1],keepdims=0>(s) v = Reshape(s, four)"
        " c = Concat<axis=1>(v, m) last = Conv(c, w2)"
    )
    weights = {
        "w1": (8, 3, 3, 3),
        "w2": (4, 12, 1, 1),
        "five": whole(0, 2, 4, 6, 6),
        "four": whole(0, 8, 6, 6),
    }
    groups = channel_groups(classifier(body, weights, 4))
    assert "averages over all of them" in why_fixed(groups, "w1")
    body = body.replace("ReduceMean<axes=[1],keepdims=0>(s)", "Identity(a)")
    weights["w2"] = (4, 16, 1, 1)
    assert units(check_cut(classifier(body, weights, 4))) == {"w1": 8, "w2": 4}


def test_channels_on_two_axes_are_tied_along_the_shorter_one() -> None:
    body = (
        "a = Conv(x, w1) s = Reshape(a, five) v = Relu(s) t = Transpose<perm=[0,2,1,3,4]>(v)"
        " last = Reshape(t, four)"
    )
    weights: Weights = {"w1": (8, 3, 3, 3), "five": whole(0, 2, 4, 6, 6), "four": whole(0, 8, 6, 6)}
    groups = check_cut(classifier(body, weights, 8))
    assert units(groups) == {"w1": 4}
    assert groups[0].members[0].positions.tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


SENTENCE = "int64[N,L] ids"


def attention(heads: int, size: int) -> tuple[str, Weights]:
    """A block on 12 features `e` (N, L, 12) -> `o`, whose target shapes are computed from the batch."""
    body = (
        "sh = Shape(ids) n0 = Gather(sh, zero) l0 = Gather(sh, one) n = Unsqueeze(n0, z1)"
        " l = Unsqueeze(l0, z1)"
        " split = Concat<axis=0>(n, l, hs) back = Concat<axis=0>(n, l, flat)"
        " q0 = MatMul(e, wq) q1 = Add(bq, q0) q2 = Reshape(q1, split) q = Transpose<perm=[0,2,1,3]>(q2)"
        " k0 = MatMul(e, wk) k1 = Add(bk, k0) k2 = Reshape(k1, split) k = Transpose<perm=[0,2,3,1]>(k2)"
        " v0 = MatMul(e, wv) v1 = Add(bv, v0) v2 = Reshape(v1, split) v = Transpose<perm=[0,2,1,3]>(v2)"
        " s0 = MatMul(q, k) s1 = Mul(s0, scale) s = Softmax<axis=-1>(s1) w = MatMul(s, v)"
        " w1 = Transpose<perm=[0,2,1,3]>(w) w2 = Reshape(w1, back) o0 = MatMul(w2, wo) o = Add(o0, bo)"
    )
    wide = heads * size
    weights: Weights = {
        "zero": np.array(0, dtype=np.int64), "one": np.array(1, dtype=np.int64), "z1": whole(0),
        "hs": whole(heads, size), "flat": whole(wide), "wq": (12, wide), "wk": (12, wide), "wv": (12, wide),
        "bq": (wide,), "bk": (wide,), "bv": (wide,), "wo": (wide, 12), "bo": (12,),
        "scale": np.array(0.5, dtype=np.float32),
    }  # fmt: skip
    return body, weights


def test_heads_of_attention_are_cut_with_query_key_value_and_output() -> None:
    body, weights = attention(4, 5)
    body = (
        "e0 = Gather(table, ids) m = ReduceMean<axes=[-1]>(e0) e = Sub(e0, m) "
        + body
        + " h0 = MatMul(o, f1) h = Relu(h0) y0 = MatMul(h, f2) y = ReduceMean<axes=[1],keepdims=0>(y0)"
    )
    weights |= {"table": (10, 12), "f1": (12, 20), "f2": (20, 5)}
    groups = check_cut(net(SENTENCE, SCORES, body, weights))
    heads = next(group for group in groups if group.kind == "heads")
    assert (heads.units, len(heads.members)) == (4, 7)
    assert {m.tensor: m.positions.shape for m in heads.members if m.axis == 1} == dict.fromkeys(
        ("wq", "wk", "wv"), (4, 5)
    )
    assert units(groups) == {"wq": 4, "f1": 20, "wo": 12}
    assert "averages over all of them" in why_fixed(groups, "table")


def test_features_of_one_head_are_cut_in_pairs() -> None:
    body = (
        "q = MatMul(x, wq) k0 = MatMul(x, wk) k = Transpose<perm=[0,2,1]>(k0) v = MatMul(x, wv)"
        " s0 = MatMul(q, k) s = Softmax<axis=-1>(s0) o = MatMul(s, v) y = MatMul(o, wo)"
    )
    weights = {"wq": (6, 8), "wk": (6, 8), "wv": (6, 7), "wo": (7, 4)}
    groups = check_cut(net("float[N,9,6] x", "float[N,9,4] y", body, weights))
    assert units(groups) == {"wq": 8, "wv": 7}
    assert "sums over the products" in groups[0].why[0]


FIXED: dict[str, tuple[str, Weights, str]] = {
    "an operator without a rule": (
        "a = Conv(x, w1) q = LRN<size=3>(a) last = Conv(q, w2)",
        {"w2": (4, 6, 1, 1)},
        "LRN q is an operator through which channels are not followed",
    ),
    "a softmax over the channels": (
        "a = Conv(x, w1) q = Softmax<axis=1>(a) last = Conv(q, w2)",
        {"w2": (4, 6, 1, 1)},
        "normalises over all of them",
    ),
    "a sum with what is never cut": (
        "a = Conv(x, w1) m = ReduceMax<axes=[2,3]>(x) t = Expand(m, s6) q = Concat<axis=1>(t, t)"
        " u = Add(a, q) last = Conv(u, w2)",
        {"w2": (4, 6, 1, 1), "s6": whole(1, 3, 1, 1)},
        "combines them with q, which is never cut",
    ),
    "a weight that the graph computes": (
        "a = Conv(x, w1) v = Mul(w2, w3) last = Conv(a, v)",
        {"w2": (4, 6, 1, 1), "w3": (4, 1, 1, 1)},
        "reads v, which is computed by the graph",
    ),
    "a weight that is a function of another": (
        "a = Conv(x, w1) v = Exp(w2) last = Conv(a, v)",
        {"w2": (4, 6, 1, 1)},
        "reads v, which is computed by the graph",
    ),
    "a count of channels in a computation": (
        "a = Conv(x, w1) s = Shape(a) c = Gather(s, one) k = Cast<to=1>(c) q = Div(a, k) last = Conv(q, w2)",
        {"w2": (4, 6, 1, 1), "one": np.array(1, dtype=np.int64)},
        "computes with how many there are",
    ),
    "a second user of the whole weight": (
        "a = Conv(x, w1) b = Conv(a, w2) m = ReduceSum(w1) last = Add(b, m)",
        {"w2": (4, 6, 1, 1)},
        "w1 is also used whole, by another node",
    ),
    "channels in rows with the samples": (
        "a = Conv(x, w1) q = Reshape(a, shape) v = Sigmoid(q) r = Reshape(v, back) last = Conv(r, w2)",
        {"w2": (4, 6, 1, 1), "shape": whole(-1, 36), "back": whole(-1, 6, 6, 6)},
        "q has its channels on one axis with the samples",
    ),
}


@pytest.mark.parametrize("case", FIXED)
def test_what_cannot_be_followed_is_fixed_with_the_reason(case: str) -> None:
    body, weights, reason = FIXED[case]
    groups = check_cut(classifier(body, {"w1": (6, 3, 3, 3), **weights}, 4), readers=True)
    assert reason in why_fixed(groups, "w1")


def test_the_original_stays_and_the_same_cut_gives_the_same_bytes() -> None:
    body, weights, channels, _ = CASES["a shortcut padded with zero channels (option A)"]
    graph = classifier(body, weights, channels)
    before = graph.serialize()
    kept = {"w1": np.array([True, False, True, True])}
    assert cut(graph, kept).serialize() == cut(graph, kept, channel_groups(graph)).serialize()
    assert graph.serialize() == before
    assert cut(graph, {}).serialize() == before


def test_groups_of_an_earlier_model_cut_newer_weights() -> None:
    body, weights, channels, _ = CASES["a convolution, its bias and the next one's inputs"]
    graph = classifier(body, weights, channels)
    groups = channel_groups(graph)
    newer = graph.copy()
    newer.set_weight("w1", graph.weights["w1"] + 1)
    kept = {"w1": np.array([True, False, True, True, True, False])}
    assert np.array_equal(cut(newer, kept, groups).weights["w1"], newer.weights["w1"][kept["w1"]])


def test_groups_of_another_model_are_not_used() -> None:
    body, weights, channels, _ = CASES["a convolution, its bias and the next one's inputs"]
    graph = classifier(body, weights, channels)
    groups = channel_groups(graph)
    small = cut(graph, {"w1": np.array([True, False, True, True, True, False])}, groups)
    again = cut(small, {"w1": np.array([True, False, True, True])}, groups)
    assert again.weights["w1"].shape == (3, 3, 3, 3)


def test_a_mask_that_cannot_be_is_refused_in_words() -> None:
    body, weights, channels, _ = CASES["a slice and the rest"]
    graph = classifier(body, weights, channels)
    groups = channel_groups(graph)
    everything = {"w1": np.zeros(4, dtype=bool)}
    assert groups.emptied(everything) == [("l", [("w1", i) for i in range(4)])]
    with pytest.raises(GraphError, match="l would have no channels left; keep at least one unit of w1"):
        cut(graph, everything)
    with pytest.raises(GraphError, match="There is no channel group nobody"):
        cut(graph, {"nobody": np.ones(3, dtype=bool)})
    with pytest.raises(GraphError, match="w1 takes 4 times yes or no"):
        cut(graph, {"w1": np.ones(9, dtype=bool)})
    with pytest.raises(GraphError, match="fc cannot be cut: they are the model's output y"):
        cut(graph, {"fc": np.array([True, False, True, True, True])})


def test_older_operator_sets_keep_their_attributes() -> None:
    body = (
        "a = Conv(x, w1) s = Slice<starts=[0],ends=[4],axes=[1]>(a)"
        ' q = Pad<pads=[0,1,0,0,0,1,0,0],mode="constant">(s) b = Conv(x, w2) u = Add(q, b)'
        " l, r = Split<axis=1,split=[2,4]>(u) last = Concat<axis=1>(r, l)"
    )
    graph = classifier(body, {"w1": (6, 3, 1, 1), "w2": (6, 3, 1, 1)}, 6, opset=9)
    groups = check_cut(graph)
    assert sum(units(groups).values()) == 8  # 4 tied, 2 of the padding, 2 that nobody reads
