"""Feature matching: a student learns what the teacher sees inside, not its answers alone.

Where both have an activation of one name and shape, their squared distance counts, in units of the teacher's
own variance (hints, Romero et al. 2015, equation 3, without a regressor: the student was the teacher).
Where the student has fewer channels, their attention maps are compared: the mean square over channels at
each position, each map scaled to length 1 (Zagoruyko and Komodakis 2017, equation 2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from edgepress_compression.executor.operators import Call
from edgepress_compression.graph.model import Graph
from edgepress_compression.training.losses import relative_distance

_MOST = 6  # activations compared: more cost time and say the same
_RECTIFIERS = ("Relu", "Clip", "PRelu", "LeakyRelu", "HardSwish", "Gelu", "Tanh")


class Seen:
    """Keeps the values of some names while an executor runs: `executor(inputs, watch=seen)`."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = set(names)
        self.values: dict[str, Tensor] = {}

    def __call__(self, call: Call, names: Sequence[str], values: Sequence[Tensor | None]) -> None:
        for name, value in zip(names, values, strict=True):
            if name in self.names and value is not None:
                self.values[name] = value


def matched_names(student: Graph, teacher: Graph) -> list[str]:
    """Activations behind rectifiers that both graphs have, evenly spread over the depth, at most six."""
    ours = {name for node in student.proto.graph.node for name in node.output}
    read = student.users().keys() & teacher.users().keys()
    shared = [
        node.output[0]
        for node in teacher.proto.graph.node
        if node.op_type in _RECTIFIERS and node.output[0] in ours and node.output[0] in read
    ]
    if len(shared) <= _MOST:
        return shared
    return [shared[round(i * (len(shared) - 1) / (_MOST - 1))] for i in range(_MOST)]


def feature_distance(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Mean over the activations that both hold; a scalar with the student's gradient."""
    distances = []
    for name, ours in student.items():
        theirs = teacher.get(name)
        if theirs is None:
            continue
        if ours.shape == theirs.shape:
            distances.append(relative_distance(ours.float(), theirs.float()))
        elif ours.ndim == 4 and theirs.ndim == 4 and ours.shape[2:] == theirs.shape[2:]:
            distances.append((attention(ours) - attention(theirs)).square().sum(dim=1).mean())
    return torch.stack(distances).mean() if distances else torch.zeros(())


def attention(value: Tensor) -> Tensor:
    """(batch, channels, height, width) -> (batch, height * width), of length 1."""
    flat = value.square().mean(dim=1).flatten(1)
    length: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return flat / length.clamp(min=1e-12)
