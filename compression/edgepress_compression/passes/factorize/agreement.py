"""Whether a factorized model still gives the original's answers: asked of inputs, without labels."""

from __future__ import annotations

import numpy as np

from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.calibration_rows import CalibrationRows
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit

_LEAST = 0.95  # below, the report says what to do
_BATCH, _MOST = 20, 200


def agreement(before: Graph, after: Graph, rows: CalibrationRows) -> float | None:
    """Fraction 0..1 of the rows whose highest score stands where it stood; None for what is no classifier."""
    if not rows.classification:
        return None
    old, new = open_session(before.serialize()), open_session(after.serialize())
    size = batch_limit(before, _BATCH)
    chosen = rows.rows[: max(size, min(_MOST, len(rows.rows)) // size * size)]
    same = 0
    for start in range(0, len(chosen), size):
        feed = rows.fetch(chosen[start : start + size])
        first, second = (_highest(run(session, feed)[0]) for session in (old, new))
        same += int((first == second).sum())
    return same / max(1, len(chosen))


def say_agreement(state: PassState, before: Graph, rows: CalibrationRows | None, what: str) -> str:
    """A sentence for the report's stage; warns when too many answers changed."""
    share = None if rows is None else agreement(before, state.graph, rows)
    if share is None:
        return ""
    if share < _LEAST:
        state.warn(
            f"{what} changed {1 - share:.0%} of the answers on the samples that were looked at; put the pass "
            "fine-tune behind it, or keep more."
        )
    return f"; {share:.1%} of the answers as before"


def _highest(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores.reshape(len(scores), -1).argmax(axis=1))
