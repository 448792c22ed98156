"""Width expansion: the learned structure times one factor, as wide as the budget allows.

Gordon et al. 2018, algorithm 1, line 3: the largest omega with cost(omega * widths) <= budget. Units come
back from those that the original had, as far as there are some; beyond that a unit is split in two that
together are what it was (Chen, Goodfellow, Shlens 2016, Net2Net, section 3.2). Either way the network
computes at first what it did before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgepress_compression.errors import GraphError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.generated import generated_batches
from edgepress_compression.graph.channels import ChannelGroup
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import WidthCost

_WIDEST = 8.0
_SAME = 1e-3  # relative to the largest output: rounding of sums in another order


def expanded_widths(
    groups: Sequence[ChannelGroup],
    alive: Mapping[str, int],
    cost: WidthCost,
    budget: float,
    *,
    widest: float = _WIDEST,
    multiple: int = 1,
) -> tuple[float, dict[str, int]]:
    """(omega, width by group): the widest with `cost` at most `budget`; at least 1 times what is alive."""

    def widths(omega: float) -> dict[str, int]:
        found = {}
        for group in groups:
            step = max(multiple, group.granularity)
            wide = max(alive[group.name], int(omega * alive[group.name] / step) * step)
            found[group.name] = wide
        return found

    def price(omega: float) -> float:
        return cost.cost({one.name: one.units - widths(omega)[one.name] for one in groups})

    low, high = 1.0, widest
    if price(high) <= budget:
        return high, widths(high)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if price(middle) <= budget else (low, middle)
    return low, widths(low)


def revive(
    graph: Graph,
    original: Graph,
    groups: Sequence[ChannelGroup],
    units: Mapping[str, np.ndarray],
) -> None:
    """Gives `units` (group -> bool (units,)) the weights that they were made with in `original`, and lets
    nobody read them yet, so that the outputs stay what they are without them."""
    weights = {name: graph.weights[name].copy() for name in graph.weights}
    touched: set[str] = set()
    for role in ("makes", "rides", "reads"):  # a tensor that does both is read by nobody in the end
        for group in groups:
            for member in group.members:
                chosen = member.positions[units[group.name]].reshape(-1) if group.name in units else []
                if member.role != role or not len(chosen):
                    continue
                place = (*[slice(None)] * member.axis, chosen)
                source = original.weights[member.tensor]
                weights[member.tensor][place] = 0 if role == "reads" else source[place]
                touched.add(member.tensor)
    for name in touched:
        graph.set_weight(name, weights[name])


def widened(
    graph: Graph, groups: Sequence[ChannelGroup], extra: Mapping[str, int], *, seed: int
) -> tuple[Graph, dict[str, int]]:
    """(a copy with that many more units in each group, those that were really added).

    A group whose channels are written into the graph's layout (a Reshape's or Pad's numbers) stays as it is.
    """
    wide = graph
    added: dict[str, int] = {}
    for group in groups:
        count = extra.get(group.name, 0)
        if count <= 0 or group.granularity > 1:
            continue
        candidate = _widen_one(wide, group, count, np.random.default_rng((seed, len(added))))
        if _same(wide, candidate, seed):
            wide = candidate
            added[group.name] = count
    return wide, added


def _widen_one(graph: Graph, group: ChannelGroup, count: int, rng: np.random.Generator) -> Graph:
    """Splits units in turn: a copy of what makes them, and what reads them shared unevenly between the two,
    since equal halves would learn the same."""
    sources = np.resize(rng.permutation(group.units), count)  # (count,) unit that each new one copies
    share = rng.uniform(0.3, 0.7, count)
    times = np.bincount(sources, minlength=group.units)
    left = np.ones(group.units)
    parts = np.zeros(count)
    for new, source in enumerate(sources):  # the first copy takes a share of all, the next of the rest
        parts[new] = left[source] * (share[new] if times[source] == 1 else 1.0 / (times[source] + 1))
    for new, source in enumerate(sources):
        left[source] -= parts[new]
    copy = graph.copy()
    arrays: dict[str, np.ndarray] = {}
    factors: list[tuple[str, int, np.ndarray]] = []
    done: set[tuple[str, int]] = set()
    for member in group.members:
        if (member.tensor, member.axis) in done:
            continue
        done.add((member.tensor, member.axis))
        array = arrays.get(member.tensor, copy.weights[member.tensor])
        extra = member.positions[sources]  # (count, width)
        size = array.shape[member.axis]
        # after a flatten a unit's positions lie together: those of new units go behind all others
        grown = np.concatenate([array, np.take(array, extra.reshape(-1), axis=member.axis)], axis=member.axis)
        if member.role == "reads":
            factor = np.ones(grown.shape[member.axis])
            factor[member.positions.reshape(-1)] = np.repeat(left, member.positions.shape[1])
            factor[size:] = np.repeat(parts, extra.shape[1])
            factors.append((member.tensor, member.axis, factor))
        arrays[member.tensor] = grown
    for tensor, axis, factor in factors:
        shape = [1] * arrays[tensor].ndim
        shape[axis] = -1
        arrays[tensor] = (arrays[tensor] * factor.reshape(shape)).astype(arrays[tensor].dtype)
    for node in copy.proto.graph.node:
        wide = arrays.get(node.input[1]) if node.op_type == "Conv" else None
        for attribute in node.attribute if wide is not None and wide.shape[1] == 1 else ():
            if wide is not None and attribute.name == "group" and attribute.i > 1:
                attribute.i = len(wide)  # depthwise: a group for each channel
    for tensor, array in arrays.items():
        copy.set_weight(tensor, array)
    del copy.proto.graph.value_info[:]
    return copy


def _same(before: Graph, after: Graph, seed: int) -> bool:
    """Whether both give the same outputs on a generated input."""
    feed = next(generated_batches(before, count=1, seed=seed))
    try:
        old, new = (run(open_session(one.serialize()), feed) for one in (before, after))
    except GraphError:
        return False
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=0, atol=_SAME * max(float(np.abs(a).max()), 1e-6))
        for a, b in zip(old, new, strict=True)
    )
