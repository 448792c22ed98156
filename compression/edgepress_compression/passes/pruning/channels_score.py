"""How much each unit of a channel group matters: one number a unit, comparable over all groups.

    fisher     what the answers change, in nats, when the unit goes: half the mean square of the gradient of a
               gate on the unit (Theis et al. 2018, section 2.2; for channels that are cut together Liu et al.
               2021, Group Fisher Pruning, equation 5). Labels are drawn from the model's own answers, so that
               none are needed.
    taylor     mean magnitude of the gate's gradient (Molchanov et al. 2017, equation 8)
    magnitude  squares of all weights that go with the unit, relative to their group's mean (Li et al. 2017)

The gate of a unit multiplies it where it is read: its gradient is the sum of weight times gradient over the
weights that read the unit, whatever lies between those and the weights that make it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import ChannelGroup, Member
from edgepress_compression.graph.model import Graph, is_float
from edgepress_compression.passes.sharing.sensitivity import drawn_loss
from edgepress_compression.training.loop import Fetch
from edgepress_compression.training.losses import Loss

Saliency = Literal["fisher", "taylor", "magnitude"]
_SPREAD_ROWS = 32
_LEAST_SPREAD = 0.1  # of the widest channel's
_BATCH = 8  # few, so that gradients of different samples do not cancel in a batch


def magnitude_scores(graph: Graph, groups: Sequence[ChannelGroup]) -> dict[str, np.ndarray]:
    """Group name -> (units,) float64, mean 1."""
    scores = {}
    for group in groups:
        total = np.zeros(group.units)
        for member in group.members:
            weight = graph.weights[member.tensor]
            if is_float(weight.dtype):
                squares = np.square(weight, dtype=np.float64)
                total += _by_unit(squares, member)
        scores[group.name] = total / max(float(total.mean()), 1e-300)
    return scores


def gate_scores(
    executor: Executor,
    groups: Sequence[ChannelGroup],
    fetch: Fetch,
    rows: np.ndarray,
    loss: Loss,
    *,
    kind: Literal["fisher", "taylor"] = "fisher",
    batch_size: int = _BATCH,
    seed: int,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """Group name -> (units,) float64, from one backward pass for each batch of `rows`."""
    generator = torch.Generator().manual_seed(seed)
    total = {group.name: np.zeros(group.units) for group in groups}
    spreads = (
        None if loss.classification else channel_spreads(executor, fetch, rows[:_SPREAD_ROWS], batch_size)
    )
    batches = 0
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        check_cancelled()
        executor.zero_grad(set_to_none=True)
        outputs = executor({name: torch.from_numpy(a) for name, a in fetch(chosen).items()})
        drawn_loss(outputs, loss, generator, spreads).backward()  # type: ignore[no-untyped-call]
        for group in groups:
            gradient = _gate_gradient(executor, group)
            if kind == "fisher":  # the loss is a mean: of n samples its square is n times too small
                total[group.name] += 0.5 * len(chosen) * gradient**2
            else:
                total[group.name] += np.abs(gradient)
        batches += 1
    executor.zero_grad(set_to_none=True)
    return {name: sums / max(batches, 1) for name, sums in total.items()}


def channel_spreads(executor: Executor, fetch: Fetch, rows: np.ndarray, batch_size: int) -> dict[str, Tensor]:
    """Output -> standard deviation of each of its channels over `rows` and positions, in a shape that divides
    the output; one number for outputs without positions.

    Channels of one output may be as unlike as a detector's scores and its boxes: by one spread for all, only
    the widest would seem to matter. Below a tenth of the widest a spread counts as that: a class that was
    hardly seen is not known to a hair's breadth.
    """
    sums: dict[str, Tensor] = {}  # of values, squares, and their number, a channel each
    with executor.deployed(), torch.no_grad():
        for start in range(0, len(rows), batch_size):
            feed = fetch(rows[start : start + batch_size])
            for name, output in executor({n: torch.from_numpy(a) for n, a in feed.items()}).items():
                x = output.double()
                over = [axis for axis in range(x.ndim) if axis != _channel_axis(x)]
                one = torch.stack(
                    [x.sum(over, True), x.square().sum(over, True), torch.ones_like(x).sum(over, True)]
                )
                sums[name] = sums[name] + one if name in sums else one
    spreads = {}
    for name, (total, squares, count) in sums.items():
        spread = (squares / count - (total / count).square()).clamp(min=0).sqrt()
        spreads[name] = spread.clamp(min=_LEAST_SPREAD * float(spread.max())).float()
    return spreads


def _channel_axis(output: Tensor) -> int | None:
    """(batch, channels, height, width) or (batch, positions, channels); None: all are of one kind."""
    return {3: 2, 4: 1}.get(output.ndim)


def _gate_gradient(executor: Executor, group: ChannelGroup) -> np.ndarray:
    """(units,) derivative of the loss by a factor on each unit."""
    total = np.zeros(group.units)
    # where nobody reads with a weight of its own, the weights that make the unit scale it as well
    readers = [one for one in group.members if one.role == "reads"] or [
        one for one in group.members if one.role == "makes"
    ]
    seen = set()
    for member in readers:
        weight = executor.weights.get(member.tensor)
        if weight is None or weight.grad is None or (member.tensor, member.axis) in seen:
            continue
        seen.add((member.tensor, member.axis))  # a tensor used twice has the gradient of both uses
        total += _by_unit((weight.detach() * weight.grad).double().numpy(), member)
    return total


def _by_unit(array: np.ndarray, member: Member) -> np.ndarray:
    """Sums of `array` over everything that belongs to each unit, (units,)."""
    along = array.sum(axis=tuple(axis for axis in range(array.ndim) if axis != member.axis))
    sums: np.ndarray = along[member.positions].sum(axis=1)
    return sums
