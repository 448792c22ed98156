"""Whatever a person has, as a graph: a file, its bytes, a graph, a PyTorch module."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress_compression.errors import GraphError
from edgepress_compression.graph.load import from_module, load_model
from edgepress_compression.graph.model import Graph

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Source:
    graph: Graph
    sha256: str  # of the file; of the ONNX form where there is no file
    name: str


def read_source(
    source: Path | bytes | Graph | torch.nn.Module,
    example_inputs: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
    *,
    name: str | None = None,
) -> Source:
    """`name` is the model's; by default that of the file, of the graph, or of the module's class.

    Raises GraphError with what to do about it.
    """
    if isinstance(source, Path | bytes):
        graph = load_model(source)
        content = source if isinstance(source, bytes) else source.read_bytes()
        stem = graph.name if isinstance(source, bytes) else source.stem
        return Source(graph, hashlib.sha256(content).hexdigest(), name or stem)
    if isinstance(source, Graph):
        graph, own = source, source.name
    elif example_inputs is None:
        raise GraphError(
            "A PyTorch module is exported by running it: give example inputs, such as "
            "compress(module, torch.randn(1, 3, 224, 224), ...)."
        )
    else:
        examples = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
        graph, own = from_module(source, examples), type(source).__name__.lower()
    return Source(graph, hashlib.sha256(graph.serialize()).hexdigest(), name or own)
