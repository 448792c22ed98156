"""The door: what is no model, or none that we can compress, is refused in words that say what to do."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.errors import GraphError
from edgepress_compression.graph.load import load_model

RNG = np.random.default_rng(0)
GOOD = cnn(RNG).serialize()


def proto() -> onnx.ModelProto:
    return onnx.load_from_string(GOOD)


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


NOT_MODELS = {
    "an empty file": (b"", "empty"),
    "text": (b"hello, I am no model" * 9, "not an ONNX file"),
    "JSON": (b'{"model": 1}', "text file"),
    "a TensorFlow Lite file": (b"\x1c\x00\x00\x00TFL3" + bytes(64), "TensorFlow Lite"),
    "a Keras file": (b"\x89HDF\r\n\x1a\n" + bytes(64), "Keras"),
    "a pickle": (pickle.dumps({"weight": [1.0]}), "pickle"),
    "a gzip file": (b"\x1f\x8b\x08" + bytes(64), "gzip"),
    "a zip file of something": (zipped(**{"readme.txt": b"x"}), "no .pt2"),
    "a checkpoint of torch.save": (zipped(**{"archive__data.pkl": b"x"}), "checkpoint"),
    "a zip file that is cut off": (zipped(**{"a__models__m.json": b"x" * 999})[:200], "damaged"),
    "an ONNX file that is cut off": (GOOD[: len(GOOD) // 2], "cut off"),
    "an ONNX file without operators": (onnx.ModelProto(ir_version=8).SerializeToString(), "no operators"),
}


@pytest.mark.parametrize("what", NOT_MODELS)
def test_it_is_refused_and_named(what: str) -> None:
    data, words = NOT_MODELS[what]
    with pytest.raises(GraphError, match=words):
        load_model(data)


def external(m: onnx.ModelProto) -> None:
    tensor = m.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def unknown_domain(m: onnx.ModelProto) -> None:
    m.graph.node[2].domain = "my.company"
    m.opset_import.add(domain="my.company", version=1)


def unknown_operator(m: onnx.ModelProto) -> None:
    m.graph.node[2].op_type = "Relux"


def old_opset(m: onnx.ModelProto) -> None:
    m.opset_import[0].version = 6


def future_opset(m: onnx.ModelProto) -> None:
    m.opset_import[0].version = 999


def branches(m: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Neg", ["r"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)]
    )
    m.graph.node[2].CopyFrom(helper.make_node("If", ["n"], ["r"], then_branch=body, else_branch=body))


def infinite(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((6, 1, 3, 3), np.inf, np.float32), "conv.weight")
    )


def too_little(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].dims[0] = 1 << 40


def negative(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].dims[0] = -6


def strings(m: onnx.ModelProto) -> None:
    m.graph.initializer.add(name="s", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"])


def free_height(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"


def no_shape(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.ClearField("shape")


def dangling(m: onnx.ModelProto) -> None:
    m.graph.node[0].input[0] = "nothing"


def no_inputs(m: onnx.ModelProto) -> None:
    m.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 8, 8), np.float32), "x"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (external, "another file"),
        (unknown_domain, "Relu of the domain my.company"),
        (unknown_operator, "Relux"),
        (old_opset, "operator set 6"),
        (future_opset, "operator set 999"),
        (branches, "operator If"),
        (infinite, "conv.weight holds NaN or infinity"),
        (too_little, "does not hold as many numbers"),
        (negative, "negative dimension"),
        (strings, "holds strings"),
        (free_height, "leaves H open"),
        (no_shape, "shape"),
        (dangling, "nothing"),
        (no_inputs, "no inputs"),
    ],
)
def test_a_model_that_cannot_be_compressed_is_refused(
    damage: Callable[[onnx.ModelProto], None], words: str
) -> None:
    damaged = proto()
    damage(damaged)
    with pytest.raises(GraphError, match=words):
        load_model(damaged.SerializeToString())


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"Cannot read .*gone\.onnx"):
        load_model(tmp_path / "gone.onnx")


def test_weights_in_constant_nodes_and_typed_fields_become_raw_initializers() -> None:
    weight = normal(RNG, 8, 8)
    typed = TensorProto(
        name="b", data_type=TensorProto.FLOAT, dims=[8], float_data=[float(i) for i in range(8)]
    )
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight)),
        helper.make_node("Gemm", ["x", "w", "b"], ["y"]),
    ]
    made = model(nodes, {}, input_shape=["N", 8], output_shape=["N", 8])
    made.graph.initializer.append(typed)
    made.graph.input.append(
        helper.make_tensor_value_info("b", TensorProto.FLOAT, [8])
    )  # as IR version 3 has it
    made.graph.doc_string = "made by hand at /home/someone"
    made.graph.node[1].metadata_props.add(key="stack", value="trace")
    graph = load_model(made.SerializeToString())
    np.testing.assert_array_equal(graph.weights["w"], weight)
    np.testing.assert_array_equal(graph.weights["b"], np.arange(8, dtype=np.float32))
    assert [node.op_type for node in graph.proto.graph.node] == ["Gemm"]
    assert all(tensor.raw_data for tensor in graph.proto.graph.initializer)
    assert [value.name for value in graph.inputs] == ["x"]
    assert b"someone" not in graph.serialize()
    assert b"trace" not in graph.serialize()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_flipped_byte_gives_a_graph_or_one_error(position: int, flip: int) -> None:
    data = bytearray(GOOD)
    data[position] ^= flip
    try:
        load_model(bytes(data))
    except GraphError as error:
        assert len(str(error)) < 1000


# --- .pt2
# -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pt2() -> bytes:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )
    batch = torch.export.Dim("N", min=1, max=64)
    program = torch.export.export(module.eval(), (torch.zeros(2, 1, 4, 4),), dynamic_shapes=({0: batch},))
    out = io.BytesIO()
    torch.export.save(program, out)
    return out.getvalue()


def edited(pt2: bytes, change: Callable[[str, bytes], bytes | None], **extra: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pt2)) as old, zipfile.ZipFile(out, "w") as new:
        root = old.namelist()[0].split("/")[0]
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in extra.items():
            new.writestr(f"{root}/{name}", content)
    return out.getvalue()


def test_an_exported_program_becomes_a_graph(pt2: bytes) -> None:
    graph = load_model(pt2)
    assert graph.inputs[0].shape == ("N", 1, 4, 4)
    assert {"Conv", "Relu", "Gemm"} <= {node.op_type for node in graph.proto.graph.node}


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


def replaced(old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(".json"):
            return content
        return content.decode().replace(old, new).encode()

    return change


HOSTILE: dict[str, tuple[Callable[[str, bytes], bytes], str]] = {
    "a pickled weight": (replaced('"use_pickle": false', '"use_pickle": true'), "pickled tensor"),
    "an operator of another module": (
        replaced("torch.ops.aten.relu.default", "torch.os.system"),
        "torch.os.system",
    ),
    "an operator by dunder": (
        replaced("torch.ops.aten.relu.default", "torch.ops.aten.__class__.x"),
        "__class__",
    ),
    "an expression that calls": (replaced("Symbol('s", "exit() or Symbol('s"), "not plain arithmetic"),
    "an expression that grows": (
        replaced('"expr_str": "', '"expr_str": "9**9**9**9 + '),
        "not plain arithmetic",
    ),
    "a name that is code": (replaced('"name": "relu"', '"name": "relu = exit()"'), "names are letters"),
    "a custom type": (replaced("builtins.tuple", "os.system"), "other than tensors"),
    "a bomb for sample inputs": (
        lambda name, content: pickle.dumps(Bomb()) if name.endswith("sample_inputs/model.pt") else content,
        "sample inputs",
    ),
    "broken JSON": (
        lambda name, content: content[:-1] if name.endswith("model.json") else content,
        "damaged",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_program_that_would_run_code_is_refused(pt2: bytes, what: str) -> None:
    change, words = HOSTILE[what]
    with pytest.raises(GraphError, match=words):
        load_model(edited(pt2, change))


def test_a_program_with_other_files_or_custom_objects_is_refused(pt2: bytes) -> None:
    keep: Callable[[str, bytes], bytes] = lambda name, content: content  # noqa: E731
    with pytest.raises(GraphError, match="plain exported model does not have"):
        load_model(edited(pt2, keep, **{"extra/run.sh": b"x"}))
    config = json.dumps(
        {"config": {"c": {"path_name": "custom_obj_0", "is_param": False, "use_pickle": False}}}
    )
    constants = "constants/model_constants_config.json"
    with pytest.raises(GraphError, match="custom object"):
        load_model(edited(pt2, lambda n, c: config.encode() if n.endswith(constants) else c))


def test_a_small_graph_is_what_the_tests_above_start_from() -> None:
    assert load_model(GOOD).serialize() == GOOD
    assert load_model(mlp(RNG).serialize()).prunable() == ["w1", "w2"]


def test_shape_arithmetic_on_constants_is_done_at_the_door() -> None:
    nodes = [
        helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(np.array([0, 0, 1, 1]))),
        helper.make_node("Constant", [], ["n"], value=numpy_helper.from_array(np.array([4]))),
        helper.make_node("ConstantOfShape", ["n"], ["zeros"], value=numpy_helper.from_array(np.array([0]))),
        helper.make_node("Add", ["a", "zeros"], ["sum"]),
        helper.make_node("Concat", ["sum", "a"], ["pads"], axis=0),
        helper.make_node("Pad", ["x", "pads"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["y"]),
    ]
    made = model(
        nodes, {"w": normal(RNG, 2, 1, 3, 3)}, input_shape=["N", 1, 4, 4], output_shape=["N", 2, 4, 4]
    )
    graph = load_model(made.SerializeToString())
    assert [node.op_type for node in graph.proto.graph.node] == ["Pad", "Conv"]
    np.testing.assert_array_equal(graph.weights["pads"], [0, 0, 1, 1, 0, 0, 1, 1])
    assert set(graph.weights) == {"w", "pads"}
    assert graph.macs() == 2 * 16 * 9


def test_constants_that_would_grow_are_left_alone() -> None:
    nodes = [
        helper.make_node("Constant", [], ["n"], value=numpy_helper.from_array(np.array([1 << 40]))),
        helper.make_node("ConstantOfShape", ["n"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["s"]),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    made = model(nodes, {}, input_shape=["N", 1], output_shape=["N", 1])
    kept = [node.op_type for node in load_model(made.SerializeToString()).proto.graph.node]
    assert kept == ["ConstantOfShape", "ReduceSum", "Add"]
