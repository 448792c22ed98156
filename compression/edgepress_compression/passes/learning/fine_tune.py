"""Fine-tuning: training what earlier passes left, towards the labels and the original model's answers.

What is zero stays zero, and a tensor that a pass coded (integers, shared values) stays as it was coded, so
that neither sparsity nor bytes are lost; everything else is trained (Han et al. 2015, section 3.2: retraining
of what survives a cut; the answers as target: Hinton, Vinyals, Dean 2015). Samples that are held out judge:
when training made the model worse on them, the weights from before are kept.
"""

from __future__ import annotations

import time

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import training_data
from edgepress_compression.passes.tune import Training, planned_steps, tune
from edgepress_compression.training.constraint import Free, zeros_kept


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it trains (`Training`), and what it leaves alone."""

    keep_zeros: bool = True  # what is zero in a layer's weights stays zero
    most_lost_points: float = 0.0  # of accuracy on held-out samples; more, and nothing is changed


def run(state: PassState, options: Options) -> None:
    """Trains `state.graph`. Raises RecipeError where there is nothing to train on."""
    started = time.monotonic()
    data = training_data(state, most_gmacs=options.most_gmacs, labels_only=options.label_share >= 1)
    if data is None:
        raise RecipeError(
            "fine-tune trains, and there is nothing to train on: give a data set with a split named train "
            "and a model of operators that can be trained."
        )
    graph = state.graph
    executor = Executor(graph)
    layers = graph.prunable() if options.keep_zeros else []
    constraint = zeros_kept(executor, layers, fixed=state.codes) if layers else Free(executor, state.codes)
    if not constraint.parameters():
        state.warn("fine-tune has nothing to train: every weight is coded already. Put it before.")
        return
    judge = HeldOut(executor, data, graph.outputs[0].name, options.most_lost_points)
    judged = data.classification and len(data.held_out) > 0
    before = judge.accuracy(executor) if judged else None
    tune(state, executor, data, constraint, options, label="fine-tuning")
    after = judge.accuracy(executor) if judged else None
    note = None if before is None else f"{before:.2%} on held-out samples before"
    if before is not None and after is not None and not judge.accepts(after):
        state.warn(
            f"Fine-tuning lost accuracy on held-out samples ({before:.2%} before, {after:.2%} after), so the "
            "weights from before are kept. A lower learning_rate may help."
        )
        after, note = before, "nothing was gained, so nothing was changed"
    else:
        executor.write_back(graph)
    state.add_stage(
        f"fine-tune, {planned_steps(state, data, options)} steps of {options.batch_size}",
        started,
        accuracy=after,
        note=note,
    )
