"""``edgepress artifact`` on files: what they hold, what differs, and deltas there and back."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.artifact.probe import Probe
from edgepress_compression.artifact.write import ScaledIntegers, write_artifact
from edgepress_server.cli.main import edgepress

RNG = np.random.default_rng(4)
INTEGERS = np.rint(RNG.normal(0, 3, (40, 50))).astype(np.int32)


def onnx_model(weights):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 50])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def artifact(integers):
    codes = ScaledIntegers(integers, np.full(1, 0.01, np.float32))
    data = write_artifact(
        onnx_model(codes.weights()),
        name="tiny",
        profile="generic-x86",
        recipe={"name": "none", "coding": "auto"},
        provenance={},
        metadata={},
        probe=Probe(),
        codes={"w": codes},
    )
    return data, onnx_model(codes.weights())


@pytest.fixture
def files(tmp_path):
    """before.epa, before.onnx, after.epa, after.onnx: a twentieth of the weights moved by one."""
    moved = INTEGERS + (RNG.random(INTEGERS.shape) < 0.05)
    for name, integers in (("before", INTEGERS), ("after", moved.astype(np.int32))):
        data, model = artifact(integers)
        tmp_path.joinpath(f"{name}.epa").write_bytes(data)
        tmp_path.joinpath(f"{name}.onnx").write_bytes(model)
    return tmp_path


def run(*words, fails=False):
    result = CliRunner().invoke(edgepress, ["artifact", *map(str, words)])
    assert (result.exit_code != 0) is fails, result.output
    return result.output


def test_show_says_where_the_bytes_went(files):
    said = run("show", files / "before.epa")
    assert "generic-x86" in said
    assert "40x50" in said
    rows = json.loads(run("show", files / "before.epa", "--json"))["sections"]
    assert sum(row["stored_bytes"] for row in rows) == files.joinpath("before.epa").stat().st_size
    weights = rows[-1]
    assert (weights["name"], weights["form"], weights["nonzero"]) == (
        "w",
        "integers",
        np.count_nonzero(INTEGERS),
    )


def test_diff_names_what_changed_and_what_a_delta_would_take(files):
    found = json.loads(run("diff", files / "before.epa", files / "after.epa", "--json"))
    (row,) = found["tensors"]
    assert (row["name"], row["change"]) == ("w", "changed")
    assert 0.03 < row["changed"] < 0.07
    assert 0 < row["relative_l2"] < 0.3
    assert found["bytes_delta"] < found["bytes_after"] < 1.2 * found["bytes_before"]
    assert "0 of 1 tensors are the same" in run("diff", files / "before.epa", files / "after.epa")


def test_diff_of_a_model_with_itself_finds_nothing(files):
    said = run("diff", files / "before.epa", files / "before.epa")
    assert "No tensor differs" in said
    assert "1 of 1 tensors are the same" in said


@pytest.mark.parametrize("base", ["before.onnx", "before.epa"])
def test_a_delta_goes_there_and_back(files, base):
    delta, back = files / "delta.epa", files / "back.onnx"
    run("delta", files / base, files / "after.epa", "-o", delta)
    run("decode", delta, "--base", files / base, "-o", back)
    assert back.read_bytes() == files.joinpath("after.onnx").read_bytes()
    assert "All sections are whole" in run("verify", delta, "--base", files / base)
    assert json.loads(run("show", delta, "--base", files / base, "--json"))["base"]


def test_a_delta_without_its_base_says_what_it_needs_and_writes_nothing(files):
    delta, back = files / "delta.epa", files / "back.onnx"
    run("delta", files / "before.onnx", files / "after.epa", "-o", delta)
    assert "none was given" in run("decode", delta, "-o", back, fails=True)
    assert "another" in run("decode", delta, "--base", files / "after.onnx", "-o", back, fails=True)
    assert sorted(path.name for path in files.glob("back*")) == []


def test_a_damaged_artifact_is_a_sentence(files):
    damaged = bytearray(files.joinpath("before.epa").read_bytes())
    damaged[-9] ^= 4
    files.joinpath("damaged.epa").write_bytes(damaged)
    for words in (("show",), ("verify",), ("decode", "-o", files / "x.onnx"), ("diff", files / "before.epa")):
        assert "tensor 'w': its checksum" in run(*words, files / "damaged.epa", fails=True)


def test_verify_of_a_whole_artifact(files):
    assert "no probe" in run("verify", files / "before.epa")
