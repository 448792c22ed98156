"""Runs an ONNX graph in torch so that it can be trained; the parameters are the graph's own initializers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepress_compression.errors import GraphError
from edgepress_compression.executor.batch import batch_norm_in_training, dropout
from edgepress_compression.executor.constant import tensor_of
from edgepress_compression.executor.elementwise import torch_dtype
from edgepress_compression.executor.operators import OPERATORS, Call, Operator, table_name
from edgepress_compression.executor.plan import Step, freeing
from edgepress_compression.executor.separable import joined
from edgepress_compression.graph.learned import learned_weights
from edgepress_compression.graph.model import Graph, attributes

Watch = Callable[[Call, Sequence[str], Sequence[Tensor | None]], None]


class Executor(nn.Module):
    """`Executor(graph)(inputs)` equals onnxruntime within rounding, and `backward` reaches the weights.

    `weights` maps initializer names to parameters. Integer initializers, scalars in arithmetic, and the
    settings and statistics of operators are constants; what depends on constants only is computed once.
    Half-precision weights are trained in fp32 and rounded by `write_back`. The graph is not changed until
    `write_back`.

    A model runs as it is deployed, until `train()`: then batch normalization uses each batch's statistics and
    moves those of the file, and dropout drops (batch.py). `eval()` ends that; `run` never does it.

    The weights stay on the CPU, and so do inputs and outputs; `compute_on` says where the work is done.

    Raises GraphError naming the operator that the table does not hold.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.training = False
        self._bfloat16 = False
        self._device = torch.device("cpu")
        self._moved: set[str] = set()  # statistics that training mode changed
        self._random = torch.Generator().manual_seed(0)
        missing = missing_operators(graph)
        if missing:
            raise GraphError(
                f"The model uses {', '.join(missing)}, which cannot be trained here; it can be compressed "
                f"only with "
                "passes that need no data."
            )
        self._inputs = {value.name: torch_dtype(value.dtype) for value in graph.inputs}
        self._outputs = [value.name for value in graph.outputs]
        self._constants: dict[str, Tensor] = {}
        self.weights: dict[str, nn.Parameter] = {}
        learned = learned_weights(graph)
        for position, (name, array) in enumerate(graph.weights.items()):
            tensor = tensor_of(array)
            if name in learned:
                self.weights[name] = nn.Parameter(tensor)
                self.register_parameter(f"w{position}", self.weights[name])  # torch forbids dots in names
            else:
                self._constants[name] = tensor
        self._settings = set(self._constants)  # those with a place in the file
        steps = self._plan(graph)
        kept = {*self._outputs, *self._constants, *self.weights, ""}
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        self._steps = freeing(steps, kept)
        self._joined = freeing(joined(steps, shapes, self._outputs), kept)  # the same, faster to train

    def forward(self, inputs: Mapping[str, Tensor], watch: Watch | None = None) -> dict[str, Tensor]:
        """Inputs by name -> outputs by name. Raises GraphError when an input is missing.

        `watch` is told of each node before it runs: what it is, the names of its inputs, and their values.
        """
        values = self._given(inputs)
        steps = self._joined if self._trained() and watch is None else self._steps
        with torch.autocast(self._device.type, torch.bfloat16) if self._bfloat16 else nullcontext():
            for step in steps:
                if watch is not None:
                    watch(step.call, step.inputs, [values[name] if name else None for name in step.inputs])
                self._take(step, values)
        return {name: _plain(values[name]) for name in self._outputs}

    def walk(
        self, inputs: Mapping[str, Tensor]
    ) -> Generator[tuple[Call, tuple[str, ...], Mapping[str, Tensor]], None, dict[str, Tensor]]:
        """The same node by node, for a caller who goes on when it likes, or never.

        Each node is told before it runs: what it is, the names of its inputs, and all values by name that are
        known and still needed. Weights that the caller changes meanwhile count for the nodes that come later.
        """
        values = self._given(inputs)
        for step in self._steps:
            yield step.call, step.inputs, values
            self._take(step, values)
        return {name: _plain(values[name]) for name in self._outputs}

    def _given(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {**self._constants, **self.weights}
        for name, dtype in self._inputs.items():
            if name not in inputs:
                raise GraphError(f"The model's input {name} is missing; it takes {', '.join(self._inputs)}.")
            values[name] = inputs[name].to(self._device, dtype)
            if self._trained() and values[name].dim() == 4:
                # convolutions follow their input's order, and backwards this one takes 0.5 to 0.8 of the time
                values[name] = values[name].contiguous(memory_format=torch.channels_last)
        return values

    def _trained(self) -> bool:
        """Whether this run is part of a training, by the student or the teacher."""
        return torch.is_grad_enabled() or self._bfloat16

    def _take(self, step: Step, values: dict[str, Tensor]) -> None:
        """Runs one node; what it makes joins `values`, what nobody reads later leaves them."""
        function = self._function(step) if self.training else step.function
        produced = _run(step, values, function, self._device)
        values.update(zip(step.outputs, produced, strict=False))
        for name in step.dead_after:
            values.pop(name, None)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same from arrays to arrays, without gradients, as it is deployed."""
        with self.deployed(), torch.no_grad():
            outputs = self({name: torch.from_numpy(np.asarray(array)) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    @contextmanager
    def deployed(self) -> Iterator[None]:
        """As `eval()` inside, and as it was afterwards: for those who look while the model is trained."""
        before = self.training, self._bfloat16
        self.training = self._bfloat16 = False
        try:
            yield
        finally:
            self.training, self._bfloat16 = before

    def compute_on(self, device: torch.device, *, bfloat16: bool = False) -> None:
        """Where operators run from now on. Weights are sent there for each run, and gradients come back.

        With `bfloat16` products are computed at half the width (training/precision.py), except by `run`
        and inside `deployed`.
        """
        self._device, self._bfloat16 = device, bfloat16

    def seed(self, seed: int) -> None:
        """Of the random numbers of dropout."""
        self._random.manual_seed(seed)

    def statistics(self) -> dict[str, Tensor]:
        """Means and variances that training mode may move, by name, as they are now."""
        names = {name for step in self._steps if self._moves(step) for name in step.inputs[3:]}
        return {name: self._constants[name] for name in sorted(names)}

    def put_statistics(self, statistics: Mapping[str, Tensor]) -> None:
        """Back to what `statistics` gave."""
        self._constants.update(statistics)

    def resume_state(self) -> dict[str, Any]:
        """What runs in training mode left here beside the weights (training/checkpoint.py)."""
        statistics = {name: self._constants[name] for name in sorted(self._moved)}
        return {"random": self._random.get_state(), "statistics": statistics}

    def resume_from(self, state: Mapping[str, Any]) -> None:
        self._random.set_state(state["random"])
        self._constants.update(state["statistics"])
        self._moved = set(state["statistics"])

    def write_back(self, graph: Graph) -> None:
        """Puts the parameters' values into the initializers of `graph`, in the initializers' own dtype."""
        for name, parameter in self.weights.items():
            old = graph.weights[name]
            new = parameter.detach().numpy().astype(old.dtype)
            if not np.array_equal(new, old):
                graph.set_weight(name, new)
        for name in sorted(self._moved):
            graph.set_weight(name, self._constants[name].numpy().astype(graph.weights[name].dtype))

    def _function(self, step: Step) -> Operator:
        """What the step's operator is while the model is trained."""
        if step.call.op_type == "Dropout":
            return partial(dropout, random=self._random)
        return partial(self._batch_norm, step) if self._moves(step) else step.function

    def _moves(self, step: Step) -> bool:
        normalizes = step.call.op_type == "BatchNormalization"
        return normalizes and all(name in self._settings for name in step.inputs[3:])

    def _batch_norm(self, step: Step, call: Call, x: Tensor, *others: Tensor) -> Tensor:
        y, mean, var = batch_norm_in_training(call, x, *others)
        for name, moved in zip(step.inputs[3:], (mean, var), strict=True):
            self._constants[name] = moved.detach().cpu()
            self._moved.add(name)
        return y

    def _plan(self, graph: Graph) -> list[Step]:
        steps: list[Step] = []
        for node in graph.proto.graph.node:
            call = Call(
                node.op_type, graph.opset, attributes(node), len([name for name in node.output if name])
            )
            step = Step(
                OPERATORS[table_name(node.domain, node.op_type)],
                call,
                tuple(node.input),
                tuple(node.output),
            )
            if all(name == "" or name in self._constants for name in step.inputs):
                with torch.no_grad():
                    self._constants.update(
                        zip(
                            step.outputs,
                            _run(step, self._constants, step.function, self._device),
                            strict=False,
                        )
                    )
            else:
                steps.append(step)
        return steps


def missing_operators(graph: Graph) -> list[str]:
    """Operators of `graph` that the executor's table does not hold, by name, sorted."""
    names = {table_name(node.domain, node.op_type) for node in graph.proto.graph.node}
    return sorted(names - OPERATORS.keys())


def _run(
    step: Step, values: Mapping[str, Tensor], function: Operator, device: torch.device
) -> tuple[Tensor, ...]:
    arguments = [values[name] if name else None for name in step.inputs]
    if device.type != "cpu" and any(a is not None and a.device.type == device.type for a in arguments):
        # arithmetic on shapes stays on the CPU, what meets activations follows them
        arguments = [None if a is None else a.to(device) for a in arguments]
    try:
        produced = function(step.call, *arguments)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        shapes = ", ".join(str(tuple(a.shape)) for a in arguments if a is not None)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise GraphError(
            f"The operator {step.call.op_type} cannot run on shapes {shapes}: {reason}"
        ) from error
    return produced if isinstance(produced, tuple) else (produced,)


def _plain(value: Tensor) -> Tensor:
    """As the file says: on the CPU, and never in bfloat16."""
    return value.cpu().float() if value.dtype == torch.bfloat16 else value.cpu()
