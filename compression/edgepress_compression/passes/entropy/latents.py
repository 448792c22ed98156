"""Weights as whole numbers times a step, trained: what the pass `entropy` moves.

A weight is step * round(latent) (Oktay et al. 2020, "Scalable Model Compression by Entropy Penalized
Reparameterization", section 2: latents, a learned scalar decoder for each tensor, straight-through rounding).
The loss has price * bits added to it, with the bits of density.py for the rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.executor import Executor
from edgepress_compression.passes.entropy.density import Slopes, slopes
from edgepress_compression.passes.entropy.price import PriceControl

MOST = 127  # integers stay in int8
_NEWS = 0.02  # weight of the newest gradient in the mean of their squares
_STEP_PACE = 3.0  # the logarithm of a step moves so many times faster than a weight


@dataclass(frozen=True)
class Form:
    """How a tensor is read: `axis` of its outputs, `kernel` elements that make a channel, and its step."""

    axis: int
    kernel: int
    steps: Tensor  # (1,) or (outputs,), at first


class Latent:
    """One tensor."""

    def __init__(self, weight: nn.Parameter, form: Form) -> None:
        self.weight, self.form = weight, form
        start = weight.detach()
        self._sides = [1] * start.ndim
        if start.ndim:
            self._sides[form.axis] = -1
        self._unit = form.steps.reshape(self._sides if len(form.steps) > 1 else [1] * start.ndim)
        limit = MOST + 0.49
        self.values = nn.Parameter((start / self._unit).clamp(-limit, limit) * self._unit)
        self.scale = nn.Parameter(torch.zeros_like(form.steps))
        self.slopes: Slopes | None = None
        self.settled_scale: Tensor | None = None  # steps' logarithms when integers stopped moving
        self.information = torch.zeros_like(
            start
        )  # mean squared gradient of a latent: the Fisher information
        self.zeroed: Tensor | None = None  # bool, of the tensor's shape: zero whatever the latent says

    def latents(self) -> Tensor:
        """The tensor's shape, in steps."""
        return self.values.detach() / self._unit

    def integers(self) -> Tensor:
        """The tensor's shape, float."""
        integers = self.latents().round().clamp(-MOST, MOST)
        return integers if self.zeroed is None else integers.masked_fill(self.zeroed, 0.0)

    def harm(self) -> Tensor:
        """The tensor's shape: the loss that zeroing a weight adds, for each bit that it saves.

        Optimal Brain Damage (LeCun et al. 1990, equation 5) with the Fisher information for the Hessian.
        """
        integers = self.integers()
        bits = torch.ones_like(integers)
        if self.slopes is not None:
            beyond = torch.cat([torch.zeros(2), self.slopes.further.cumsum(0)])
            sizes = beyond[self.rows(integers).abs().long().clamp(max=len(beyond) - 1)]
            bits = self._unrows(self.slopes.first + sizes).clamp(min=0.1)
        return 0.5 * integers.square() * self.information / bits

    def steps(self) -> Tensor:
        """(1,) or (outputs,)."""
        return self.form.steps * torch.exp(_STEP_PACE * self.scale.detach())

    def _wide(self, per_output: Tensor) -> Tensor:
        return per_output.reshape(self._sides if len(per_output) > 1 else [1] * len(self._sides))

    def rows(self, tensor: Tensor) -> Tensor:
        """(outputs, rest)"""
        if tensor.ndim < 2:
            return tensor.reshape(1, -1)
        return tensor.movedim(self.form.axis, 0).reshape(tensor.shape[self.form.axis], -1)

    def _unrows(self, matrix: Tensor) -> Tensor:
        shape = list(self.values.shape)
        if len(shape) < 2:
            return matrix.reshape(shape)
        first = shape.pop(self.form.axis)
        return matrix.reshape(first, *shape).movedim(0, self.form.axis)

    def refresh(self) -> float:
        """Counts again; the bits of the tensor as it is."""
        self.slopes = slopes(self.rows(self.integers()), self.form.kernel)
        return self.slopes.bits

    def parameters(self) -> list[Tensor]:
        return [self.scale] if self.settled_scale is not None else [self.values, self.scale]

    def squared_gradients(self) -> tuple[float, float]:
        """Of the loss and of the bits, both for latents in steps, summed."""
        if self.slopes is None or self.weight.grad is None:
            return 0.0, 0.0
        loss = self.weight.grad * self._unit
        bits = self.slopes.gradient(self.rows(self.latents()))
        return float(loss.square().sum()), float(bits.square().sum())

    def collect(self, price: float) -> None:
        gradient = self.weight.grad
        if gradient is None:
            gradient = torch.zeros_like(self.weight)
        grown = self._wide(torch.exp(_STEP_PACE * self.scale.detach()))
        moved = gradient * grown
        self.information.lerp_((moved * self._unit).square(), _NEWS)
        if price > 0 and self.slopes is not None:
            rate = self.slopes.gradient(self.rows(self.latents()))
            moved = moved + price * self._unrows(rate) / self._unit
        self.values.grad = moved
        by_step = gradient * self.weight.detach() * _STEP_PACE
        if len(self.scale) > 1:
            self.scale.grad = self.rows(by_step).sum(dim=1)
        else:
            self.scale.grad = by_step.sum().reshape(1)

    def settle(self) -> None:
        """Latents become the integers that they stand for; from now on only steps are trained."""
        with torch.no_grad():
            self.values.copy_(self.integers() * self._unit)
        self.settled_scale = self.scale.detach().clone()

    def apply(self) -> None:
        with torch.no_grad():
            limit = self._unit.abs() * (MOST + 0.49)
            self.values.copy_(torch.minimum(torch.maximum(self.values, -limit), limit))
            self.weight.copy_(self.integers() * self._wide(self.steps()))

    def code(self) -> ScaledIntegers:
        integers = self.integers().numpy().astype(np.int32)
        return ScaledIntegers(integers, self.steps().numpy().astype(np.float32), self.form.axis)


class PricedIntegers:
    """The constraint: tensors named in `forms` are whole numbers times steps, others are free."""

    def __init__(self, executor: Executor, forms: Mapping[str, Form], price: float = 0.0) -> None:
        self._executor = executor
        self.price = price
        self.bits = 0.0
        self._pricing: PriceControl | None = None
        self._every, self._step = 1, 0
        self._balance: float | None = None
        self.tensors = {name: Latent(executor.weights[name], form) for name, form in forms.items()}
        self._free = [weight for name, weight in executor.weights.items() if name not in forms]
        self.apply()

    def parameters(self) -> list[Tensor]:
        own = [p for latent in self.tensors.values() for p in latent.parameters()]
        return [*own, *self._free]

    def settle(self) -> None:
        """Integers stay as they are now; what is left to train are steps and free tensors."""
        for latent in self.tensors.values():
            latent.settle()
        self._pricing, self.price = None, 0.0

    def restore(self, settled: Mapping[str, Tensor]) -> None:
        """Steps and free tensors as they were when integers settled, from the executor's weights of then."""
        with torch.no_grad():
            for latent in self.tensors.values():
                if latent.settled_scale is not None:
                    latent.scale.copy_(latent.settled_scale)
            for name, weight in self._executor.weights.items():
                if name not in self.tensors:
                    weight.copy_(settled[name])
        self.apply()

    def zero_least(self, fraction: float) -> None:
        """Zeroes the fraction of the nonzero weights that does least harm for its bits; biases stay."""
        matrices = [latent for latent in self.tensors.values() if latent.weight.ndim > 1]
        for latent in matrices:
            latent.zeroed = None
        if fraction > 0:
            harms = [latent.harm() for latent in matrices]
            kept = torch.cat([h[latent.integers() != 0] for h, latent in zip(harms, matrices, strict=True)])
            count = int(fraction * len(kept))
            if count:
                most = kept.kthvalue(count).values
                for harm, latent in zip(harms, matrices, strict=True):
                    latent.zeroed = harm <= most
        self.apply()

    def pace(self, pricing: PriceControl, every: int) -> None:
        """From now on bits are counted, and the price is decided, every so many steps."""
        self._pricing, self._every, self._step = pricing, every, 0

    def begin(self, fraction: float, optimizer: torch.optim.Adam) -> None:
        if self._pricing is not None and self._step % self._every == 0:
            self.refresh()
            if self._balance is not None:
                self.price = self._pricing.price(fraction, self.bits, self._balance)
        self._step += 1

    def resume_state(self) -> dict[str, Any]:
        """For training/checkpoint.py."""
        slopes = {name: latent.slopes for name, latent in self.tensors.items()}
        return {
            "price": self.price,
            "bits": self.bits,
            "balance": self._balance,
            "step": self._step,
            "slopes": {name: [s.first, s.further, s.bits] for name, s in slopes.items() if s is not None},
            "information": {name: latent.information.clone() for name, latent in self.tensors.items()},
            "pricing": {} if self._pricing is None else self._pricing.resume_state(),
        }

    def resume_from(self, state: dict[str, Any]) -> None:
        self.price, self.bits = state["price"], state["bits"]
        self._balance, self._step = state["balance"], state["step"]
        for name, parts in state["slopes"].items():
            self.tensors[name].slopes = Slopes(*parts)
        for name, information in state["information"].items():
            self.tensors[name].information.copy_(information)
        if self._pricing is not None:
            self._pricing.resume_from(state["pricing"])

    def refresh(self) -> None:
        """Counts again: bits of all tensors as they are, and slopes."""
        self.bits = sum(latent.refresh() for latent in self.tensors.values())

    def collect(self) -> None:
        if self._pricing is not None and self._balance is None:
            lengths = [latent.squared_gradients() for latent in self.tensors.values()]
            of_bits = max(sum(bits for _, bits in lengths), 1e-30)
            self._balance = math.sqrt(sum(loss for loss, _ in lengths) / of_bits)
        for latent in self.tensors.values():
            latent.collect(self.price)

    def apply(self) -> None:
        for latent in self.tensors.values():
            latent.apply()

    def codes(self) -> dict[str, ScaledIntegers]:
        return {name: latent.code() for name, latent in self.tensors.items()}
