"""What a model costs, operator by operator: work, bytes, memory, and a latency on a device.

Counted for one sample, free lengths 64, as a runtime executes it: what depends on no input is computed
beforehand; reshapes move nothing; an activation, normalization or addition right behind a convolution or
matrix product that nobody else reads is done on the way out of it.

The latency is that of the profile's calibration where it has one (what the kind of operator sustains on such
devices, at the operator's shape), else the datasheet's roofline. It is made for comparing shapes of layers:
predict.py, which asks the runtime what it really executes, forecasts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.graph.run_shapes import run_shapes
from edgepress_devices.calibrated import CalibratedKinds
from edgepress_devices.operator import KernelLayout, Operator
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.roofline import BYTES, DataType, Roofline, roofline

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulNBits"})
# DequantizeLinear: the product behind it reads the integers themselves
_VIEWS = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast", "DequantizeLinear"}
)
_BETWEEN = frozenset({"Identity", "Transpose", "Cast", "DequantizeLinear", "Reshape"})  # weight -> its user
_FUSED = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Add", "Mul", "Sub"}
) | {"BatchNormalization", "QuantizeLinear"}
_POOLS = frozenset({"MaxPool", "AveragePool"})
_REDUCTIONS = frozenset({"GlobalAveragePool", "GlobalMaxPool"})


@dataclass(frozen=True)
class OperatorCost:
    """Of one node, for one sample."""

    node: str  # name of its first output
    op_type: str
    macs: int  # multiply-adds of matrix products and convolutions
    flops: int  # 2 for each multiply-add; other arithmetic: one for each number it makes or pools over;
    # none for what only moves, quantizes or dequantizes numbers
    weight_bytes: int  # of its constant inputs, as stored
    activation_bytes: int  # of what it reads and writes; 0 where a runtime does it on the way
    dtype: DataType  # of its arithmetic
    latency_us: float | None  # None without a profile
    weights: tuple[str, ...] = ()  # the initializers that it reads
    moved: tuple[tuple[str, int], ...] = ()  # the values that it reads and writes, with their bytes
    limits: Roofline | None = None  # its latency's; None: a runtime does it on the way, or no profile


@dataclass(frozen=True)
class ModelCost:
    """Sums over the operators."""

    macs: int
    flops: int
    weight_bytes: int  # of all initializers, as stored
    peak_activation_bytes: int  # inputs, outputs and values between, at the moment when most are needed
    latency_us: float | None


def operator_costs(graph: Graph, profile: DeviceProfile | None = None) -> list[OperatorCost]:
    """Costs of the nodes that run for each sample, in their order.

    Raises GraphError where the shapes contradict each other, or onnxruntime has to be asked for them and
    cannot run the model.
    """
    return _Counter(graph, profile).operators()


def model_cost(graph: Graph, profile: DeviceProfile | None = None) -> ModelCost:
    """The whole model's cost. Raises GraphError as `operator_costs` does."""
    counter = _Counter(graph, profile)
    operators = counter.operators()
    used = {name for node in graph.proto.graph.node for name in node.input}
    weights = {name: array for name, array in graph.weights.items() if name in used}
    return ModelCost(
        macs=sum(one.macs for one in operators),
        flops=sum(one.flops for one in operators),
        weight_bytes=sum(array.nbytes for array in weights.values()),
        peak_activation_bytes=counter.peak_activation_bytes(),
        latency_us=None if profile is None else sum(one.latency_us or 0.0 for one in operators),
    )


class _Counter:
    def __init__(self, graph: Graph, profile: DeviceProfile | None) -> None:
        self._graph, self._profile = graph, profile
        self._shapes = _all_shapes(graph)
        self._users = graph.users()
        self._makers = {name: node for node in graph.proto.graph.node for name in node.output if name}
        self._outputs = {info.name for info in graph.proto.graph.output}
        live = {info.name for info in graph.proto.graph.input}
        self._nodes = []  # those that depend on an input's values
        for node in graph.proto.graph.node:
            reads_shape_only = node.op_type in ("Shape", "Size")
            if not reads_shape_only and any(name in live for name in node.input):
                live.update(name for name in node.output if name)
                self._nodes.append(node)
        self._live = live

    def operators(self) -> list[OperatorCost]:
        counted = [self._operator(node) for node in self._nodes]
        if self._profile is None:
            return counted
        limits = self._limits(self._profile, counted)
        return [_timed(one, limits[number]) for number, one in enumerate(counted)]

    def _operator(self, node: onnx.NodeProto) -> OperatorCost:
        dtype = self._dtype(node)
        macs, flops = self._work(node)
        weights = tuple(
            found for name in node.input if name not in self._live for found in self._constants(name)
        )
        free = node.op_type in _VIEWS or self._is_fused(node)
        inputs = [] if free else [name for name in node.input if name in self._live]
        outputs = [] if free else [name for name in node.output if name]
        moved = tuple(
            (name, BYTES[dtype] * math.prod(self._shapes.get(name, ())))
            for name in (*dict.fromkeys(inputs), *outputs)
        )
        return OperatorCost(
            node=node.output[0],
            op_type=node.op_type,
            macs=macs,
            flops=flops,
            weight_bytes=sum(self._graph.weights[name].nbytes for name in weights),
            activation_bytes=sum(size for _, size in moved),
            dtype=dtype,
            latency_us=None,
            weights=weights,
            moved=moved,
        )

    def _limits(self, profile: DeviceProfile, counted: Sequence[OperatorCost]) -> list[Roofline | None]:
        if profile.calibration is None:
            peaks = {kind: roofline(profile, kind) for kind in _TYPES}
            return [peaks[one.dtype] if one.moved else None for one in counted]
        traffic = sum(one.weight_bytes + one.activation_bytes for one in counted)
        kinds = CalibratedKinds(profile.calibration, traffic)
        limits: list[Roofline | None] = []
        for node, one in zip(self._nodes, counted, strict=True):
            if not one.moved:
                limits.append(None)
                continue
            found = kinds.of(self._as_executed(node, one, profile))
            rate = (
                math.inf if found.operations_per_us is None else found.operations_per_us / found.work_factor
            )
            limits.append(
                Roofline(
                    operations_per_us=rate,
                    bytes_per_us=found.bytes_per_us / found.work_factor,
                    overhead_us=found.call_us,
                )
            )
        return limits

    def _as_executed(self, node: onnx.NodeProto, one: OperatorCost, profile: DeviceProfile) -> Operator:
        """The operator as the runtime will have it, as far as the graph tells."""
        out = self._shapes.get(node.output[0], ())
        options = attributes(node)
        convolution = node.op_type in ("Conv", "ConvTranspose")
        windowed = convolution or "Pool" in node.op_type
        layout: KernelLayout = ""
        if windowed:
            layout = "nhwc" if one.dtype == "int8" else "nchwc" if blocks_channels(profile) else "nchw"
        groups = int(str(options.get("group", 1)))
        weight = self._shapes.get(node.input[1], ()) if node.op_type in PRODUCTS else ()
        window = weight[2:] if convolution else _sides(options.get("kernel_shape"))
        columns = out[1] if windowed and len(out) > 1 else (out[-1] if out else 1)
        made = math.prod(out)
        return Operator(
            name=one.node,
            op_type=node.op_type,
            dtype="int4" if node.op_type == "MatMulNBits" else one.dtype,
            macs=one.macs,
            flops=one.flops,
            weight_bytes=one.weight_bytes,
            read_bytes=sum(size for name, size in one.moved if name not in node.output),
            written_bytes=sum(size for name, size in one.moved if name in node.output),
            depth=one.macs // max(1, made),
            columns=columns,
            rows=made // max(1, columns) if one.macs else 0,
            kernel=math.prod(window),
            stride=max(1, *_sides(options.get("strides")), 1),
            groups=groups,
            layout=layout,
        )

    def _work(self, node: onnx.NodeProto) -> tuple[int, int]:
        """(multiply-adds, operations)"""
        made = math.prod(self._shapes.get(node.output[0], (0,)))
        if node.op_type in PRODUCTS:
            macs = _macs(node, self._shapes)
            return macs, 2 * macs
        if node.op_type in _VIEWS or node.op_type in _MOVES:
            return 0, 0
        if node.op_type in _POOLS:
            window = [side for a in node.attribute if a.name == "kernel_shape" for side in a.ints]
            return 0, made * math.prod(window)
        if node.op_type in _REDUCTIONS or node.op_type.startswith("Reduce"):
            return 0, math.prod(self._shapes.get(node.input[0], (0,)))
        return 0, made

    def _is_fused(self, node: onnx.NodeProto) -> bool:
        """Whether it only finishes what a matrix product or convolution before it made."""
        if node.op_type not in _FUSED:
            return False
        name = next(name for name in node.input if name in self._live)
        maker = self._makers.get(name)
        if maker is None or len(self._users.get(name, [])) > 1 or name in self._outputs:
            return False
        return maker.op_type in PRODUCTS or (maker.op_type in _FUSED and self._is_fused(maker))

    def _dtype(self, node: onnx.NodeProto) -> DataType:
        for name in node.input:
            if name in self._live:
                maker = self._makers.get(name)
                if maker is not None and maker.op_type == "DequantizeLinear":
                    return "int8"
                continue
            weights = (self._graph.weights[found] for found in self._constants(name))
            if any(array.ndim >= 2 and array.dtype == np.float16 for array in weights):
                return "fp16"
        return "fp32"

    def _constants(self, name: str) -> list[str]:
        """The initializers behind a value that depends on no input."""
        if name in self._graph.weights:
            return [name]
        maker = self._makers.get(name)
        if maker is None or maker.op_type not in _BETWEEN:
            return []
        return [found for source in maker.input if source for found in self._constants(source)]

    def peak_activation_bytes(self) -> int:
        """Liveness: a value lives from the node that makes it to the last that reads it. Views, and what is
        done on the way out of another node, take the place of their input."""
        place: dict[str, str] = {}

        def placed(name: str) -> str:
            while name in place:
                name = place[name]
            return name

        for node in self._nodes:
            if node.op_type in _VIEWS or self._is_fused(node):
                source = next(name for name in node.input if name in self._live)
                place[node.output[0]] = source
        last: dict[str, int] = {}
        for number, node in enumerate(self._nodes):
            for name in (*node.input, *node.output):
                if name in self._live:
                    last[placed(name)] = number
        for name in self._outputs:
            last[placed(name)] = len(self._nodes)
        held = {info.name for info in self._graph.proto.graph.input}
        peak = sum(map(self._value_bytes, held))
        for number, node in enumerate(self._nodes):
            held.update(placed(name) for name in node.output if name)
            peak = max(peak, sum(map(self._value_bytes, held)))
            held = {name for name in held if last.get(name, -1) > number}
        return peak

    def _value_bytes(self, name: str) -> int:
        maker = self._makers.get(name)
        dtype = "fp32" if maker is None else self._dtype(maker)
        if maker is not None and maker.op_type == "QuantizeLinear":
            dtype = "int8"
        return BYTES[dtype] * math.prod(self._shapes.get(name, ()))


def _timed(one: OperatorCost, limits: Roofline | None) -> OperatorCost:
    if limits is None:
        return replace(one, latency_us=0.0)
    moved = one.weight_bytes + one.activation_bytes
    return replace(one, latency_us=limits.latency_us(operations=one.flops, bytes_moved=moved), limits=limits)


def blocks_channels(profile: DeviceProfile) -> bool:
    """Whether the profile's runtime moves fp32 convolutions to blocks of channels (NCHWc); one that does not
    say is judged by its processor."""
    if profile.layout is not None:
        return profile.layout.preferred == "nchwc"
    return profile.cpu.machine == "x86_64"


def _sides(value: object) -> tuple[int, ...]:
    return tuple(int(one) for one in value) if isinstance(value, list | tuple) else ()


_TYPES: tuple[DataType, ...] = ("fp32", "fp16", "int8")
_MOVES = frozenset(
    {"Transpose", "Slice", "Concat", "Split", "Gather", "GatherElements", "Pad", "Expand", "Resize", "Where"}
) | {"DepthToSpace", "SpaceToDepth", "Tile", "Shape", "Constant", "ConstantOfShape", "Range"}
_MOVES |= {"QuantizeLinear"}  # rounding is part of moving a value to where it is read


def _all_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    shapes = graph.shapes()
    names = {name for node in graph.proto.graph.node for name in node.output if name}
    return shapes if names <= shapes.keys() else shapes | run_shapes(graph)


def _macs(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Multiply-adds of a convolution or matrix product."""
    first, out = shapes[node.input[0]], shapes[node.output[0]]
    if node.op_type == "MatMulNBits":
        return math.prod(out) * first[-1]
    second = shapes[node.input[1]]
    if node.op_type == "Conv":  # weight (out, in / group, *kernel)
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":  # weight (in, out / group, *kernel)
        return math.prod(first) * math.prod(second[1:])
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(out) * (first[0] if transposed else first[-1])
