"""A small encoder in primitive operators, as exporters write it; made on the spot."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph

WORDS, LENGTH = 24, 12


def transformer(
    rng: np.random.Generator,
    *,
    width: int = 16,
    heads: int = 4,
    hidden: int = 32,
    blocks: int = 2,
    rows_of_mask: bool = False,
) -> Graph:
    """input_ids, attention_mask (N, L) -> logits (N, 2), of the first token.

    `rows_of_mask`: the mask is (N, 1, L, L), else (N, 1, 1, L).
    """
    nodes: list[Any] = []
    weights: dict[str, np.ndarray] = {
        "words": _normal(rng, WORDS, width),
        "minus": np.array(-1e4, np.float32),
        "one": np.array(1.0, np.float32),
        "axes12": np.array([1, 2]),
        "split": np.array([0, 0, heads, width // heads]),
        "join": np.array([0, 0, width]),
        "scale": np.array((width // heads) ** -0.5, np.float32),
        "half": np.array(0.5, np.float32),
        "root2": np.array(2**0.5, np.float32),
        "zero": np.array(0),
        "head.weight": _normal(rng, 2, width),
        "head.bias": _normal(rng, 2),
    }

    def add(op_type: str, inputs: list[str], output: str, **settings: Any) -> str:
        nodes.append(helper.make_node(op_type, inputs, [output], **settings))
        return output

    def dense(x: str, name: str, inputs: int, outputs: int) -> str:
        weights[f"{name}.weight"] = _normal(rng, inputs, outputs)
        weights[f"{name}.bias"] = _normal(rng, outputs)
        return add("Add", [f"{name}.bias", add("MatMul", [x, f"{name}.weight"], f"{name}.product")], name)

    add("Gather", ["words", "input_ids"], "x0")
    add("Cast", ["attention_mask"], "m0", to=TensorProto.FLOAT)
    add("Sub", ["one", "m0"], "m1")
    add("Unsqueeze", ["m1", "axes12"], "m2")
    mask = add("Mul", ["m2", "minus"], "mask")
    if rows_of_mask:  # 0 of shape (N, 1, L, 1) makes a row for each token
        weights["axes13"], weights["nothing"] = np.array([1, 3]), np.array(0.0, np.float32)
        add("Unsqueeze", ["m1", "axes13"], "m3")
        mask = add("Add", ["mask", add("Mul", ["m3", "nothing"], "m4")], "wide_mask")
    x = "x0"
    for n in range(blocks):
        parts = {}
        for part, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            made = dense(x, f"b{n}.{part}", width, width)
            cut = add("Reshape", [made, "split"], f"b{n}.{part}.heads")
            parts[part] = add("Transpose", [cut], f"b{n}.{part}.turned", perm=perm)
        scores = add("MatMul", [parts["q"], parts["k"]], f"b{n}.scores")
        scaled = add("Mul", [scores, "scale"], f"b{n}.scaled")
        masked = add("Add", [scaled, mask], f"b{n}.masked")
        shares = add("Softmax", [masked], f"b{n}.shares", axis=-1)
        mixed = add("MatMul", [shares, parts["v"]], f"b{n}.mixed")
        back = add("Transpose", [mixed], f"b{n}.back", perm=[0, 2, 1, 3])
        out = dense(add("Reshape", [back, "join"], f"b{n}.joined"), f"b{n}.out", width, width)
        x = add("Add", [out, x], f"b{n}.attended")
        up = dense(x, f"b{n}.up", width, hidden)
        bent = add("Erf", [add("Div", [up, "root2"], f"b{n}.div")], f"b{n}.erf")
        gate = add("Mul", [add("Add", [bent, "one"], f"b{n}.plus"), "half"], f"b{n}.gate")
        down = dense(add("Mul", [up, gate], f"b{n}.gelu"), f"b{n}.down", hidden, width)
        x = add("Add", [down, x], f"b{n}.result")
    first = add("Gather", [x, "zero"], "first", axis=1)
    add("Gemm", [first, "head.weight", "head.bias"], "logits", transB=1)
    graph = helper.make_graph(
        nodes,
        "transformer",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "L"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 14)]
    return load_model(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def sentences(rng: np.random.Generator, count: int = 800) -> Dataset:
    """Padded to 12 words; the label says whether there are more words above 12 than below."""
    ids = np.zeros((count, LENGTH), np.int64)
    for row in ids:
        length = rng.integers(2, 9)
        row[:length] = rng.integers(1, WORDS, length)
    labels = (np.where(ids > 12, 1, 0).sum(axis=1) > ((ids > 0) & (ids <= 12)).sum(axis=1)).astype(np.int64)
    return dataset_from_arrays(
        "sentences",
        {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "labels": labels},
    )


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    scale = 1.0 if len(shape) == 1 else shape[0] ** -0.5
    return (rng.standard_normal(shape) * scale).astype(np.float32)
