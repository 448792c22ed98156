"""How much each weight tensor matters for the model's answers, from a few inputs and no labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.training.loop import Fetch
from edgepress_compression.training.losses import Loss


def mean_information(
    executor: Executor,
    fetch: Fetch,
    rows: np.ndarray,
    loss: Loss,
    *,
    seed: int,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Mean of the Fisher information's diagonal over each weight tensor, by name.

    Half of it times a squared change is the divergence of the answers that a small random change brings. For
    classification the labels are drawn from the model's own answers; for other tasks it is the same for a
    normal distribution around the outputs, whose spread is that of the outputs (Gauss-Newton).
    """
    generator = torch.Generator().manual_seed(seed)
    total = dict.fromkeys(executor.weights, 0.0)
    for row in rows:
        check_cancelled()
        executor.zero_grad(set_to_none=True)
        outputs = executor({name: torch.from_numpy(a) for name, a in fetch(np.array([row])).items()})
        drawn_loss(outputs, loss, generator).backward()  # type: ignore[no-untyped-call]
        for name, weight in executor.weights.items():
            if weight.grad is not None:
                total[name] += float(weight.grad.double().square().mean()) / len(rows)
    executor.zero_grad(set_to_none=True)
    return total


def drawn_loss(
    outputs: dict[str, Tensor],
    loss: Loss,
    generator: torch.Generator,
    spreads: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """A loss whose squared gradients are the Fisher information: labels drawn from the model's own answers,
    or normal noise around its outputs, of their spread or of the given `spreads`."""
    if loss.classification:
        logits = loss.logits(outputs[loss.output])  # (1, classes)
        labels = torch.multinomial(logits.detach().softmax(dim=1), 1, generator=generator)[:, 0]
        return F.cross_entropy(logits, labels)
    parts = []
    for name, output in outputs.items():
        spread = output.detach().std(unbiased=False) if spreads is None else spreads[name]
        noise = torch.randn(output.shape, generator=generator)
        parts.append((output * noise / spread.clamp(min=1e-6)).sum())
    return torch.stack(parts).sum()


def equal_harm_steps(
    weights: dict[str, np.ndarray], information: dict[str, float], bits: float
) -> dict[str, float]:
    """A rounding step for each tensor so that the entropy of all rounded weights is `bits` a weight.

    Steps are proportional to information^-1/2: then the last bit spent on any tensor saves the same harm,
    since the squared error of rounding goes with step^2 and its entropy with -log2 step (Gish and Pierce
    1968).
    """
    floor = 1e-6 * max(information[name] for name in weights)
    relative = {name: max(information[name], floor, 1e-300) ** -0.5 for name in weights}
    count = sum(array.size for array in weights.values())
    low, high = (
        min(float(np.abs(a[a != 0]).min(initial=1e30)) / relative[n] / 16 for n, a in weights.items()),
        max(float(np.abs(a).max(initial=0)) / relative[n] * 4 for n, a in weights.items()),
    )
    for _ in range(40):
        middle = (low * high) ** 0.5
        entropy = sum(_entropy(array, middle * relative[name]) for name, array in weights.items())
        low, high = (middle, high) if entropy / count > bits else (low, middle)
    return {name: high * scale for name, scale in relative.items()}


def _entropy(array: np.ndarray, step: float) -> float:
    """Bits of all numbers of the array, rounded to multiples of `step`, at their zero-order entropy."""
    counts = np.unique(np.rint(array.reshape(-1) / step), return_counts=True)[1].astype(np.float64)
    return float(-(counts * np.log2(counts / counts.sum())).sum())
