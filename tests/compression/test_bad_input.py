"""What people really bring: models and data that do not suit.

Every recipe makes a sound artifact or says in a sentence what to do; what was there before is still there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper
from tiny_models import model, normal

from edgepress_compression.artifact.read import decode
from edgepress_compression.compress import compress
from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.errors import DatasetError, EdgepressError, GraphError, RecipeError
from edgepress_compression.recipe import Recipe, list_recipes
from edgepress_compression.verify import verify_artifact
from edgepress_server.cli.main import edgepress

COMPRESS = sys.modules["edgepress_compression.compress"]
CLASSES = 4


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is measured in processes of their own: not here."""
    monkeypatch.setattr(COMPRESS, "resident_bytes", lambda *_, **__: 1)


def tied() -> bytes:
    """Two convolutions with one weight between them."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "first", "first.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "shared", "shared.bias"], ["c"], pads=[1, 1, 1, 1], name="one"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "shared", "shared.bias"], ["e"], pads=[1, 1, 1, 1], name="other"),
        helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("GlobalAveragePool", ["f"], ["g"]),
        helper.make_node("Flatten", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "head", "head.bias"], ["y"], transB=1),
    ]
    weights = {
        "first": normal(rng, 16, 3, 3, 3, scale=0.2),
        "first.bias": normal(rng, 16),
        "shared": normal(rng, 16, 16, 3, 3, scale=0.1),
        "shared.bias": normal(rng, 16),
        "head": normal(rng, CLASSES, 16),
        "head.bias": normal(rng, CLASSES),
    }
    return bytes(
        model(nodes, weights, input_shape=["N", 3, 8, 8], output_shape=["N", CLASSES]).SerializeToString()
    )


def unknown_operator() -> bytes:
    """A layer between operators that cannot be trained here."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "conv", "bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["a"], ["pooled", "where"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MaxUnpool", ["pooled", "where"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["b"], ["g"]),
        helper.make_node("Flatten", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "head", "head.bias"], ["y"], transB=1),
    ]
    weights = {
        "conv": normal(rng, 16, 3, 3, 3, scale=0.2),
        "bias": normal(rng, 16),
        "head": normal(rng, CLASSES, 16),
        "head.bias": normal(rng, CLASSES),
    }
    return bytes(
        model(nodes, weights, input_shape=["N", 3, 8, 8], output_shape=["N", CLASSES]).SerializeToString()
    )


def data(samples: int, *, highest: int = CLASSES - 1) -> Dataset:
    rng = np.random.default_rng(1)
    words = np.array((["train", "test", "train"] * samples)[:samples])
    labels = np.arange(samples) % (highest + 1)
    x = rng.standard_normal((samples, 3, 8, 8)).astype(np.float32)
    return dataset_from_arrays("few", {"x": x, "labels": labels, "split": words})


def work(source: bytes | Path, recipe: Recipe | str | Path, dataset: Dataset | None, **more: object) -> bytes:
    made = compress(
        source,
        recipe=recipe,
        profile="x86-pc",
        dataset=dataset,
        latency_seconds=0.0,
        stage_seconds=0.0,
        **more,
    )  # type: ignore[arg-type]
    return made.artifact


def constant_behind(proto: onnx.ModelProto, name: str) -> str:
    """The initializer that a value is made of, through conversions."""
    makers = {node.output[0]: node for node in proto.graph.node}
    while name in makers:
        name = makers[name].input[0]
    return name


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_a_data_set_of_three_images_and_tied_weights(recipe: Recipe) -> None:
    """Whatever the recipe: a sound artifact whose tied weights are still tied, or a sentence."""
    try:
        artifact = work(tied(), recipe, data(3))
    except EdgepressError as error:
        assert str(error).endswith(".") and len(str(error)) < 400, error
        return
    assert verify_artifact(artifact) is None
    proto = onnx.load_from_string(decode(artifact))
    users: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type == "Conv":
            behind = constant_behind(proto, node.input[1])
            users[behind] = users.get(behind, 0) + 1
    if sum(users.values()) == 3:  # else the recipe made other layers of them
        assert len(users) == 2, f"a shared weight is stored twice: {users}"


UNKNOWN = ["deep-compression", "rate-distortion", "layer-distillation", "int8", "weight-only"]


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_operator_that_cannot_be_trained_is_named(name: str) -> None:
    made = compress(unknown_operator(), recipe=name, profile="x86-pc", dataset=data(60), latency_seconds=0.0)
    assert verify_artifact(made.artifact) is None
    if name not in ("int8", "weight-only"):
        assert any("MaxUnpool" in warning for warning in made.report["warnings"]), made.report["warnings"]


def test_labels_out_of_range_are_named_before_any_work() -> None:
    with pytest.raises(DatasetError, match="has class 7, and the model's output y has 4 classes"):
        work(tied(), "deep-compression", data(40, highest=7))


def test_a_budget_that_cannot_be_met_names_the_least_that_can() -> None:
    for name in ("rate-distortion", "layer-distillation"):
        with pytest.raises(RecipeError, match=r"10 cannot be reached: .*takes [\d,]+ bytes"):
            work(tied(), name, data(60), target_bytes=10)
    with pytest.raises(RecipeError, match="no pass that can aim at a number of bytes"):
        work(tied(), "int8", data(60), target_bytes=10)


def test_a_budget_that_a_later_pass_exceeds_is_said_with_what_to_ask_for(tmp_path: Path) -> None:
    recipe = tmp_path / "late.toml"
    recipe.write_text(
        'name = "late"\ndescription = "d"\n[[passes]]\nname = "quantize"\ntrellis = false\n'
        '[[passes]]\nname = "int8"\n'
    )
    report = compress(
        tied(), recipe=recipe, profile="x86-pc", dataset=data(60), latency_seconds=0.0, target_bytes=1500
    ).report
    assert report["bytes"]["artifact"] > 1500
    assert any("more than asked for" in warning and "Ask for" in warning for warning in report["warnings"])


def nan(proto: onnx.ModelProto) -> None:
    array = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    array.flat[0] = np.nan
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, proto.graph.initializer[0].name))


def external(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def free_height(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"


def strange(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "MyRelu", "my.company"
    proto.opset_import.add(domain="my.company", version=1)


def branch(proto: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["q"])], "body", [], [onnx.ValueInfoProto(name="q")]
    )
    proto.graph.node.append(helper.make_node("If", ["cond"], ["z"], then_branch=body, else_branch=body))


REFUSED = [
    ("NaN weights", nan, "holds NaN or infinity; train or export the model again"),
    ("external data", external, "kept in another file .*onnx.save"),
    ("a free height", free_height, "leaves H open; only the first dimension, the batch"),
    ("a foreign operator", strange, "operator MyRelu of the domain my.company"),
    ("control flow", branch, "branches are graphs of their own"),
]


@pytest.mark.parametrize(("change", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_model_that_cannot_be_compressed_is_refused_by_all_doors(
    change: object, says: str, tmp_path: Path
) -> None:
    proto = onnx.load_from_string(tied())
    change(proto)  # type: ignore[operator]
    path = tmp_path / "bad.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(GraphError, match=says):
        work(path, "none", None)
    out = tmp_path / "old.epa"
    out.write_bytes(b"what was there")
    words = ["compress", str(path), "--recipe", "none", "--profile", "x86-pc", "-o", str(out)]
    done = CliRunner().invoke(edgepress, words)
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert out.read_bytes() == b"what was there"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bad.onnx", "old.epa"]


INTERRUPTED = """
import os, signal, sys
from edgepress_compression import compress as module
module = sys.modules["edgepress_compression.compress"]
kept = module.write_artifact
def killed(*a, **k):
    os.kill(os.getpid(), signal.SIGKILL)
module.write_artifact = killed
from edgepress_server.cli.main import edgepress
edgepress(sys.argv[1:])
"""


def test_a_compression_that_is_killed_leaves_what_was_there(tmp_path: Path) -> None:
    path, out = tmp_path / "m.onnx", tmp_path / "m.epa"
    path.write_bytes(tied())
    out.write_bytes(b"the last good one")
    words = ["compress", str(path), "--recipe", "none", "--profile", "x86-pc", "-o", str(out)]
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *words], check=False, capture_output=True)
    assert done.returncode == -9
    assert out.read_bytes() == b"the last good one"
