"""Batches of sentences as long as their longest, where that changes nothing.

Data sets pad sentences to one length; most are far shorter, and work grows with length. A batch is cut after
the last column that its mask says counts. Whether the model gives the same answers is not supposed but tried,
on the first samples.
"""

from __future__ import annotations

import numpy as np

from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.model import Graph
from edgepress_compression.training.loop import Fetch

_TRIED = 8  # samples
_TOLERANCE = 1e-4  # of an output's largest value


def crop_padding(fetch: Fetch, graph: Graph, rows: np.ndarray) -> Fetch:
    """`fetch` with batches cut where padding begins; `fetch` itself for models that have no mask, whose
    length is fixed, or whose answers to `rows` change."""
    inputs = [value for value in graph.inputs if len(value.shape) == 2 and value.dtype.kind in "iub"]
    masks = [value.name for value in inputs if "mask" in value.name.lower()]
    free = {value.shape[1] for value in inputs if isinstance(value.shape[1], str)}
    same_length = len(free) == 1 and all(isinstance(value.shape[1], str) for value in inputs)
    if len(masks) != 1 or len(inputs) != len(graph.inputs) or not same_length or not len(rows):
        return fetch
    mask = masks[0]

    def shorter(chosen: np.ndarray) -> dict[str, np.ndarray]:
        batch = fetch(chosen)
        counting = np.flatnonzero(batch[mask].any(axis=0))
        length = int(counting[-1]) + 1 if len(counting) else 1
        return {name: np.ascontiguousarray(array[:, :length]) for name, array in batch.items()}

    session = open_session(graph.serialize())
    tried = rows[:_TRIED]
    for whole, cut in zip(run(session, fetch(tried)), run(session, shorter(tried)), strict=True):
        if whole.shape != cut.shape:
            return fetch
        if not np.allclose(whole, cut, rtol=0, atol=_TOLERANCE * max(1e-12, float(np.abs(whole).max()))):
            return fetch
    return shorter
