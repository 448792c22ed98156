"""What each layer's integers cost the model's answers, for choosing which layers stay in floats.

One layer is rounded (its weight and its input), the rest computes in floats, and the divergence from the
model's own answers is measured in nats: the loss itself, where HAWQ (Dong et al. 2019) takes the Hessian's
largest eigenvalue for it.
"""

from __future__ import annotations

import numpy as np
import torch

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor, missing_operators
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.int8.prepare import Prepared
from edgepress_compression.passes.int8.training_graph import training_graph
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit
from edgepress_compression.training.losses import loss_for

_BATCH = 10
_MOST_GMACS = 1000.0  # 1e9 multiply-accumulates of measuring
_FEWEST_SAMPLES = 8


def layer_losses(state: PassState, prepared: Prepared, samples: int) -> dict[str, float]:
    """Nats by the layer's weight, in graph order. RecipeError where the model cannot be looked into."""
    missing = missing_operators(prepared.graph)
    found = None if missing else calibration_rows(state, samples)
    if found is None:
        raise RecipeError(
            "keep_float measures what each layer costs, and this model's operators do not allow that"
            f"{': ' + ', '.join(missing) if missing else ''}. Name layers in float_layers, or leave both out."
        )
    names = list(dict.fromkeys(node.input[1] for node in prepared.layers))
    macs = max(1, state.graph.macs() or state.graph.weight_bytes())
    count = max(_FEWEST_SAMPLES, int(_MOST_GMACS * 1e9 / (macs * (len(names) + 1))))
    rows = found.rows[:count]
    size = batch_limit(state.graph, _BATCH)
    feeds = [
        {name: torch.from_numpy(a) for name, a in found.fetch(rows[first : first + size]).items()}
        for first in range(0, max(len(rows) - size, 0) + 1, size)
    ]
    task = "classification" if found.classification else "other"
    loss = loss_for(state.graph, task, label_share=0.0, temperature=1.0)
    losses: dict[str, float] = {}
    with torch.no_grad():
        floats = Executor(prepared.graph)
        answers = [floats(feed) for feed in feeds]
        for done, name in enumerate(names):
            state.check_cancelled()
            state.progress(0.4 + 0.4 * done / len(names), f"what {name} loses in integers")
            played = Executor(training_graph(prepared, state.codes, only=name).graph)
            each = [
                float(loss(played(feed), torch.zeros(0), answer))
                for feed, answer in zip(feeds, answers, strict=True)
            ]
            losses[name] = float(np.mean(each))
    return losses
