"""Torch-Pruning (Fang et al. 2023, DepGraph; MIT) on the same ONNX models: what ours is compared with.

It prunes modules, so the graph becomes one: convolutions, matrix products and batch normalization are
torch's own modules, everything else is computed by the operators of our executor. Needs `pip install
torch-pruning==1.6.1`, which needs torch alone.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepress_compression.executor.constant import tensor_of
from edgepress_compression.executor.operators import OPERATORS, Call, table_name
from edgepress_compression.executor.windows import explicit_pads, window
from edgepress_compression.graph import Graph
from edgepress_compression.graph.model import attributes

FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)  # what a library raises on a network that it does not expect
_HALVINGS = 7  # of the range in which the pruning ratio is looked for


def available() -> bool:
    return importlib.util.find_spec("torch_pruning") is not None


class Network(nn.Module):
    """The graph as modules; `forward` takes the inputs in their order and gives the first output."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph_inputs = [value.name for value in graph.inputs]
        self._output = graph.outputs[0].name
        self._constants: dict[str, Tensor] = {}
        self._plan: list[tuple[Any, Call, list[str], list[str]]] = []
        self.layers = nn.ModuleDict()
        for name, array in graph.weights.items():
            self._constants[name] = tensor_of(array)
        for position, node in enumerate(graph.proto.graph.node):
            outputs = len([name for name in node.output if name])
            call = Call(node.op_type, graph.opset, attributes(node), outputs)
            layer = self._layer(call, list(node.input))
            if layer is None:
                step: Any = OPERATORS[table_name(node.domain, node.op_type)]
                self._plan.append((step, call, list(node.input), list(node.output)))
            else:
                self.layers[f"n{position}"] = layer
                self._plan.append((f"n{position}", call, [node.input[0]], list(node.output)))

    def forward(self, *inputs: Tensor) -> Tensor:
        values = {**self._constants, **dict(zip(self._graph_inputs, inputs, strict=True))}
        for step, call, names, outputs in self._plan:
            given = [values[name] if name else None for name in names]
            made = self.layers[step](given[0]) if isinstance(step, str) else step(call, *given)
            values.update(zip(outputs, made if isinstance(made, tuple) else (made,), strict=False))
        return values[self._output]

    def _layer(self, call: Call, names: list[str]) -> nn.Module | None:
        weights = [self._constants.get(name) if name else None for name in names[1:]]
        if not weights or weights[0] is None or names[0] in self._constants:
            return None
        weight, bias = weights[0], weights[1] if len(weights) > 1 else None
        if call.op_type == "Conv" and weight.ndim == 4:
            return _Convolution(call, weight, bias)
        if call.op_type == "Gemm" and not call.get("transA", 0) and call.get("alpha", 1.0) == 1.0:
            return _linear(weight if call.get("transB", 0) else weight.T, bias)
        if call.op_type == "MatMul" and weight.ndim == 2:
            return _linear(weight.T, None)
        return None


class _Convolution(nn.Sequential):
    """Padding, where it is not the same on both sides, and the convolution."""

    def __init__(self, call: Call, weight: Tensor, bias: Tensor | None) -> None:
        kernel = weight.shape[2:]
        strides, dilations = window(call, kernel)
        begin, end = explicit_pads(call, torch.Size((1, 1)), kernel, strides, dilations)
        even = list(begin) == list(end)
        group = int(call.get("group", 1))
        conv = nn.Conv2d(
            weight.shape[1] * group, weight.shape[0], tuple(kernel), tuple(strides),
            tuple(begin) if even else 0, tuple(dilations), group, bias is not None,
        )  # fmt: skip
        conv.weight.data = weight.clone()
        if bias is not None and conv.bias is not None:
            conv.bias.data = bias.clone()
        if even:
            super().__init__(conv)
        else:
            super().__init__(nn.ZeroPad2d((begin[1], end[1], begin[0], end[0])), conv)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.weight.data = weight.clone()
    if bias is not None:
        layer.bias.data = bias.clone()
    return layer


def macs(network: nn.Module, example: tuple[Tensor, ...]) -> int:
    """Multiply-accumulates of the convolutions and matrix products for the example (batch 1)."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        positions = output[0, 0].numel() if isinstance(module, nn.Conv2d) else output[..., 0].numel()
        total += positions * weight.numel()

    hooks = [
        m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        network(*example)
    for hook in hooks:
        hook.remove()
    return total


def pruned(graph: Graph, fraction: float, *, everywhere: bool) -> tuple[Network, float]:
    """The network at no more than `fraction` of its multiply-accumulates, as near as the pruning ratio
    allows, and the fraction. Magnitude of groups (L2 norm, their default); `everywhere`: ranked over all
    layers, not in each. The last layers are left alone. Raises one of FAILURES where the library fails.
    """
    whole = Network(graph).eval()
    example = tuple(_zeros(value.shape, value.dtype) for value in graph.inputs)
    before = macs(whole, example)
    low, high = 0.0, 0.9
    best: tuple[Network, float] | None = None
    for _ in range(_HALVINGS):
        ratio = (low + high) / 2
        small = _once(whole, example, ratio, everywhere=everywhere)
        left = macs(small, example) / before
        if left <= fraction:
            best, high = (small, left), ratio
        else:
            low = ratio
    if best is None:
        raise RuntimeError(f"no pruning ratio up to 0.9 leaves {fraction:.0%} of the work")
    return best


def _once(whole: Network, example: tuple[Tensor, ...], ratio: float, *, everywhere: bool) -> Network:
    import torch_pruning

    network = copy.deepcopy(whole)
    width = network(*example).shape[1]
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    last = [m for m in layers if m.weight.shape[0] == width or m is layers[-1]]
    pruner = torch_pruning.pruner.BasePruner(
        network, example, importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio, global_pruning=everywhere, ignored_layers=last,
    )  # fmt: skip
    pruner.step()
    return network


def _zeros(shape: tuple[int | str, ...], dtype: np.dtype[np.generic]) -> Tensor:
    sizes = [size if isinstance(size, int) else (1 if axis == 0 else 64) for axis, size in enumerate(shape)]
    return torch.from_numpy(np.zeros(sizes, dtype=dtype))


def answers(network: Network, feed: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    """The first output for a batch."""
    with torch.no_grad():
        out: np.ndarray = network(*(torch.from_numpy(feed[name]) for name in names)).numpy()
    return out
