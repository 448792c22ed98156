"""Inputs made from a seed, for models that come without data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edgepress_compression.artifact.probe import Probe, ProbeInput, probe_inputs
from edgepress_compression.graph.model import Graph

NORMAL_RANGE = (-4.0, 4.0)  # standard deviation 1.15: networks are mostly fed with about 1
FREE_LENGTH = 16  # of a free dimension that is not the batch, such as a sequence


def input_specs(graph: Graph, sample: Mapping[str, np.ndarray] | None = None) -> tuple[ProbeInput, ...]:
    """One generated input for each of the model's: batch 1, in the range of `sample` where there is one.

    Without a sample, numbers are bell-shaped in -4..4 and whole numbers 0 or 1, which every vocabulary has.
    """
    specs = []
    for one in graph.inputs:
        seen = None if sample is None else sample.get(one.name)
        if seen is not None:
            shape = (1, *seen.shape[1:]) if seen.ndim else ()
        else:
            free = [1, *[FREE_LENGTH] * max(len(one.shape) - 1, 0)]
            shape = tuple(side if isinstance(side, int) else free[i] for i, side in enumerate(one.shape))
        if one.dtype.kind in "iub":
            low, high = (0.0, 1.0) if seen is None else (float(seen.min()), float(seen.max()))
            kind = "tokens"
        else:
            low, high = NORMAL_RANGE if seen is None else (float(seen.min()), float(seen.max()))
            kind = "normal"
        specs.append(
            ProbeInput(name=one.name, shape=shape, dtype=one.dtype.name, kind=kind, low=low, high=high)  # type: ignore[arg-type]
        )
    return tuple(specs)


def generated_batches(graph: Graph, *, count: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """`count` batches of one generated sample."""
    specs = input_specs(graph)
    for number in range(count):
        yield probe_inputs(Probe(seed=(seed + number) % 2**32, inputs=specs))
