"""Which units go: always those that cost the model least for what they save, until the cost is met.

Saving is counted at the widths that are left (graph/width_cost.py), since a filter saves less work the fewer
channels it reads; so the order is found step by step.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgepress_compression.graph.channels import ChannelGroup
from edgepress_compression.graph.width_cost import WidthCost

_STEPS = 64  # at most, in which a group loses all that it may


def choose_units(
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, np.ndarray],
    cost: WidthCost,
    target: float,
    *,
    least: Mapping[str, int],
    multiple: int = 1,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """Group name -> (units,) bool, true for what stays; only groups that lose some.

    `target` is in the unit of `cost`. Every group keeps at least `least` units (group -> units), and where it
    loses any, a multiple of `multiple` (and of its own granularity). When nothing more can go,
    the cost may stay above the target.
    """
    queues = {group.name: _Queue(group, scores[group.name], least[group.name], multiple) for group in groups}
    dropped: dict[str, float] = {}
    left = cost.cost(dropped)
    heap = [(_price(queue, cost, dropped), name) for name, queue in queues.items() if queue.more()]
    heapq.heapify(heap)
    while heap and left > target:
        check_cancelled()
        price, name = heapq.heappop(heap)
        queue = queues[name]
        now = _price(queue, cost, dropped)
        if heap and now > heap[0][0] and now > price:  # other groups' losses changed what this one saves
            heapq.heappush(heap, (now, name))
            continue
        if now == math.inf:
            break  # what is left saves nothing
        if cost.saving(name, queue.next_count(), dropped) >= left - target:  # the last step
            name = _last(queues, cost, dropped, left - target)
            queues[name].take()
            break
        left -= cost.saving(name, queue.next_count(), dropped)
        dropped[name] = dropped.get(name, 0.0) + queue.next_count()
        queue.take()
        if queue.more():
            heapq.heappush(heap, (_price(queue, cost, dropped), name))
    return {name: queue.kept() for name, queue in queues.items() if queue.taken}


def least_units(groups: Sequence[ChannelGroup], fraction: float) -> dict[str, int]:
    """Group -> how many units are that fraction of it, at least one."""
    return {group.name: max(1, math.ceil(fraction * group.units)) for group in groups}


def reachable(
    groups: Sequence[ChannelGroup],
    cost: WidthCost,
    fraction: float,
    *,
    least: Mapping[str, int],
    multiple: int = 1,
) -> tuple[float, float]:
    """(target, floor): the fraction of the whole cost, and the lowest cost to which these groups can be cut.

    Where the floor is above the fraction, the target is that fraction of what can be cut: a network with
    nothing left in it is no use to anybody.
    """
    whole = cost.cost({})
    none = {group.name: np.zeros(group.units) for group in groups}
    bare = {
        group.name: float(_Queue(group, none[group.name], least[group.name], multiple).most)
        for group in groups
    }
    floor = cost.cost(bare)
    if floor <= fraction * whole:
        return fraction * whole, floor
    return floor + fraction * (whole - floor), floor


def _last(queues: Mapping[str, _Queue], cost: WidthCost, dropped: Mapping[str, float], needed: float) -> str:
    """The group whose next step saves enough and matters least: a price would favour large steps."""
    enough = {
        name: queue.next_score()
        for name, queue in queues.items()
        if queue.more() and cost.saving(name, queue.next_count(), dropped) >= needed
    }
    return min(enough, key=lambda name: enough[name])


def _price(queue: _Queue, cost: WidthCost, dropped: Mapping[str, float]) -> float:
    """Importance lost for each unit of cost saved by the next step of a group."""
    saved = cost.saving(queue.name, queue.next_count(), dropped)
    return queue.next_score() / saved if saved > 0 else math.inf


class _Queue:
    """The units of one group from the least important, in steps that keep its widths legal."""

    def __init__(self, group: ChannelGroup, scores: np.ndarray, least: int, multiple: int) -> None:
        self.name = group.name
        self.taken = 0
        self._units = group.units
        self._order = np.argsort(scores, kind="stable")
        self._scores = scores
        grain = math.lcm(group.granularity, multiple)
        self._grain = grain if grain < group.units else group.granularity
        self.most = max(0, group.units - math.ceil(least / self._grain) * self._grain)

    def more(self) -> bool:
        return self.taken < self.most

    def next_count(self) -> int:
        """Units of the next step: few of many, and to a multiple first."""
        off = (self._units - self.taken) % self._grain
        coarse = max(1, self._units // (_STEPS * self._grain)) * self._grain
        return min(off or coarse, self.most - self.taken)

    def next_score(self) -> float:
        return float(self._scores[self._order[self.taken : self.taken + self.next_count()]].sum())

    def take(self) -> None:
        self.taken += self.next_count()

    def kept(self) -> np.ndarray:
        mask = np.ones(self._units, bool)
        mask[self._order[: self.taken]] = False
        return mask
