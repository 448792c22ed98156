"""Depthwise convolutions with several kernels a channel, computed with the pointwise one after them at once.

Nothing is between the two, so together they are one dense convolution whose kernels are sums of products
of theirs (Chollet 2017, section 2, without the nonlinearity). Processors have fast code for dense ones and
for one kernel a channel, and for several they have none: a step of ResNet-20 with three kernels a channel
takes 2.5 s in two parts and 0.4 s in one. Gradients reach both tensors through the products.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from torch import Tensor

from edgepress_compression.executor.conv import conv
from edgepress_compression.executor.operators import Call
from edgepress_compression.executor.plan import Step

_MOST_WORK: Final = 8  # dense multiply-accumulates over those of the two: more would be slower after all


def joined(
    steps: Sequence[Step], weights: Mapping[str, Sequence[int]], outputs: Collection[str]
) -> list[Step]:
    """The same plan with such pairs as one step. `weights` are shapes by name, `outputs` the model's."""
    readers = Counter(name for step in steps for name in step.inputs)
    makers = {name: step for step in steps for name in step.outputs}
    made, gone = [], set()
    for second in steps:
        first = makers.get(second.inputs[0]) if second.call.op_type == "Conv" else None
        alone = first is not None and readers[first.outputs[0]] == 1 and first.outputs[0] not in outputs
        if first is not None and alone and _fit(first, second, weights):
            gone.add(first.outputs)
            made.append(_pair(first, second))
        else:
            made.append(second)
    return [step for step in made if step.outputs not in gone]


def _fit(first: Step, second: Step, weights: Mapping[str, Sequence[int]]) -> bool:
    if first.call.op_type != "Conv":
        return False
    if {first.inputs[1], second.inputs[1]} - weights.keys():
        return False
    deep, point = weights[first.inputs[1]], weights[second.inputs[1]]  # (C m, 1, *kernel), (O, C m, 1, 1)
    channels = first.call.get("group", 1)
    kernel = int(np.prod(deep[2:]))
    if len(deep) != 4 or deep[1] != 1 or channels == 1 or deep[0] == channels or deep[0] % channels:
        return False
    plain = second.call.get("group", 1) == 1 and not any(second.call.ints("pads") or [0])
    if not plain or max(second.call.ints("strides") or [1]) > 1 or int(np.prod(point[2:])) != 1:
        return False
    if second.call.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    return bool(point[0] * channels * kernel <= _MOST_WORK * deep[0] * (kernel + point[0]))


def _pair(first: Step, second: Step) -> Step:
    x, deep, *deep_bias = first.inputs
    _, point, *point_bias = second.inputs
    dense = replace(first.call, attributes={**first.call.attributes, "group": 1})
    inputs = (x, deep, *(deep_bias or [""]), point, *(point_bias or [""]))
    return Step(_separable(first.call.get("group", 1)), dense, inputs, second.outputs)


def _separable(channels: int) -> Callable[..., Tensor]:
    def run(
        call: Call, x: Tensor, deep: Tensor, deep_bias: Tensor | None, point: Tensor, bias: Tensor | None
    ) -> Tensor:
        """x (batch, C, *size), deep (C m, 1, *kernel), point (O, C m, 1, 1) -> (batch, O, *size)"""
        flat = point.reshape(len(point), -1)
        each = deep.reshape(1, channels, -1, *deep.shape[2:])
        # products of single numbers: autocast leaves them in fp32
        kernels = (flat.reshape(len(point), channels, -1, 1, 1) * each).sum(2)
        if deep_bias is not None:
            moved = (flat * deep_bias).sum(1)
            bias = moved if bias is None else bias + moved
        return conv(call, x, kernels, bias)  # type: ignore[return-value]

    return run
