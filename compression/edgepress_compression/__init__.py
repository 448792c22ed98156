"""Compression of ONNX models into artifacts.

    import edgepress_compression
    result = edgepress_compression.compress(module, example_inputs, recipe="int8", profile=..., dataset=...)

Light at import: the agent uses `codec` and `artifact` without torch or onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import edgepress_devices  # noqa: F401 - before onnxruntime: it turns that library's own telemetry off

if TYPE_CHECKING:
    from edgepress_compression.compress import compress as compress


def __getattr__(name: str) -> Any:
    """`compress` when it is first asked for, since it needs onnx (compress.py makes its module callable)."""
    if name == "compress":
        return importlib.import_module("edgepress_compression.compress")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
