"""Decoding takes the decoded model and at most 8 MB more; from file to file, its largest tensor."""

import importlib.util
import sys
from pathlib import Path

import pytest

from edgepress_compression.artifact.read import decode
from edgepress_compression.codec import native

_SPEC = importlib.util.spec_from_file_location(
    "decode_memory", Path(__file__).parents[1] / "benchmarks/decode_memory.py"
)
decode_memory = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(decode_memory)

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from Linux's /proc"),
    pytest.mark.skipif(not native.available(), reason="the compiled codec is not built"),
]
MORE_BYTES = 8_000_000


@pytest.fixture(scope="module")
def made():
    """A model of 24 MB, half of it one tensor, and its artifact with the smallest coders."""
    onnx_model, codes = decode_memory.made_model(24)
    return onnx_model, decode_memory.written(onnx_model, codes, "small")


def test_decoding_takes_the_model_and_at_most_8_mb(made):
    onnx_model, artifact = made
    assert decode(artifact) == onnx_model
    grown = decode_memory.grown_bytes("memory", artifact)
    assert len(onnx_model) < grown < len(onnx_model) + MORE_BYTES


def test_decoding_into_a_file_takes_the_largest_tensor_and_at_most_8_mb(made):
    onnx_model, artifact = made
    assert (
        decode_memory.grown_bytes("file", artifact) < len(onnx_model) // 2 + len(artifact) // 3 + MORE_BYTES
    )
