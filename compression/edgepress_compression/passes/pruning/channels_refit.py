"""After a cut, each layer is fitted to what it gave before it, from its inputs that are left.

From the first layer to the last: what a layer gets now is what the layers before it give that were fitted
already, so it makes up for what they could not, and never for what they did. So a layer takes over what the
channels that went told it, as far as those that stay know it too, and no training is needed for it.

Every fourth batch is held out. An output of a layer changes only where that lowers its error on those
(least_squares.py), and the whole only where the model's outputs are nearer there to what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import ChannelGroup
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.layer_inputs import LAYERS, layer_columns
from edgepress_compression.passes.pruning.least_squares import Moments, fit_layer
from edgepress_compression.passes.pruning.paired_walk import PairedWalk, Stop
from edgepress_compression.training.loop import Fetch

_HELD_OUT = 4  # each batch of so many
_LEAST_BATCHES = 8  # smaller ones rather than fewer
_SAMPLES = 16  # for each input of a layer, and
_LEAST_SAMPLES = 1 << 15


@dataclass(frozen=True)
class _Layer:
    weight: str
    outputs: np.ndarray  # positions of the kept outputs in the tensor before the cut
    rows_first: bool
    grouped: bool  # depthwise: an input channel for each output


def refit(
    before: Graph,
    after: Graph,
    groups: Sequence[ChannelGroup],
    kept: Mapping[str, np.ndarray],
    fetch: Fetch,
    rows: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> int:
    """Changes weights and biases of `after`, the cut of `before`; how many layers were fitted."""
    layers = {layer.weight: layer for layer in _touched_layers(before, after, groups, kept)}
    batches = row_batches(before, rows, batch_size)
    if not layers or len(batches) < 2:
        return 0
    original, cut = Executor(before), Executor(after)
    biases = _own_biases(after)
    done = 0
    with torch.no_grad():
        walk = PairedWalk(original, cut, fetch, batches, list(layers))
        for number, name in enumerate(walk.layers):
            progress(
                number / len(walk.layers), f"fitting what is left, layer {number + 1} of {len(walk.layers)}"
            )
            fitted = _fitted(original, cut, walk, layers[name], biases, seed, check_cancelled)
            done += fitted
        if not done or not _nearer(Executor(after), walk, fetch, batches):
            return 0
    cut.write_back(after)
    return done


def row_batches(graph: Graph, rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Of one size, but for the last: `batch_size`, or less where that makes few and the model lets."""
    if not any(isinstance(value.shape[0], int) for value in graph.inputs if value.shape):
        batch_size = max(1, min(batch_size, len(rows) // _LEAST_BATCHES))
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def is_held_out(number: int, batches: int) -> bool:
    """Whether no layer is fitted to the batch of that number."""
    return number % _HELD_OUT == min(_HELD_OUT, batches) - 1


def _fitted(
    original: Executor,
    cut: Executor,
    walk: PairedWalk,
    layer: _Layer,
    biases: set[str],
    seed: int,
    check_cancelled: Callable[[], None],
) -> bool:
    """Whether any output of the layer changed."""
    weight = cut.weights[layer.weight]
    new = _rows(weight, layer).double()
    old = _rows(original.weights[layer.weight], layer)[torch.from_numpy(layer.outputs)]
    fitted: Moments | None = None
    held_out: Moments | None = None
    bias = None
    room = walk.room[layer.weight]
    for number, stop_before, stop_after in walk.at(layer.weight):
        check_cancelled()
        bias = _own_bias(cut, stop_after, biases)
        columns = _columns(layer, stop_before, stop_after, seed + number, room)
        if columns is None:
            return False
        t, x = columns
        y = _grouped(old, t) @ t
        if bias is not None:
            y += bias.detach().reshape(*y.shape[:2], 1)
        moments = Moments.of(x, y)
        if is_held_out(number, room):
            held_out = moments if held_out is None else held_out.plus(moments)
        else:
            fitted = moments if fitted is None else fitted.plus(moments)
    if fitted is None or held_out is None:
        return False
    w = _grouped(new, fitted.own)
    b = torch.zeros_like(fitted.outputs) if bias is None else bias.detach().double().reshape(w.shape[:2])
    fit = fit_layer(w, b, fitted, held_out, move_bias=bias is not None)
    flat = fit.weights.reshape(new.shape)
    weight.copy_((flat if layer.rows_first else flat.T).reshape(weight.shape))
    if bias is not None:
        bias.copy_(fit.bias.reshape(-1))
    return bool((fit.after < fit.before).any())


def _columns(
    layer: _Layer, before: Stop, after: Stop, seed: int, batches: int
) -> tuple[Tensor, Tensor] | None:
    """What the layer got at the same samples and positions, each (groups, inputs, samples)."""
    found = [layer_columns(stop.call, stop.inputs(), np.random.default_rng(seed)) for stop in (before, after)]
    if found[0] is None or found[1] is None or found[0][0].shape[2] != found[1][0].shape[2]:
        return None
    t, x = found[0][0], found[1][0]
    if layer.grouped:  # only the groups that are left
        t = t[torch.from_numpy(layer.outputs)]
    most = max(_LEAST_SAMPLES, _SAMPLES * x.shape[1]) // batches + 1
    if x.shape[2] > most:
        chosen = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(x.shape[2])[:most]))
        t, x = t[:, :, chosen], x[:, :, chosen]
    return t, x


def _rows(weight: Tensor, layer: _Layer) -> Tensor:
    """(outputs, inputs of one output)"""
    flat = weight.detach() if layer.rows_first else weight.detach().T
    return flat.reshape(flat.shape[0], -1)


def _grouped(rows: Tensor, like: Tensor) -> Tensor:
    """(outputs, inputs) -> (groups, outputs of a group, inputs), with the groups of `like`."""
    return rows.reshape(like.shape[0], -1, rows.shape[1])


def _own_bias(model: Executor, stop: Stop, biases: set[str]) -> Tensor | None:
    name = stop.names[2] if len(stop.names) > 2 else ""
    return model.weights[name] if name in biases and name in model.weights else None


def _nearer(bare: Executor, walk: PairedWalk, fetch: Fetch, batches: Sequence[np.ndarray]) -> bool:
    """Whether the outputs are nearer to what they were than those of `bare`, which was cut and not fitted."""
    room = walk.room[walk.layers[-1]]
    without = with_fit = 0.0
    for number in range(room):
        if is_held_out(number, room):
            wanted, fitted = walk.end(number)
            feed = {name: torch.from_numpy(a) for name, a in fetch(batches[number]).items()}
            cut = bare(feed)
            without += _distance(cut, wanted)
            with_fit += _distance(fitted, wanted)
    return with_fit < without


def _distance(outputs: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Mean squares, relative to the spread of each output."""
    total = 0.0
    for name, output in wanted.items():
        spread = output.double().var(unbiased=False).clamp(min=1e-12)
        total += float((outputs[name].double() - output).square().mean() / spread)
    return total


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
