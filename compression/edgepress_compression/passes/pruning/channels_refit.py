"""After a cut, each layer is fitted to what it gave before it, from its inputs that are left.

From the first layer to the last, with t the columns that a layer got before the cut and x those that it gets
now, its kept outputs should be what they were:

    V = W + (W0 E[t x^T] - W E[x x^T]) (E[x x^T] + d I)^-1

is least in E|W0 t - V x|^2 + d |V - W|^2, with W0 the weights of the kept outputs before the cut and W those
of them that are left (reconstruction of He et al. 2017, Channel Pruning for Accelerating Very Deep Neural
Networks, equation 5, and Luo et al. 2017, ThiNet, section 3.3). Means go into the bias. So a layer takes over
what the channels that went told it, as far as those that stay know it too, and no training is needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.executor.operators import Call
from edgepress_compression.graph.channels import ChannelGroup
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.layer_inputs import LAYERS, layer_columns
from edgepress_compression.training.loop import Fetch

_DAMPING = 0.02  # of the mean power: with less, few samples are fitted too well


@dataclass(frozen=True)
class _Layer:
    weight: str
    outputs: np.ndarray  # positions of the kept outputs in the tensor before the cut
    rows_first: bool
    grouped: bool  # depthwise: an input channel for each output


class _EnoughError(Exception):
    """The last layer that is looked at has been reached."""


def refit(
    before: Graph,
    after: Graph,
    groups: Sequence[ChannelGroup],
    kept: Mapping[str, np.ndarray],
    fetch: Fetch,
    rows: np.ndarray,
    *,
    rounds: int = 12,
    batch_size: int,
    seed: int,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> int:
    """Changes weights and biases of `after`, the cut of `before`; how many layers were fitted.

    `rounds` is how often both models are run on the `rows`: layers beyond that are fitted several at a time.
    """
    layers = _touched_layers(before, after, groups, kept)
    if not layers:
        return 0
    original, cut = Executor(before), Executor(after)
    biases = _own_biases(after)
    bounds = np.linspace(0, len(layers), min(rounds, len(layers)) + 1).round().astype(int).tolist()
    done = 0
    for number, (start, stop) in enumerate(pairwise(bounds)):
        block = layers[start:stop]
        progress(number / (len(bounds) - 1), f"fitting what is left, layer {start + 1} of {len(layers)}")
        sums = _paired(original, cut, block, fetch, rows, batch_size, seed, check_cancelled)
        for layer in block:
            if layer.weight in sums:
                _fit(original, cut, layer, sums[layer.weight], biases)
                done += 1
    cut.write_back(after)
    return done


@dataclass
class _Sums:
    """Over samples and positions, float64; g is the number of groups after the cut."""

    own: Tensor  # (g, inputs after, inputs after), sum of x x^T
    cross: Tensor  # (g, inputs before, inputs after), sum of t x^T
    own_sums: Tensor  # (g, inputs after)
    before_sums: Tensor  # (g, inputs before)
    count: int
    bias: str | None


def _fit(original: Executor, cut: Executor, layer: _Layer, sums: _Sums, biases: set[str]) -> None:
    old, new = original.weights[layer.weight].detach().double(), cut.weights[layer.weight]
    outputs = torch.from_numpy(layer.outputs)
    g = sums.own.shape[0]
    flat_old = old if layer.rows_first else old.T
    w0 = flat_old[outputs].reshape(g, len(outputs) // g, -1)  # (g, outputs of a group, inputs before)
    flat_new = new.detach().double() if layer.rows_first else new.detach().double().T
    w = flat_new.reshape(g, flat_new.shape[0] // g, -1)
    bias = cut.weights.get(sums.bias or "") if sums.bias in biases else None
    own, cross = sums.own / sums.count, sums.cross / sums.count
    mean, wanted = sums.own_sums / sums.count, sums.before_sums / sums.count
    if bias is not None:
        own = own - mean.unsqueeze(2) * mean.unsqueeze(1)
        cross = cross - wanted.unsqueeze(2) * mean.unsqueeze(1)
    power = own.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    system = own + torch.diag_embed((_DAMPING * power).unsqueeze(1).expand(own.shape[:2]))
    missing = w0 @ cross - w @ own  # (g, outputs of a group, inputs after)
    better = w + torch.linalg.solve(system, missing.transpose(1, 2)).transpose(1, 2)
    shaped = better.reshape(flat_new.shape)
    with torch.no_grad():
        new.copy_((shaped if layer.rows_first else shaped.T).float())
        if bias is not None:
            gain = w0 @ wanted.unsqueeze(2) - better @ mean.unsqueeze(2)
            bias.add_(gain.reshape(-1).float())


class _Columns:
    """Collects the inputs of some layers from one run of an executor."""

    def __init__(self, wanted: Mapping[str, _Layer], seed: int) -> None:
        self._wanted, self._seed = wanted, seed
        self._met: set[str] = set()
        self.found: dict[str, tuple[Tensor, str | None]] = {}

    def __call__(self, call: Call, names: Sequence[str], values: Sequence[Tensor | None]) -> None:
        if call.op_type in LAYERS and names[1] in self._wanted and names[1] not in self._met:
            self._met.add(names[1])
            # the same seed before and after the cut: the same positions
            columns = layer_columns(call, values, np.random.default_rng(self._seed))
            if columns is not None:
                bias = names[2] if len(names) > 2 and names[2] else None
                self.found[names[1]] = (columns[0].double(), bias)
        if len(self._met) == len(self._wanted):
            raise _EnoughError


def _paired(
    original: Executor,
    cut: Executor,
    block: Sequence[_Layer],
    fetch: Fetch,
    rows: np.ndarray,
    batch_size: int,
    seed: int,
    check_cancelled: Callable[[], None],
) -> dict[str, _Sums]:
    wanted = {layer.weight: layer for layer in block}
    sums: dict[str, _Sums] = {}
    for start in range(0, len(rows), batch_size):
        check_cancelled()
        feed = {n: torch.from_numpy(a) for n, a in fetch(rows[start : start + batch_size]).items()}
        t_all, x_all = (_look(executor, feed, wanted, seed + start) for executor in (original, cut))
        for name, (x, bias) in x_all.items():
            if name not in t_all or t_all[name][0].shape[2] != x.shape[2]:
                continue
            t = t_all[name][0]
            if wanted[name].grouped:  # only the groups that are left
                t = t[torch.from_numpy(wanted[name].outputs)]
            one = _Sums(x @ x.transpose(1, 2), t @ x.transpose(1, 2), x.sum(2), t.sum(2), x.shape[2], bias)
            sums[name] = one if name not in sums else _added(sums[name], one)
    return sums


def _added(a: _Sums, b: _Sums) -> _Sums:
    return _Sums(
        a.own + b.own,
        a.cross + b.cross,
        a.own_sums + b.own_sums,
        a.before_sums + b.before_sums,
        a.count + b.count,
        a.bias,
    )


def _look(
    executor: Executor, feed: dict[str, Tensor], wanted: Mapping[str, _Layer], seed: int
) -> dict[str, tuple[Tensor, str | None]]:
    columns = _Columns(wanted, seed)
    with torch.no_grad():
        try:
            executor(feed, watch=columns)
        except _EnoughError:
            pass  # the way to stop an executor early
    return columns.found


def _touched_layers(
    before: Graph, after: Graph, groups: Sequence[ChannelGroup], kept: Mapping[str, np.ndarray]
) -> list[_Layer]:
    """Layers that read channels that went, or come behind such, in the order in which they run."""
    left = kept_positions(before, groups, kept)
    users = after.users()
    layers: list[_Layer] = []
    met: set[str] = set()
    for node in after.proto.graph.node:
        name = node.input[1] if len(node.input) > 1 else ""
        if (
            node.op_type not in LAYERS
            or name in met
            or name not in after.weights
            or name not in before.weights
        ):
            continue
        met.add(name)
        array = before.weights[name]
        attributes = {a.name: a.i for a in node.attribute}
        rows_first = node.op_type == "Conv" or bool(attributes.get("transB", 0))
        count = attributes.get("group", 1)
        depthwise = node.op_type == "Conv" and count > 1 and after.weights[name].shape[0] == count
        tied = len(users[name]) > 1
        if tied or (count > 1 and not depthwise) or attributes.get("transA", 0) or array.ndim < 2:
            continue
        own_axis, read_axis = (0, 1) if rows_first else (1, 0)
        if layers or (name, read_axis) in left:
            outputs = left.get((name, own_axis), np.arange(array.shape[own_axis]))
            layers.append(_Layer(name, outputs, rows_first, depthwise))
    return layers


def kept_positions(
    graph: Graph, groups: Sequence[ChannelGroup], kept: Mapping[str, np.ndarray]
) -> dict[tuple[str, int], np.ndarray]:
    """(tensor, axis) -> positions that stay, int64 ascending; only axes that lose some."""
    gone: dict[tuple[str, int], set[int]] = {}
    for group in groups:
        if group.name in kept:
            for member in group.members:
                lost = member.positions[~kept[group.name]].reshape(-1).tolist()
                gone.setdefault((member.tensor, member.axis), set()).update(lost)
    return {
        (tensor, axis): np.setdiff1d(np.arange(graph.weights[tensor].shape[axis]), sorted(lost))
        for (tensor, axis), lost in gone.items()
    }


def _own_biases(graph: Graph) -> set[str]:
    """fp32 values that one layer alone adds to its outputs."""
    return {
        name
        for name, readers in graph.users().items()
        if name in graph.weights
        and graph.weights[name].dtype == np.float32
        and [position for _, position in readers] == [2]
    }
