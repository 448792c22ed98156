"""Every operator of the executor gives what onnxruntime gives; a table row is a node and its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_models import normal, one_node

from edgepress_compression.executor import Executor
from edgepress_compression.executor.operators import OPERATORS
from edgepress_compression.graph.model import Graph

torch.set_num_threads(1)
RNG = np.random.default_rng(1)
IMAGE = normal(RNG, 2, 3, 9, 8)
SMALL = normal(RNG, 2, 4, 5)
LINE = normal(RNG, 2, 3, 11)
BLOCK = normal(RNG, 1, 2, 5, 6, 4)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def row(name: str, op_type: str, inputs: list[np.ndarray], **options: Any) -> Any:
    """Inputs become x0, x1...; `constants` by name follow them."""
    return pytest.param(op_type, {f"x{i}": array for i, array in enumerate(inputs)}, options, id=name)


UNARY = [
    row(f"{op} in operator set {opset}", op, [data], opset=opset)
    for op, data, opset in [
        *(
            (op, SMALL, 13)
            for op in [
                "Abs",
                "Ceil",
                "Cos",
                "Erf",
                "Exp",
                "Floor",
                "Identity",
                "IsNaN",
                "Neg",
                "Relu",
                "Sigmoid",
                "Sign",
                "Sin",
            ]
        ),
        *(
            (op, SMALL, 13)
            for op in ["Softplus", "Softsign", "Tanh", "LeakyRelu", "Elu", "Celu", "Selu", "HardSigmoid"]
        ),
        *((op, np.abs(SMALL) + 0.1, 13) for op in ["Log", "Sqrt", "Reciprocal"]),
        *((op, SMALL, 13) for op in ["ThresholdedRelu", "Shape", "Size", "Flatten", "Transpose"]),
        ("Round", np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.3]], np.float32), 13),
        ("HardSwish", SMALL, 14),
        ("Mish", SMALL, 18),
        ("Gelu", SMALL, 20),
        ("GlobalAveragePool", IMAGE, 13),
        ("GlobalMaxPool", IMAGE, 13),
        ("Softmax", SMALL, 13),
        ("Softmax", SMALL, 11),
        ("LogSoftmax", SMALL, 13),
        ("LogSoftmax", SMALL, 11),
        ("Not", SMALL > 0, 13),
        *(
            (f"Reduce{kind}", SMALL, 13)
            for kind in ["Mean", "Sum", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp", "Prod"]
        ),
        ("ReduceLogSum", np.abs(SMALL) + 0.1, 13),
        ("ArgMax", SMALL, 13),
        ("ArgMin", SMALL, 13),
    ]
]
BINARY = [
    row(f"{op} broadcasts", op, [SMALL, normal(RNG, 4, 1)])
    for op in [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Min",
        "Max",
        "Sum",
        "Mean",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
    ]
] + [row(op, op, [SMALL > 0, SMALL > 0.5]) for op in ["And", "Or", "Xor"]]

CASES = [
    *UNARY,
    *BINARY,
    row("Equal of integers", "Equal", [i64(1, 2, 3), i64(1, 0, 3)]),
    row("integer division truncates towards zero", "Div", [i64(-7, 7, 5), i64(2, -2, 3)]),
    row("Mod of integers takes the divisor's sign", "Mod", [i64(-7, 7, 5), i64(3, -3, 3)]),
    row("Mod of floats takes the dividend's sign", "Mod", [SMALL, np.full((1,), 0.4, np.float32)], fmod=1),
    row("Pow with a constant exponent", "Pow", [SMALL], constants={"e": np.float32(2)}),
    row("Pow with a tensor of exponents", "Pow", [np.abs(SMALL), normal(RNG, 4, 5)]),
    row("Where", "Where", [SMALL > 0, SMALL, normal(RNG, 1, 5)]),
    row("Cast to integers", "Cast", [SMALL * 3], to=7),
    row("Cast to bool", "Cast", [np.round(SMALL)], to=9),
    row("CastLike", "CastLike", [SMALL, i64(1)], opset=15),
    row("PRelu", "PRelu", [SMALL], constants={"slope": normal(RNG, 4, 1)}),
    row("Clip by inputs", "Clip", [SMALL], constants={"low": np.float32(-0.5), "high": np.float32(0.5)}),
    row("Clip from below only", "Clip", [SMALL], constants={"low": np.float32(0.0)}),
    row(
        "Clip from above only", "Clip", [SMALL], constants={"high": np.float32(0.5)}, order=["x0", "", "high"]
    ),
    row("Clip by attributes", "Clip", [SMALL], opset=10, min=-0.5, max=0.5),
    row("Gelu by tanh", "Gelu", [SMALL], opset=20, approximate="tanh"),
    row("Gelu of onnxruntime", "Gelu", [SMALL], domain="com.microsoft"),
    row("QuickGelu of onnxruntime", "QuickGelu", [SMALL], domain="com.microsoft"),
    row("Softmax along an axis", "Softmax", [SMALL], axis=1),
    # convolution
    row("Conv", "Conv", [IMAGE], constants={"w": normal(RNG, 4, 3, 3, 3), "b": normal(RNG, 4)}),
    row(
        "Conv with strides and pads",
        "Conv",
        [IMAGE],
        constants={"w": normal(RNG, 4, 3, 3, 3)},
        strides=[2, 1],
        pads=[1, 2, 1, 2],
    ),
    row(
        "Conv with uneven pads", "Conv", [IMAGE], constants={"w": normal(RNG, 4, 3, 3, 3)}, pads=[0, 1, 2, 0]
    ),
    row("Conv with dilations", "Conv", [IMAGE], constants={"w": normal(RNG, 4, 3, 3, 3)}, dilations=[2, 2]),
    row("depthwise Conv", "Conv", [IMAGE], constants={"w": normal(RNG, 6, 1, 3, 3)}, group=3),
    row(
        "Conv SAME_UPPER",
        "Conv",
        [IMAGE],
        constants={"w": normal(RNG, 4, 3, 4, 3)},
        auto_pad="SAME_UPPER",
        strides=[2, 2],
    ),
    row("Conv SAME_LOWER", "Conv", [IMAGE], constants={"w": normal(RNG, 4, 3, 4, 3)}, auto_pad="SAME_LOWER"),
    row("Conv VALID", "Conv", [IMAGE], constants={"w": normal(RNG, 4, 3, 3, 3)}, auto_pad="VALID"),
    row("Conv in one dimension", "Conv", [LINE], constants={"w": normal(RNG, 4, 3, 3)}, pads=[1, 1]),
    row("Conv in three dimensions", "Conv", [BLOCK], constants={"w": normal(RNG, 3, 2, 2, 2, 2)}),
    row(
        "ConvTranspose",
        "ConvTranspose",
        [IMAGE],
        constants={"w": normal(RNG, 3, 4, 3, 3), "b": normal(RNG, 4)},
        strides=[2, 2],
    ),
    row(
        "ConvTranspose with pads",
        "ConvTranspose",
        [IMAGE],
        constants={"w": normal(RNG, 3, 4, 3, 3)},
        strides=[2, 2],
        pads=[1, 0, 0, 1],
        output_padding=[1, 1],
    ),
    row(
        "ConvTranspose in groups", "ConvTranspose", [IMAGE], constants={"w": normal(RNG, 3, 2, 3, 3)}, group=3
    ),
    row(
        "ConvTranspose to a shape",
        "ConvTranspose",
        [IMAGE],
        constants={"w": normal(RNG, 3, 4, 3, 3)},
        strides=[2, 2],
        output_shape=[18, 17],
    ),
    row(
        "ConvTranspose SAME_UPPER",
        "ConvTranspose",
        [IMAGE],
        constants={"w": normal(RNG, 3, 4, 3, 3)},
        strides=[2, 2],
        auto_pad="SAME_UPPER",
    ),
    # pooling
    row("MaxPool", "MaxPool", [IMAGE], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    row("MaxPool ceil_mode", "MaxPool", [IMAGE], kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1),
    row(
        "MaxPool ceil_mode with pads",
        "MaxPool",
        [IMAGE],
        kernel_shape=[2, 2],
        strides=[3, 3],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
    ),
    row("MaxPool with dilations", "MaxPool", [IMAGE], kernel_shape=[2, 2], dilations=[2, 3]),
    row("MaxPool in one dimension", "MaxPool", [LINE], kernel_shape=[3], strides=[2]),
    row("AveragePool", "AveragePool", [IMAGE], kernel_shape=[3, 2], strides=[2, 2]),
    row("AveragePool leaves padding out", "AveragePool", [IMAGE], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    row(
        "AveragePool counts padding",
        "AveragePool",
        [IMAGE],
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        count_include_pad=1,
    ),
    row("AveragePool ceil_mode", "AveragePool", [IMAGE], kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1),
    row(
        "AveragePool ceil_mode counts padding",
        "AveragePool",
        [IMAGE],
        kernel_shape=[3, 3],
        strides=[2, 3],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
        count_include_pad=1,
        opset=19,
    ),
    row(
        "AveragePool SAME_UPPER",
        "AveragePool",
        [IMAGE],
        kernel_shape=[4, 3],
        strides=[2, 2],
        auto_pad="SAME_UPPER",
    ),
    # matrices
    row(
        "Gemm", "Gemm", [normal(RNG, 3, 5)], constants={"b": normal(RNG, 4, 5), "c": normal(RNG, 4)}, transB=1
    ),
    row(
        "Gemm with everything",
        "Gemm",
        [normal(RNG, 5, 3)],
        constants={"b": normal(RNG, 5, 4), "c": normal(RNG, 3, 1)},
        transA=1,
        alpha=0.5,
        beta=2.0,
    ),
    row("MatMul of stacks", "MatMul", [normal(RNG, 2, 3, 4, 5), normal(RNG, 3, 5, 2)]),
    row("Einsum", "Einsum", [normal(RNG, 2, 3, 4), normal(RNG, 2, 4, 5)], equation="bij,bjk->bik"),
    # normalization
    row(
        "BatchNormalization",
        "BatchNormalization",
        [IMAGE],
        constants={
            "s": normal(RNG, 3),
            "b": normal(RNG, 3),
            "m": normal(RNG, 3),
            "v": np.abs(normal(RNG, 3)),
        },
        epsilon=1e-3,
    ),
    row(
        "InstanceNormalization",
        "InstanceNormalization",
        [IMAGE],
        constants={"s": normal(RNG, 3), "b": normal(RNG, 3)},
    ),
    row(
        "LayerNormalization",
        "LayerNormalization",
        [SMALL],
        constants={"s": normal(RNG, 4, 5), "b": normal(RNG, 4, 5)},
        axis=1,
        opset=17,
    ),
    row(
        "LayerNormalization without bias",
        "LayerNormalization",
        [SMALL],
        constants={"s": normal(RNG, 5)},
        opset=17,
    ),
    row(
        "GroupNormalization per channel",
        "GroupNormalization",
        [normal(RNG, 2, 4, 6)],
        constants={"s": normal(RNG, 4), "b": normal(RNG, 4)},
        num_groups=2,
        opset=21,
    ),
    row("LRN", "LRN", [IMAGE], size=3, alpha=0.1),
    row("LpNormalization", "LpNormalization", [SMALL], axis=1),
    # shapes
    row("Shape of some dimensions", "Shape", [SMALL], start=1, end=-1, opset=15),
    row("Reshape with 0 and -1", "Reshape", [SMALL], constants={"s": i64(0, -1)}),
    row("Flatten at an axis", "Flatten", [SMALL], axis=2),
    row("Transpose", "Transpose", [SMALL], perm=[2, 0, 1]),
    row("Squeeze by input", "Squeeze", [SMALL[:1]], constants={"a": i64(0)}),
    row("Squeeze by attribute", "Squeeze", [SMALL[:1]], axes=[0], opset=11),
    row("Squeeze all", "Squeeze", [SMALL[:1]]),
    row("Unsqueeze by input", "Unsqueeze", [SMALL], constants={"a": i64(0, -1)}),
    row("Unsqueeze by attribute", "Unsqueeze", [SMALL], axes=[1, 3], opset=11),
    row("Concat", "Concat", [SMALL, SMALL[:, :2]], axis=1),
    row("Split in equal parts", "Split", [SMALL], axis=1, outputs=2),
    row("Split in given parts", "Split", [SMALL], constants={"s": i64(1, 4)}, axis=2, outputs=2),
    row("Split by attribute", "Split", [SMALL], axis=2, split=[2, 3], outputs=2, opset=11),
    row("Split with a smaller last part", "Split", [SMALL], axis=2, num_outputs=2, outputs=2, opset=18),
    row("Slice", "Slice", [SMALL], constants={"s": i64(1, 0), "e": i64(9, -1), "a": i64(1, 2)}),
    row(
        "Slice with a step", "Slice", [SMALL], constants={"s": i64(0), "e": i64(5), "a": i64(2), "p": i64(2)}
    ),
    row("Slice to nothing", "Slice", [SMALL], constants={"s": i64(4), "e": i64(1), "a": i64(2)}),
    row(
        "Slice backwards to the first",
        "Slice",
        [SMALL],
        constants={"s": i64(-1), "e": i64(-(2**63) + 1), "a": i64(2), "p": i64(-1)},
    ),
    row("Slice backwards", "Slice", [SMALL], constants={"s": i64(3), "e": i64(0), "a": i64(2), "p": i64(-2)}),
    row("Slice by attributes", "Slice", [SMALL], starts=[1], ends=[3], axes=[1], opset=9),
    row(
        "Gather with negative indices",
        "Gather",
        [SMALL],
        constants={"i": np.array([[0, -1], [2, 1]])},
        axis=1,
    ),
    row("Gather of one", "Gather", [SMALL], constants={"i": np.array(2)}, axis=1),
    row(
        "GatherElements",
        "GatherElements",
        [SMALL],
        constants={"i": np.array([[[0, -1, 1, 0, 0]]] * 2)},
        axis=1,
    ),
    row("GatherND", "GatherND", [SMALL], constants={"i": np.array([[0, 1], [1, 3]])}),
    row("GatherND in a batch", "GatherND", [SMALL], constants={"i": np.array([[1], [3]])}, batch_dims=1),
    row(
        "ScatterND",
        "ScatterND",
        [SMALL, normal(RNG, 2, 5)],
        constants={"i": np.array([[0, 1], [1, 3]])},
        order=["x0", "i", "x1"],
    ),
    row(
        "ScatterElements",
        "ScatterElements",
        [SMALL, normal(RNG, 2, 1, 5)],
        constants={"i": np.array([[[0, -1, 1, 0, 0]]] * 2)},
        order=["x0", "i", "x1"],
        axis=1,
    ),
    row("Expand", "Expand", [SMALL], constants={"s": i64(3, 1, 4, 1)}),
    row("Tile", "Tile", [SMALL], constants={"r": i64(1, 2, 3)}),
    row("Range", "Range", [], constants={"a": np.array(2), "b": np.array(11), "c": np.array(3)}),
    row(
        "ConstantOfShape",
        "ConstantOfShape",
        [],
        constants={"s": i64(2, 3)},
        value=onnx.numpy_helper.from_array(np.array([7], np.int64)),
    ),
    row(
        "OneHot", "OneHot", [i64(0, 2, -1)], constants={"d": np.array(4), "v": np.array([-1, 2], np.float32)}
    ),
    row("Trilu", "Trilu", [SMALL], constants={"k": np.array(1)}, upper=0, opset=14),
    row("DepthToSpace", "DepthToSpace", [normal(RNG, 1, 8, 2, 3)], blocksize=2),
    row("DepthToSpace by columns", "DepthToSpace", [normal(RNG, 1, 8, 2, 3)], blocksize=2, mode="CRD"),
    row("SpaceToDepth", "SpaceToDepth", [normal(RNG, 1, 2, 4, 6)], blocksize=2),
    row("Dropout is off", "Dropout", [SMALL]),
    # borders
    row("Pad", "Pad", [SMALL], constants={"p": i64(0, 1, 2, 1, 0, 0), "v": np.float32(3)}),
    row("Pad that crops", "Pad", [SMALL], constants={"p": i64(0, -1, 2, 0, 0, -2)}),
    row("Pad by attribute", "Pad", [SMALL], pads=[0, 1, 2, 1, 0, 0], value=2.0, opset=10),
    row("Pad reflect", "Pad", [SMALL], constants={"p": i64(0, 1, 2, 0, 2, 3)}, mode="reflect"),
    row("Pad edge", "Pad", [SMALL], constants={"p": i64(0, 1, 2, 0, 2, 3)}, mode="edge"),
    row("Pad wrap", "Pad", [SMALL], constants={"p": i64(0, 1, 2, 0, 2, 3)}, mode="wrap", opset=19),
    row(
        "Pad of some axes",
        "Pad",
        [SMALL],
        constants={"p": i64(1, 2), "a": i64(2)},
        order=["x0", "p", "", "a"],
        opset=18,
    ),
    # recurrent
    *(
        row(
            f"{op} {direction}, {what}",
            op,
            [normal(RNG, 6, 3, 4)],
            constants={
                "w": normal(RNG, directions, gates * 5, 4),
                "r": normal(RNG, directions, gates * 5, 5),
                "b": normal(RNG, directions, 2 * gates * 5),
                "n": np.array([6, 2, 4], np.int32),
                **{f"s{i}": normal(RNG, directions, 3, 5) for i in range(2 if op == "LSTM" else 1)},
                **({"p": normal(RNG, directions, 15)} if op == "LSTM" else {}),
            }
            if what == "with everything"
            else {"w": normal(RNG, directions, gates * 5, 4), "r": normal(RNG, directions, gates * 5, 5)},
            outputs=3 if op == "LSTM" else 2,
            hidden_size=5,
            direction=direction,
            **options,
        )
        for op, gates, all_options in [
            ("RNN", 1, [{}, {"activations": ["Relu"]}]),
            ("GRU", 3, [{}, {"linear_before_reset": 1}]),
            ("LSTM", 4, [{}, {}]),
        ]
        for direction, directions in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]
        for what, options in zip(["bare", "with everything"], all_options, strict=True)
        if not (directions == 2 and "activations" in options)
    ),
    row(
        "DequantizeLinear along an axis",
        "DequantizeLinear",
        [RNG.integers(-128, 128, (2, 3, 4)).astype(np.int8)],
        constants={
            "s": np.abs(normal(RNG, 3)) + 0.01,
            "z": RNG.integers(-9, 9, 3).astype(np.int8),
        },
    ),
    # resizing
    *(
        row(
            f"Resize {mode} {transform} {nearest}",
            "Resize",
            [IMAGE],
            constants={"s": np.array([1, 1, 1.7, 2], np.float32)},
            order=["x0", "", "s"],
            mode=mode,
            coordinate_transformation_mode=transform,
            nearest_mode=nearest,
        )
        for mode, nearest in [
            ("nearest", "floor"),
            ("nearest", "ceil"),
            ("nearest", "round_prefer_floor"),
            ("nearest", "round_prefer_ceil"),
            ("linear", "floor"),
        ]
        for transform in ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    ),
    row(
        "Resize to sizes",
        "Resize",
        [IMAGE],
        constants={"z": i64(2, 3, 5, 13)},
        order=["x0", "", "", "z"],
        mode="linear",
    ),
    row(
        "Resize of operator set 10",
        "Resize",
        [IMAGE],
        constants={"s": np.array([1, 1, 2, 2], np.float32)},
        opset=10,
    ),
    row("Upsample", "Upsample", [IMAGE], constants={"s": np.array([1, 1, 2, 3], np.float32)}, opset=9),
    # reductions
    row("ReduceSum by input", "ReduceSum", [SMALL], constants={"a": i64(1, -1)}, keepdims=0),
    row("ReduceMean by attribute", "ReduceMean", [SMALL], axes=[-1]),
    row("ReduceMax by input", "ReduceMax", [SMALL], constants={"a": i64(0)}, opset=18),
    row("ReduceSum over nothing", "ReduceSum", [SMALL], noop_with_empty_axes=1),
    row("ReduceSum of integers", "ReduceSum", [i64(1, 2, 3)]),
    row("ArgMax of the last", "ArgMax", [np.round(SMALL)], axis=2, select_last_index=1, keepdims=0),
    row("TopK", "TopK", [SMALL], constants={"k": i64(2)}, outputs=2, axis=1),
    row("CumSum", "CumSum", [SMALL], constants={"a": np.array(1)}),
    row(
        "CumSum exclusive in reverse", "CumSum", [SMALL], constants={"a": np.array(2)}, exclusive=1, reverse=1
    ),
]


def onnxruntime_outputs(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs: list[np.ndarray] = session.run(None, feed)
    return outputs


@pytest.mark.parametrize(("op_type", "feed", "options"), CASES)
def test_operator_equals_onnxruntime(
    op_type: str, feed: dict[str, np.ndarray], options: dict[str, Any]
) -> None:
    proto = one_node(op_type, feed, **options)
    expected = onnxruntime_outputs(proto, feed)
    actual = list(Executor(Graph(proto)).run(feed).values())
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_every_operator_of_the_table_has_a_row() -> None:
    rows = {
        f"{options.get('domain', '')}.{op}".lstrip(".") for op, _, options in (case.values for case in CASES)
    }
    elsewhere = {
        "Constant",  # test_executor.py
        "RMSNormalization",  # of operator set 23, which onnxruntime 1.20, the oldest supported, does not run
        "SimplifiedLayerNormalization",  # its twin, made by onnxruntime's own optimizer
        "Swish",  # of operator set 24
        "QuantizeLinear",  # whole numbers stay floats here, so that gradients pass: test_qat.py, and below
        "DynamicQuantizeLinear",  # the same
        "edgepress.FakeQuantize",  # of training graphs only: test_qat.py
        "com.microsoft.MatMulNBits",  # test_weight_only.py
    }
    assert sorted(OPERATORS.keys() - rows) == sorted(elsewhere)


@pytest.mark.parametrize("op_type", ["QuantizeLinear", "DynamicQuantizeLinear"])
def test_integers_are_those_of_onnxruntime_and_gradients_pass(op_type: str) -> None:
    constants = {"s": np.float32(0.1), "z": np.uint8(128)} if op_type == "QuantizeLinear" else {}
    proto = one_node(
        op_type, {"x0": SMALL}, constants=constants, outputs=1 if constants else 3, order=["x0", *constants]
    )
    expected = onnxruntime_outputs(proto, {"x0": SMALL})
    executor = Executor(Graph(proto))
    for got, want in zip(executor.run({"x0": SMALL}).values(), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    x = torch.from_numpy(SMALL.copy()).requires_grad_()
    executor({"x0": x})["y0"].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min() > 0
