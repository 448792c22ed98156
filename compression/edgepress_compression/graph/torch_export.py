"""PyTorch programs and modules become ONNX here, once; nothing is ever exported again after this."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch.onnx.errors import OnnxExporterError

from edgepress_compression.errors import GraphError
from edgepress_compression.graph.pt2 import vetted

OPSET = 20  # what the exporter writes best; onnxruntime >= 1.17 runs it
MAX_BATCH = 65_535


def onnx_from_pt2(data: bytes, *, max_bytes: int) -> onnx.ModelProto:
    """Converts an archive of `torch.export.save` that unpacks to at most `max_bytes`.

    Raises GraphError when it is unsafe, damaged or not exportable.
    """
    safe = vetted(data, max_bytes=max_bytes)
    with _quiet():
        try:
            program = torch.export.load(io.BytesIO(safe))
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise GraphError(
                f"torch {torch.__version__} cannot read this .pt2 file ({_short(error)}); save it again "
                "with that version."
            ) from None
        return _export(program, ())


def onnx_from_module(module: torch.nn.Module, example_inputs: tuple[Any, ...]) -> onnx.ModelProto:
    """Exports `module` in evaluation mode with a free batch; its training mode is put back.

    GraphError on failure.
    """
    training = module.training
    module.eval()
    # torch takes a size of 1 for fixed: two samples make the batch visible
    examples = tuple(x.expand(2, *x.shape[1:]) if x.shape[:1] == (1,) else x for x in example_inputs)
    batch = torch.export.Dim("N", min=1, max=MAX_BATCH)
    with _quiet():
        try:
            program = torch.export.export(
                module, examples, dynamic_shapes=tuple({0: batch} for _ in examples)
            )
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise GraphError(
                f"torch.export cannot trace this module with a free batch: {_short(error)}."
            ) from None
        finally:
            module.train(training)
        return _export(program, examples)


def _export(program: torch.export.ExportedProgram, examples: tuple[Any, ...]) -> onnx.ModelProto:
    try:
        exported = torch.onnx.export(program, examples, dynamo=True, opset_version=OPSET, verbose=False)
    except (OnnxExporterError, RuntimeError, ValueError, TypeError) as error:
        raise GraphError(f"torch.onnx cannot export this program: {_short(error)}.") from None
    if exported is None:
        raise GraphError("torch.onnx did not export this program; export it to an .onnx file and add that.")
    return exported.model_proto


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about its own deprecated calls and about packages that are not needed: not our
    reader's.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
