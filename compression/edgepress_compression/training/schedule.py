"""How a training goes: how long, how fast, by which optimizer, on which variations of the samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from edgepress_compression.training.augment import Augment

OptimizerName = Literal["adam", "sgd"]
_BETAS = (0.9, 0.999)
_MOMENTUM = 0.9
_LAST = 0.01  # of the full learning rate


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, by what."""

    steps: int
    batch_size: int
    learning_rate: float
    shift: float = (
        0.0  # pictures are moved by up to this fraction of their size; the answers are those of the unmoved
    )
    hold: float = 0.0  # fraction of the steps at the full rate; then it falls to 1 % along half a cosine
    warm_up: float = 0.0  # fraction of the steps in which the rate rises from 0 to the full one
    optimizer: OptimizerName = "adam"
    weight_decay: float = 0.0
    augment: Augment = field(default_factory=Augment)
    feature_match: float = 0.0  # weight of the distance to the teacher's activations
    consistent: bool = False  # the teacher answers samples as they were varied, not as they are
    patience: int = 0  # looks at held-out samples without a gain, after which it ends; 0: never

    def rate(self, step: int) -> float:
        """The learning rate of a step. Warm-up: Goyal et al. 2017, section 2.2; fall: Loshchilov and Hutter
        2017, equation 5, without restarts."""
        fraction = step / max(1, self.steps)
        if fraction < self.warm_up:
            return self.learning_rate * (step + 1) / (self.warm_up * self.steps + 1)
        if fraction <= self.hold:
            return self.learning_rate
        start = max(self.hold, self.warm_up)
        falling = (fraction - start) / (1 - start)
        return self.learning_rate * (_LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * falling)))

    def make_optimizer(self, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        """Adam (Kingma and Ba 2015), its decay decoupled (Loshchilov and Hutter 2019); or stochastic
        gradient descent with Nesterov's momentum. Decay is for matrices and kernels, not for biases."""
        rate = self.learning_rate
        if self.weight_decay == 0:
            if self.optimizer == "adam":
                return torch.optim.Adam(list(parameters), lr=rate, betas=_BETAS)
            return torch.optim.SGD(list(parameters), lr=rate, momentum=_MOMENTUM, nesterov=True)
        wide = [parameter for parameter in parameters if parameter.ndim > 1]
        narrow = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups = [
            {"params": wide, "weight_decay": self.weight_decay},
            {"params": narrow, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.optimizer == "adam":
            return torch.optim.AdamW(groups, lr=rate, betas=_BETAS)
        return torch.optim.SGD(groups, lr=rate, momentum=_MOMENTUM, nesterov=True)


def scaled(learning_rate: float, optimizer: OptimizerName, times: int) -> float:
    """The rate for batches `times` as large: in proportion for gradient descent (Krizhevsky 2014, section 5;
    Goyal et al. 2017, section 2.1), with the square root for Adam (Malladi et al. 2022, definition 5)."""
    return learning_rate * (times if optimizer == "sgd" else math.sqrt(times))
