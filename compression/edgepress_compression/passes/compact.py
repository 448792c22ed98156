"""Short names for what nobody reads: every byte of the graph is sent to every device."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from edgepress_compression.graph.model import Graph

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
READABLE_ELEMENTS = 64  # larger initializers keep their names, for listings of where the bytes went


def compact(graph: Graph, *, share_equal: bool = True) -> None:
    """Takes node names off and renames activations and small initializers; inputs and outputs keep theirs.

    Integers and small tensors that are equal become one: what two layers share was quantized for each. Not
    with `share_equal` off, for a model that is still to be trained: equal biases need not stay equal.
    """
    if share_equal:
        _share_equal(graph)
    proto = graph.proto.graph
    kept = {one.name for one in (*proto.input, *proto.output)}
    kept |= {name for name, array in graph.weights.items() if array.size >= READABLE_ELEMENTS}
    fresh = _short_names(kept)
    renamed: dict[str, str] = {}
    for tensor in proto.initializer:
        if tensor.name not in kept:
            tensor.name = renamed.setdefault(tensor.name, next(fresh))
    for node in proto.node:
        node.ClearField("name")
        node.ClearField("doc_string")
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name and name not in kept:
                    if name not in renamed:
                        renamed[name] = next(fresh)
                    names[position] = renamed[name]
    del proto.value_info[:]
    graph.refresh()


def _share_equal(graph: Graph) -> None:
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    same: dict[str, str] = {}
    outputs = {one.name for one in graph.proto.graph.output}
    for name, array in graph.weights.items():
        if name not in outputs and (array.dtype.kind in "iu" or array.size < READABLE_ELEMENTS):
            kept = first.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
            if kept != name:
                same[name] = kept
    for node in graph.proto.graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = same.get(name, name)
    tensors = graph.proto.graph.initializer
    for number in reversed([n for n, tensor in enumerate(tensors) if tensor.name in same]):
        del tensors[number]
    graph.refresh()


def _short_names(taken: set[str]) -> Iterator[str]:
    """Counts in base 36, without the names that are taken."""
    for number in count():
        name, rest = _DIGITS[number % len(_DIGITS)], number // len(_DIGITS)
        while rest:
            name, rest = _DIGITS[rest % len(_DIGITS)] + name, rest // len(_DIGITS)
        if name not in taken:
            yield name
