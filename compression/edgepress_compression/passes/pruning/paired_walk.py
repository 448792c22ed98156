"""A model before and after a cut, both stopped in front of the same layer, for many samples at once.

Each batch of samples walks through either model (Executor.walk) and waits in front of a layer with the values
that are still needed. So a layer can be changed, and those behind it see what it gives now, without running
the models from the start again. Early pictures are large and say much, many positions each; batches that do
not fit there join where the values have become small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.executor.operators import Call
from edgepress_compression.passes.layer_inputs import LAYERS
from edgepress_compression.training.loop import Fetch

_MOST_BYTES = 1 << 30  # of values that wait
_LEAST_BATCHES = 4  # whatever they take: some are fitted to, some are held out


@dataclass(frozen=True)
class Stop:
    """In front of a layer."""

    call: Call
    names: tuple[str, ...]  # of the layer's inputs
    values: Mapping[str, Tensor]  # all that are still needed

    @property
    def layer(self) -> str | None:
        """The layer's weight; None where the node is not a layer."""
        return self.names[1] if self.call.op_type in LAYERS and len(self.names) > 1 else None

    def inputs(self) -> list[Tensor | None]:
        return [self.values[name] if name else None for name in self.names]


class PairedWalk:
    """`layers` are weights that both models have, in the order in which `after` runs them; those that neither
    meets are left out. Use it without gradients.
    """

    def __init__(
        self,
        before: Executor,
        after: Executor,
        fetch: Fetch,
        batches: Sequence[np.ndarray],
        layers: Sequence[str],
    ) -> None:
        self._models, self._fetch, self._batches = (before, after), fetch, batches
        self._walks: list[tuple[_Walk, _Walk]] = []
        waiting = [_waiting_bytes(model, self._feed(0), layers) for model in self._models]
        self.layers = [name for name in layers if all(name in sizes for sizes in waiting)]
        room = len(batches)
        self.room: dict[str, int] = {}  # layer -> batches that wait in front of it
        for name in reversed(self.layers):  # one that waits here goes on to all that follow
            fits = _MOST_BYTES // max(1, sum(sizes[name] for sizes in waiting))
            room = max(min(room, fits), min(_LEAST_BATCHES, len(batches)))
            self.room[name] = room

    def at(self, layer: str) -> Iterator[tuple[int, Stop, Stop]]:
        """The number of each batch, and where it stands before and after the cut. Layers in their order."""
        for number in range(self.room[layer]):
            if number == len(self._walks):
                feed = self._feed(number)
                self._walks.append((_Walk(self._models[0], feed), _Walk(self._models[1], feed)))
            old, new = self._walks[number]
            yield number, old.to(layer), new.to(layer)

    def end(self, number: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The outputs of a batch that has been met, before and after the cut."""
        old, new = self._walks[number]
        return old.end(), new.end()

    def _feed(self, number: int) -> dict[str, Tensor]:
        return {name: torch.from_numpy(a) for name, a in self._fetch(self._batches[number]).items()}


class _Walk:
    def __init__(self, model: Executor, feed: Mapping[str, Tensor]) -> None:
        self._steps = model.walk(feed)

    def to(self, layer: str) -> Stop:
        for step in self._steps:
            stop = Stop(*step)
            if stop.layer == layer:
                return stop
        raise LookupError(f"the model does not come to the layer {layer}")

    def end(self) -> dict[str, Tensor]:
        while True:
            try:
                next(self._steps)
            except StopIteration as last:
                outputs: dict[str, Tensor] = last.value
                return outputs


def _waiting_bytes(model: Executor, feed: Mapping[str, Tensor], layers: Sequence[str]) -> dict[str, int]:
    """Layer -> what one batch holds in front of it; only layers that are met."""
    sizes: dict[str, int] = {}
    constants: set[str] | None = None
    for stop in (Stop(*step) for step in model.walk(feed)):
        if constants is None:
            constants = set(stop.values) - set(feed)
        if stop.layer in layers and stop.layer is not None and stop.layer not in sizes:
            storages = [v.untyped_storage() for name, v in stop.values.items() if name not in constants]
            sizes[stop.layer] = sum({one.data_ptr(): one.nbytes() for one in storages}.values())
    return sizes
