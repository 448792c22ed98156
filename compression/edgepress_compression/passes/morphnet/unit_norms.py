"""How alive each unit of a channel group is: the scale of its batch normalization, or its weights' norm.

Behind batch normalization the scale gamma alone decides how loud a channel is (Gordon et al. 2018, section
3.2); units that several layers make together are as loud as the loudest of them. Elsewhere all weights that
go with the unit form one group (group lasso, Yuan and Lin 2006): those that make it and those that read it,
since with one side alone the other could grow by as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import ChannelGroup, Member
from edgepress_compression.graph.model import Graph

_SMALLEST = 1e-12  # under the root: its slope stays finite at 0
_GAMMA = 1  # position of the scale among BatchNormalization's inputs


class UnitNorms:
    """Norms of one group's units, as functions of an executor's weights."""

    def __init__(self, graph: Graph, group: ChannelGroup, executor: Executor) -> None:
        self.group = group
        gammas = {
            name
            for name, readers in graph.users().items()
            if any(node.op_type == "BatchNormalization" and at == _GAMMA for node, at in readers)
        }
        members = [one for one in _once(group.members) if one.tensor in executor.weights]
        of_gammas = [one for one in members if one.tensor in gammas]
        self.by_gamma = bool(of_gammas)
        self._members = [
            (one.axis, torch.from_numpy(one.positions), executor.weights[one.tensor])
            for one in (of_gammas or members)
        ]

    def __call__(self) -> Tensor:
        """(units,) not negative, differentiable."""
        if self.by_gamma:
            each = [weight[positions].abs().amax(dim=1) for _, positions, weight in self._members]
            return torch.stack(each).amax(dim=0)
        total = torch.zeros(self.group.units)
        count = 0
        for axis, positions, weight in self._members:
            squares = weight.square().movedim(axis, 0).reshape(weight.shape[axis], -1).sum(dim=1)
            total = total + squares[positions].sum(dim=1)
            count += weight.numel() // self.group.units
        return (total / max(count, 1) + _SMALLEST).sqrt()

    def values(self) -> np.ndarray:
        """(units,) float64, without gradient."""
        with torch.no_grad():
            norms: np.ndarray = self().double().numpy()
        return norms


def _once(members: Sequence[Member]) -> list[Member]:
    """Each axis of each tensor once, however many nodes use it."""
    return list({(one.tensor, one.axis): one for one in members}.values())
