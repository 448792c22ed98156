"""How much each weight matters: one number a weight, larger is more important, by every published measure.

    magnitude   |w|                        Han et al. 2015, section 3.1; needs no data
    lamp        magnitude, over layers     Lee et al. 2021, equation 4; needs no data
    taylor      (g w)^2 over batches       Molchanov et al. 2019, equation 8
    fisher      w^2 E[g^2] / 2             Theis et al. 2018, equation 7
    obd         w^2 h / 2                  LeCun, Denker, Solla 1990, equation 5
    obs         w^2 / (2 [H^-1])           Hassibi, Stork 1993, equation 5; small models
    layer-obs   the same a layer at a time Dong et al. 2017 (L-OBS), equation 7

`taylor` wants batches of many samples: gradients that cancel within one do not count, which tells it from
`fisher`, of single samples. At a minimum of the loss the first-order term vanishes and the Fisher information
equals the Hessian in expectation.

All but `magnitude` compare weights of different layers: they estimate the loss that zeroing one weight adds
(`lamp`: relative to its layer). `obs` and `layer-obs` count on the remaining weights being updated, which
obs.py and layer_update.py do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args

import numpy as np
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.pruning.saliency.gradients import labelled, mean_squared_gradients
from edgepress_compression.passes.pruning.saliency.layer_obs import layer_obs
from edgepress_compression.passes.pruning.saliency.magnitude import lamp, magnitude
from edgepress_compression.passes.pruning.saliency.obd import random_directions
from edgepress_compression.passes.pruning.saliency.obs import obs
from edgepress_compression.training.loop import Samples
from edgepress_compression.training.losses import Loss

Kind = Literal["magnitude", "lamp", "taylor", "fisher", "obd", "obs", "layer-obs"]
KINDS: Final = get_args(Kind)
WITHOUT_DATA: Final = ("magnitude", "lamp")
_BATCH = 10


def scores(
    kind: Kind,
    executor: Executor,
    samples: Samples,
    rows: np.ndarray,
    loss: Loss,
    names: Sequence[str],
    *,
    seed: int,
    batch_size: int = _BATCH,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Scores >= 0 by weight name, each of its weight's shape, from the given rows of `samples`.

    With `loss.label_share` 0 labels are never looked at: they are drawn from the model's own answers.
    `batch_size` is how many samples run at once; of `taylor` it is part of the measure. The executor's
    weights are not changed, its gradients are cleared. `obs` raises RecipeError for a model that is too
    large for it.
    """
    weights = {name: executor.weights[name].detach() for name in names}
    if kind == "magnitude":
        return {name: magnitude(weight) for name, weight in weights.items()}
    if kind == "lamp":
        return {name: lamp(weight) for name, weight in weights.items()}
    if kind == "layer-obs":
        return layer_obs(
            executor, samples, rows, loss, names,
            seed=seed, batch_size=batch_size, check_cancelled=check_cancelled,
        )  # fmt: skip
    if kind == "obs":
        return obs(executor, samples, rows, loss, names, check_cancelled=check_cancelled)
    objective = random_directions(loss, seed) if kind == "obd" else labelled(loss, seed)
    squares = mean_squared_gradients(
        executor, samples, rows, names, objective,
        batch_size=batch_size if kind == "taylor" else 1, check_cancelled=check_cancelled,
    )  # fmt: skip
    by = 1.0 if kind == "taylor" else 0.5
    return {name: by * weight.square() * squares[name] for name, weight in weights.items()}
