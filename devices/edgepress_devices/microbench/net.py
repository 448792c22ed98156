"""Builds a calibration net layer by layer, as onnx_writer's bytes.

In an integer form every value between layers is quantized and dequantized, the way a quantized model is
written, so that a runtime runs integer kernels. Weights are constants: nothing but shapes and types matters
for time.
"""

from __future__ import annotations

import struct
from typing import Final

from edgepress_devices.microbench import onnx_writer as onnx
from edgepress_devices.microbench.plan import Form

_SCALE: Final = 1 / 64  # of activations
_WEIGHT: Final = 1 / 128  # every fp32 constant; in integers the scale of every weight
_BIAS_SCALE: Final = _SCALE * _WEIGHT


class Net:
    """Builds one net layer by layer; ``form`` other than fp32 puts QuantizeLinear pairs around each value."""

    def __init__(self, name: str, form: Form) -> None:
        self.name, self._form = name, form
        self._nodes: list[bytes] = []
        self._tensors: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._positive: set[str] = set()  # values whose lowest integer stands for 0
        self._count = 0

    def input(self, *shape: int, rounded: bool = True) -> str:
        """``rounded``: in an integer form, as integers; else as it comes."""
        name = f"x{len(self._inputs)}"
        self._inputs.append(onnx.value(name, shape, onnx.FLOAT))
        self.shapes[name] = shape
        return self._pair(name, name) if rounded else name

    def rounded(self, x: str) -> str:
        """As integers, where the form asks for them, for layers that take what comes (`project`)."""
        return self._pair(x, self._fresh("rounded"), positive=x in self._positive)

    def output(self, name: str) -> None:
        self._outputs.append(onnx.value(name, self.shapes[name], onnx.FLOAT))

    def write(self) -> bytes:
        return onnx.model(
            self.name, nodes=self._nodes, tensors=self._tensors, inputs=self._inputs, outputs=self._outputs
        )

    # --- layers ---------------------------------------------------------------------------------------------

    def conv(
        self, x: str, filters: int, kernel: int, *, stride: int = 1, group: int = 1, relu: bool = True
    ) -> str:
        """Convolution with padding that keeps the size, bias, and ReLU; group = channels: depthwise."""
        _, channels, height, width = self.shapes[x]
        pad = kernel // 2
        name = self._fresh("conv")
        weight = self._weight(f"{name}_w", (filters, channels // group, kernel, kernel), axis=0)
        bias = self._bias(f"{name}_b", filters)
        out = f"{name}_linear" if relu else name
        self._nodes.append(
            onnx.node("Conv", (x, weight, bias), (out,), {
                "kernel_shape": (kernel, kernel), "strides": (stride, stride), "pads": (pad,) * 4,
                "group": group,
            })
        )  # fmt: skip
        self.shapes[name] = (1, filters, *_sides(height, width, kernel, stride))
        if relu:
            self._nodes.append(onnx.node("Relu", (out,), (name,)))
        return self._pair(name, name, positive=relu)

    def stem(self, filters: int, kernel: int, *, side: int, stride: int = 1, channels: int = 3) -> str:
        """The first convolution, of a picture; in fp32 in every form, as quantized models keep it."""
        form, self._form = self._form, "fp32"
        x = self.conv(self.input(1, channels, side, side), filters, kernel, stride=stride)
        self._form = form
        return self._pair(x, self._fresh("rounded"), positive=True)

    def pool(self, x: str, kind: str = "MaxPool", kernel: int = 3, stride: int = 2) -> str:
        name, (_, channels, height, width) = self._fresh("pool"), self.shapes[x]
        pad = kernel // 2
        attributes: dict[str, onnx.Attribute] = {
            "kernel_shape": (kernel, kernel), "strides": (stride, stride), "pads": (pad,) * 4,
        }  # fmt: skip
        self._nodes.append(onnx.node(kind, (x,), (name,), attributes))
        self.shapes[name] = (1, channels, *_sides(height, width, kernel, stride))
        return self._pair(name, name, positive=x in self._positive)

    def mean(self, x: str) -> str:
        """(1, channels) from (1, channels, height, width)"""
        name, channels = self._fresh("mean"), self.shapes[x][1]
        self._nodes.append(onnx.node("GlobalAveragePool", (x,), (f"{name}_4d",)))
        self.shapes[f"{name}_4d"] = (1, channels, 1, 1)
        before = self._pair(f"{name}_4d", f"{name}_4d", positive=x in self._positive)
        self._nodes.append(onnx.node("Flatten", (before,), (name,), {"axis": 1}))
        self.shapes[name] = (1, channels)
        return self._pair(name, name, positive=x in self._positive)

    def flat(self, x: str) -> str:
        """(1, channels * height * width)"""
        name, (_, channels, height, width) = self._fresh("flat"), self.shapes[x]
        self._nodes.append(onnx.node("Flatten", (x,), (name,), {"axis": 1}))
        self.shapes[name] = (1, channels * height * width)
        return self._pair(name, name, positive=x in self._positive)

    def dense(self, x: str, units: int, *, relu: bool = True) -> str:
        name, (rows, columns) = self._fresh("dense"), self.shapes[x]
        weight = self._weight(f"{name}_w", (units, columns), axis=0)
        bias = self._bias(f"{name}_b", units)
        out = f"{name}_linear" if relu else name
        self._nodes.append(onnx.node("Gemm", (x, weight, bias), (out,), {"transB": 1}))
        self.shapes[name] = (rows, units)
        if relu:
            self._nodes.append(onnx.node("Relu", (out,), (name,)))
        return self._pair(name, name, positive=relu)

    def project(self, x: str, units: int) -> str:
        """Rows of (1, rows, columns) times a matrix, and a bias; in fp32 behind integers of `rounded`."""
        name, (_, rows, columns) = self._fresh("project"), self.shapes[x]
        weight = self._weight(f"{name}_w", (columns, units), axis=1)
        self._nodes.append(onnx.node("MatMul", (x, weight), (f"{name}_linear",)))
        # A bias of one axis would join the product, before the integers of an integer form are seen.
        self._floats(f"{name}_b", (units,) if self._form == "fp32" else (1, 1, units))
        self._nodes.append(onnx.node("Add", (f"{name}_linear", f"{name}_b"), (name,)))
        self.shapes[name] = (1, rows, units)
        return name

    def two(self, op_type: str, a: str, b: str, *, relu: bool = False, rounded: bool = True) -> str:
        """Add or Mul of two values of one shape."""
        name = self._fresh(op_type.lower())
        out = f"{name}_linear" if relu else name
        self._nodes.append(onnx.node(op_type, (a, b), (out,)))
        if relu:
            self._nodes.append(onnx.node("Relu", (out,), (name,)))
        self.shapes[name] = self.shapes[a]
        return self._pair(name, name, positive=relu) if rounded else name

    def one(self, op_type: str, x: str, **attributes: onnx.Attribute) -> str:
        """An operator that keeps the shape: Sigmoid, Erf, Softmax ..."""
        name = self._fresh(op_type.lower())
        self._nodes.append(onnx.node(op_type, (x,), (name,), attributes))
        self.shapes[name] = self.shapes[x]
        return self._pair(name, name) if op_type == "Sigmoid" else name

    def concat(self, *parts: str) -> str:
        name = self._fresh("concat")
        self._nodes.append(onnx.node("Concat", parts, (name,), {"axis": 1}))
        first = self.shapes[parts[0]]
        self.shapes[name] = (1, sum(self.shapes[part][1] for part in parts), *first[2:])
        return self._pair(name, name, positive=all(part in self._positive for part in parts))

    def gelu(self, x: str, *, bias: bool = False) -> str:
        """x/2 (1 + erf(x / sqrt 2)), spelled out as exporters do; runtimes put it together again, and with a
        bias that comes before it."""
        name, shape = self._fresh("gelu"), self.shapes[x]
        if bias:
            self._floats(f"{name}_bias", shape[-1:])
            self._nodes.append(onnx.node("Add", (x, f"{name}_bias"), (f"{name}_biased",)))
            x = f"{name}_biased"
        parts = [f"{name}_{number}" for number in range(4)]
        for constant, number in (("root", 2**0.5), ("one", 1.0), ("half", 0.5)):
            self._floats(f"{name}_{constant}", (), struct.pack("<f", number))
        self._nodes += [
            onnx.node("Div", (x, f"{name}_root"), (parts[0],)),
            onnx.node("Erf", (parts[0],), (parts[1],)),
            onnx.node("Add", (parts[1], f"{name}_one"), (parts[2],)),
            onnx.node("Mul", (x, parts[2]), (parts[3],)),
            onnx.node("Mul", (parts[3], f"{name}_half"), (name,)),
        ]
        self.shapes[name] = shape
        return name

    def shuffled_halves(self, x: str) -> tuple[str, str]:
        """The even and the odd channels (ShuffleNet's shuffle and split)."""
        name, (_, channels, height, width) = self._fresh("shuffle"), self.shapes[x]
        pairs = self._integers(f"{name}_pairs", (channels // 2, 2, height * width))
        apart = self._integers(f"{name}_apart", (2, channels // 2, height, width))
        self._nodes += [
            onnx.node("Reshape", (x, pairs), (f"{name}_pairs_of",)),
            onnx.node("Transpose", (f"{name}_pairs_of",), (f"{name}_turned",), {"perm": (1, 0, 2)}),
            onnx.node("Reshape", (f"{name}_turned", apart), (f"{name}_halves",)),
        ]
        halves = []
        for number in range(2):
            index = self._integers(f"{name}_at{number}", (number,))
            half = f"{name}_half{number}"
            self._nodes.append(onnx.node("Gather", (f"{name}_halves", index), (half,), {"axis": 0}))
            self.shapes[half] = (1, channels // 2, height, width)
            if x in self._positive:
                self._positive.add(half)
            halves.append(half)
        return halves[0], halves[1]

    def thinned(self, x: str, channels: int) -> str:
        """Every second row and column, and channels of zeros on both sides (ResNet's option A)."""
        name, (_, before, height, width) = self._fresh("thinned"), self.shapes[x]
        starts, ends = self._integers(f"{name}_0", (0, 0)), self._integers(f"{name}_9", (height, width))
        axes, steps = self._integers(f"{name}_axes", (2, 3)), self._integers(f"{name}_steps", (2, 2))
        self._nodes.append(onnx.node("Slice", (x, starts, ends, axes, steps), (f"{name}_cut",)))
        front = (channels - before) // 2
        pads = self._integers(f"{name}_pads", (0, front, 0, 0, 0, channels - before - front, 0, 0))
        self._nodes.append(onnx.node("Pad", (f"{name}_cut", pads), (name,)))
        self.shapes[name] = (1, channels, (height + 1) // 2, (width + 1) // 2)
        return self._pair(name, name, positive=x in self._positive)

    def rows_of(self, table: tuple[int, int], rows: int) -> str:
        """(1, rows, columns): what an embedding gives for as many tokens."""
        name, tokens = self._fresh("embed"), f"x{len(self._inputs)}"
        self._inputs.append(onnx.value(tokens, (1, rows), onnx.FLOAT))  # like every other input: easy to feed
        self._nodes.append(onnx.node("Cast", (tokens,), (f"{name}_tokens",), {"to": onnx.INT64}))
        self._floats(f"{name}_table", table)
        self._nodes.append(onnx.node("Gather", (f"{name}_table", f"{name}_tokens"), (name,)))
        self.shapes[name] = (1, rows, table[1])
        return name

    def channels_last(self, x: str) -> str:
        name, (_, channels, height, width) = self._fresh("turned"), self.shapes[x]
        self._nodes.append(onnx.node("Transpose", (x,), (name,), {"perm": (0, 2, 3, 1)}))
        self.shapes[name] = (1, height, width, channels)
        return name

    def pooled_away(self, x: str) -> str:
        """(1, channels) by an AveragePool as large as the picture."""
        name, (_, channels, height, width) = self._fresh("pooled"), self.shapes[x]
        sides = {"kernel_shape": (height, width), "strides": (height, width)}
        self._nodes.append(onnx.node("AveragePool", (x,), (f"{name}_4d",), sides))
        self.shapes[f"{name}_4d"] = (1, channels, 1, 1)
        before = self._pair(f"{name}_4d", f"{name}_4d", positive=x in self._positive)
        self._nodes.append(onnx.node("Flatten", (before,), (name,), {"axis": 1}))
        self.shapes[name] = (1, channels)
        return self._pair(name, name, positive=x in self._positive)

    def average(self, x: str) -> str:
        """(1, channels) by ReduceMean"""
        name = self._fresh("average")
        self._nodes.append(onnx.node("ReduceMean", (x,), (name,), {"axes": (2, 3), "keepdims": 0}))
        self.shapes[name] = self.shapes[x][:2]
        return self._pair(name, name)

    def resize(self, x: str) -> str:
        """Twice the height and width, nearest."""
        name, (_, channels, height, width) = self._fresh("resize"), self.shapes[x]
        scales = self._floats(f"{name}_s", (4,), struct.pack("<4f", 1, 1, 2, 2))
        self._nodes.append(onnx.node("Resize", (x, "", scales), (name,), {"mode": "nearest"}))
        self.shapes[name] = (1, channels, 2 * height, 2 * width)
        return self._pair(name, name, positive=x in self._positive)

    def layer_norm(self, x: str) -> str:
        name, units = self._fresh("norm"), self.shapes[x][-1]
        scale, bias = self._floats(f"{name}_s", (units,)), self._floats(f"{name}_b", (units,))
        self._nodes.append(onnx.node("LayerNormalization", (x, scale, bias), (name,), {"axis": -1}))
        self.shapes[name] = self.shapes[x]
        return name

    def heads(self, x: str, heads: int, *, transposed: bool = False) -> str:
        """(1, heads, rows, columns / heads), or its last two axes exchanged"""
        name, (_, rows, columns) = self._fresh("heads"), self.shapes[x]
        shape = self._integers(f"{name}_shape", (1, rows, heads, columns // heads))
        self._nodes.append(onnx.node("Reshape", (x, shape), (f"{name}_4d",)))
        order = (0, 2, 3, 1) if transposed else (0, 2, 1, 3)
        self._nodes.append(onnx.node("Transpose", (f"{name}_4d",), (name,), {"perm": order}))
        four = (1, rows, heads, columns // heads)
        self.shapes[name] = tuple(four[axis] for axis in order)
        return name

    def matmul(self, a: str, b: str) -> str:
        """Of two values, with their leading axes alike."""
        name = self._fresh("matmul")
        self._nodes.append(onnx.node("MatMul", (a, b), (name,)))
        self.shapes[name] = (*self.shapes[a][:-1], self.shapes[b][-1])
        return name

    def rows(self, x: str) -> str:
        """(1, rows, heads * columns) from (1, heads, rows, columns)"""
        name, (_, heads, rows, columns) = self._fresh("rows"), self.shapes[x]
        self._nodes.append(onnx.node("Transpose", (x,), (f"{name}_t",), {"perm": (0, 2, 1, 3)}))
        shape = self._integers(f"{name}_shape", (1, rows, heads * columns))
        self._nodes.append(onnx.node("Reshape", (f"{name}_t", shape), (name,)))
        self.shapes[name] = (1, rows, heads * columns)
        return name

    # --- parts ----------------------------------------------------------------------------------------------

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def _pair(self, source: str, name: str, *, positive: bool = False) -> str:
        """Integers in between, where the form asks for them: what is read on is the dequantized value.

        ``positive``: the lowest integer stands for 0, so that a runtime drops the ReLU before.
        """
        if self._form == "fp32":
            return source
        scale, zero = self._scale(f"{name}_scale"), f"{name}_zero"
        kind = onnx.UINT8 if self._form == "u8" else onnx.INT8
        at_zero = positive == (kind == onnx.UINT8)
        self._tensors.append(onnx.tensor(zero, (), kind, b"\x00" if at_zero else b"\x80"))
        self._nodes.append(onnx.node("QuantizeLinear", (source, scale, zero), (f"{name}_q",)))
        self._nodes.append(onnx.node("DequantizeLinear", (f"{name}_q", scale, zero), (f"{name}_dq",)))
        self.shapes[f"{name}_dq"] = self.shapes[source]
        if positive:
            self._positive.add(f"{name}_dq")
        return f"{name}_dq"

    def _weight(self, name: str, shape: tuple[int, ...], *, axis: int) -> str:
        """fp32, or s8 with a scale for each output channel"""
        if self._form == "fp32":
            return self._floats(name, shape)
        count = 1
        for side in shape:
            count *= side
        self._tensors.append(onnx.tensor(f"{name}_i", shape, onnx.INT8, b"\x07" * count))
        scales = self._floats(f"{name}_scale", (shape[axis],))
        self._tensors.append(onnx.tensor(f"{name}_zero", (shape[axis],), onnx.INT8, b"\x00" * shape[axis]))
        self._nodes.append(
            onnx.node("DequantizeLinear", (f"{name}_i", scales, f"{name}_zero"), (name,), {"axis": axis})
        )
        return name

    def _bias(self, name: str, units: int) -> str:
        if self._form == "fp32":
            return self._floats(name, (units,))
        self._tensors.append(onnx.tensor(f"{name}_i", (units,), onnx.INT32, struct.pack("<i", 3) * units))
        # onnxruntime takes a bias along only where its scale is the product of the other two.
        scales = self._floats(f"{name}_scale", (units,), struct.pack("<f", _BIAS_SCALE) * units)
        self._tensors.append(onnx.tensor(f"{name}_zero", (units,), onnx.INT32, bytes(4 * units)))
        self._nodes.append(
            onnx.node("DequantizeLinear", (f"{name}_i", scales, f"{name}_zero"), (name,), {"axis": 0})
        )
        return name

    def _scale(self, name: str) -> str:
        return self._floats(name, (), struct.pack("<f", _SCALE))

    def _floats(self, name: str, shape: tuple[int, ...], raw: bytes | None = None) -> str:
        count = 1
        for side in shape:
            count *= side
        self._tensors.append(onnx.tensor(name, shape, onnx.FLOAT, raw or struct.pack("<f", _WEIGHT) * count))
        return name

    def _integers(self, name: str, numbers: tuple[int, ...]) -> str:
        raw = struct.pack(f"<{len(numbers)}q", *numbers)
        self._tensors.append(onnx.tensor(name, (len(numbers),), onnx.INT64, raw))
        return name


def _sides(height: int, width: int, kernel: int, stride: int) -> tuple[int, int]:
    """Of what a window makes that is padded by half of itself."""
    reach = kernel - 2 * (kernel // 2)
    return (height - reach) // stride + 1, (width - reach) // stride + 1
