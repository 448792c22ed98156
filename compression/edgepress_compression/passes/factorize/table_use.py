"""How often each row of a table is looked up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.executor.operators import Call
from edgepress_compression.graph.model import Graph
from edgepress_compression.training.loop import Fetch

_UNSEEN = 0.1  # of a mean row's use, added to all: rows that these samples lack are used by others


def table_use(
    executor: Executor,
    fetch: Fetch,
    rows: np.ndarray,
    tables: Sequence[str],
    graph: Graph,
    *,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """By table, relative use of its rows (n,) float64, 1 in the mean."""
    counts = {name: np.zeros(len(graph.weights[name])) for name in tables}

    def watch(call: Call, names: Sequence[str], values: Sequence[Tensor | None]) -> None:
        if call.op_type == "Gather" and names[0] in counts and values[1] is not None:
            found = values[1].reshape(-1).numpy()
            count = counts[names[0]]
            count += np.bincount(found % len(count), minlength=len(count))

    if counts:
        with torch.no_grad():
            for start in range(0, len(rows), batch_size):
                feed = fetch(rows[start : start + batch_size])
                executor({name: torch.from_numpy(array) for name, array in feed.items()}, watch=watch)
    uses = {}
    for name, count in counts.items():
        smoothed = count / max(count.mean(), 1e-30) + _UNSEEN
        uses[name] = smoothed / smoothed.mean()
    return uses
