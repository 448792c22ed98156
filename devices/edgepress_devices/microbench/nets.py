"""The calibration nets: small models whose layers a device is timed on, alike on every device.

Real nets and not lone operators: fused, in the layout and with the caches as they are when a model runs. Shapes
follow what runs on edge devices (dense, pointwise and depthwise convolutions, fire modules, residual blocks,
perceptrons, attention), with widths and sizes drawn so that they fall between and beside the usual powers of two.
Weights are constants: nothing but shapes and types matters for time.

A net is written from its name alone, on the device and again on the server, which knows the layers' shapes so.
Change what a name gives only together with PLAN_VERSION.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

from edgepress_devices.microbench import onnx_writer as onnx

PLAN_VERSION: Final = 1
Form = Literal["fp32", "u8", "s8"]  # u8, s8: integers, of the activations; weights are s8
FORMS: Final[tuple[Form, ...]] = ("fp32", "u8", "s8")

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
        self._count = 0

    def input(self, *shape: int, rounded: bool = True) -> str:
        """``rounded``: in an integer form, as integers; else as it comes."""
        name = f"x{len(self._inputs)}"
        self._inputs.append(onnx.value(name, shape, onnx.FLOAT))
        self.shapes[name] = shape
        return self._pair(name, name) if rounded else name

    def rounded(self, x: str) -> str:
        """As integers, where the form asks for them, for layers that take what comes (`project`)."""
        return self._pair(x, self._fresh("rounded"))

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
                "kernel_shape": (kernel, kernel), "strides": (stride, stride), "pads": (pad,) * 4, "group": group,
            })
        )  # fmt: skip
        side = lambda size: (size + 2 * pad - kernel) // stride + 1  # noqa: E731
        self.shapes[name] = (1, filters, side(height), side(width))
        if relu:
            self._nodes.append(onnx.node("Relu", (out,), (name,)))
        return self._pair(name, name, positive=relu)

    def pool(self, x: str, kind: str = "MaxPool", kernel: int = 3, stride: int = 2) -> str:
        name, (_, channels, height, width) = self._fresh("pool"), self.shapes[x]
        pad = kernel // 2
        attributes: dict[str, onnx.Attribute] = {
            "kernel_shape": (kernel, kernel), "strides": (stride, stride), "pads": (pad,) * 4,
        }  # fmt: skip
        self._nodes.append(onnx.node(kind, (x,), (name,), attributes))
        side = lambda size: (size + 2 * pad - kernel) // stride + 1  # noqa: E731
        self.shapes[name] = (1, channels, side(height), side(width))
        return self._pair(name, name)

    def mean(self, x: str) -> str:
        """(1, channels) from (1, channels, height, width)"""
        name, channels = self._fresh("mean"), self.shapes[x][1]
        self._nodes.append(onnx.node("GlobalAveragePool", (x,), (f"{name}_4d",)))
        self.shapes[f"{name}_4d"] = (1, channels, 1, 1)
        before = self._pair(f"{name}_4d", f"{name}_4d")
        self._nodes.append(onnx.node("Flatten", (before,), (name,), {"axis": 1}))
        self.shapes[name] = (1, channels)
        return name

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
        return self._pair(name, name)

    def gelu(self, x: str) -> str:
        """x/2 (1 + erf(x / sqrt 2)), spelled out as exporters do; runtimes put it together again."""
        name, shape = self._fresh("gelu"), self.shapes[x]
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
        return self._pair(name, name)

    def rows_of(self, table: tuple[int, int], rows: int) -> str:
        """(1, rows, columns): what an embedding gives for as many tokens."""
        name, tokens = self._fresh("embed"), f"x{len(self._inputs)}"
        self._inputs.append(onnx.value(tokens, (1, rows), onnx.INT64))
        self._floats(f"{name}_table", table)
        self._nodes.append(onnx.node("Gather", (f"{name}_table", tokens), (name,)))
        self.shapes[name] = (1, rows, table[1])
        return name

    def average(self, x: str) -> str:
        """(1, channels) by ReduceMean"""
        name = self._fresh("average")
        self._nodes.append(onnx.node("ReduceMean", (x,), (name,), {"axes": (2, 3), "keepdims": 0}))
        self.shapes[name] = self.shapes[x][:2]
        return name

    def resize(self, x: str) -> str:
        """Twice the height and width, nearest."""
        name, (_, channels, height, width) = self._fresh("resize"), self.shapes[x]
        scales = self._floats(f"{name}_s", (4,), struct.pack("<4f", 1, 1, 2, 2))
        self._nodes.append(onnx.node("Resize", (x, "", scales), (name,), {"mode": "nearest"}))
        self.shapes[name] = (1, channels, 2 * height, 2 * width)
        return self._pair(name, name)

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


def plain(net: Net, size: int, widths: tuple[int, ...], kernel: int = 3) -> None:
    """Dense convolutions with pooling in between (VGG)."""
    x = net.input(1, 3, size, size)
    for number, width in enumerate(widths):
        x = net.conv(x, width, kernel if number else 3, stride=1)
        if number % 2:
            x = net.pool(x, kernel=2 if net.shapes[x][2] % 2 == 0 and number % 4 == 1 else 3)
    net.output(net.dense(net.mean(x), 100, relu=False))


def separable(net: Net, size: int, widths: tuple[int, ...]) -> None:
    """Depthwise and pointwise convolutions (MobileNet)."""
    x = net.conv(net.input(1, 3, size, size), widths[0], 3, stride=2)
    for number, width in enumerate(widths[1:]):
        channels = net.shapes[x][1]
        grown = width > channels
        x = net.conv(x, channels, 5 if number % 3 == 2 else 3, stride=2 if grown else 1, group=channels)
        x = net.conv(x, width, 1)
    net.output(net.dense(net.mean(x), 500, relu=False))


def inverted(net: Net, size: int, widths: tuple[int, ...], expansion: int) -> None:
    """Residual blocks that widen inside (MobileNetV2, EfficientNet)."""
    x = net.conv(net.input(1, 3, size, size), 24, 3, stride=2)
    for number, width in enumerate(widths):
        channels = net.shapes[x][1]
        same = width == channels
        inside = net.conv(x, channels * expansion, 1)
        inside = net.conv(
            inside,
            channels * expansion,
            5 if number % 2 else 3,
            stride=1 if same else 2,
            group=channels * expansion,
        )
        inside = net.conv(inside, width, 1, relu=False)
        x = net.two("Add", x, inside) if same else inside
    net.output(net.mean(net.conv(x, 4 * widths[-1], 1)))


def residual(net: Net, size: int, widths: tuple[int, ...]) -> None:
    """Two 3 x 3 convolutions and a sum (ResNet)."""
    x = net.conv(net.input(1, 3, size, size), widths[0], 3)
    for width in widths:
        grown = width != net.shapes[x][1]
        inside = net.conv(x, width, 3, stride=2 if grown else 1)
        inside = net.conv(inside, width, 3, relu=False)
        x = net.conv(x, width, 1, stride=2, relu=False) if grown else x
        x = net.two("Add", x, inside, relu=True)
    net.output(net.dense(net.mean(x), 10, relu=False))


def fire(net: Net, size: int, widths: tuple[int, ...]) -> None:
    """Squeeze, then expand two ways and put side by side (SqueezeNet)."""
    x = net.pool(net.conv(net.input(1, 3, size, size), 48, 3, stride=2))
    for number, width in enumerate(widths):
        squeezed = net.conv(x, width, 1)
        x = net.concat(net.conv(squeezed, 4 * width, 1), net.conv(squeezed, 4 * width, 3))
        if number % 2:
            x = net.pool(x)
    net.output(net.mean(net.conv(x, 600, 1)))


def split(net: Net, size: int, channels: int) -> None:
    """Activations, sums and resizing on their own (detectors)."""
    x = net.conv(net.input(1, 3, size, size), channels, 3, stride=2)
    x = net.pool(x, "AveragePool")
    a = net.conv(x, channels, 1, relu=False)
    b = net.one("Sigmoid", net.conv(x, channels, 5, group=channels, relu=False))
    x = net.two("Mul", a, b)
    x = net.pool(net.conv(x, 2 * channels, 1), "MaxPool", 5, 1)
    x = net.resize(x)
    x = net.concat(x, net.resize(net.pool(x)) if net.shapes[x][2] % 4 == 0 else x)
    x = net.conv(x, 95, 1, relu=False)
    net.output(net.one("Sigmoid", x))


def perceptron(net: Net, rows: int, widths: tuple[int, ...]) -> None:
    """Dense layers; one row reads each weight once: bandwidth."""
    x = net.input(rows, widths[0])
    for width in widths[1:]:
        x = net.dense(x, width)
    net.output(net.dense(x, 10, relu=False))


def attention(net: Net, rows: int, columns: int, heads: int, layers: int = 1) -> None:
    """Transformer layers behind an embedding (BERT); integers only where matrices are multiplied by weights."""
    x = net.layer_norm(net.rows_of((1000, columns), rows))
    for _ in range(layers):
        whole = net.rounded(x)
        query, key, value = (net.project(whole, columns) for _ in range(3))
        scores = net.matmul(net.heads(query, heads), net.heads(key, heads, transposed=True))
        mixed = net.rows(net.matmul(net.one("Softmax", scores, axis=-1), net.heads(value, heads)))
        x = net.layer_norm(net.two("Add", x, net.project(net.rounded(mixed), columns), rounded=False))
        inside = net.gelu(net.project(net.rounded(x), 4 * columns))
        outside = net.project(net.rounded(inside), columns)
        x = net.layer_norm(net.two("Add", x, outside, rounded=False))
    net.output(x)


def shuffled(net: Net, size: int, channels: int, units: int) -> None:
    """Units that work on half of the channels and shuffle them (ShuffleNetV2)."""
    x = net.pool(net.conv(net.input(1, 3, size, size), channels, 3, stride=2))
    for _ in range(units):
        still, inside = net.shuffled_halves(x)
        half = channels // 2
        inside = net.conv(net.rounded(inside), half, 1)
        inside = net.conv(inside, half, 3, group=half, relu=False)
        inside = net.conv(inside, half, 1)
        x = net.concat(net.rounded(still), inside)
    net.output(net.one("Tanh", net.conv(x, 20, 1, relu=False)))


def thin_residual(net: Net, size: int, widths: tuple[int, ...]) -> None:
    """Residual blocks whose shortcut has no weights (ResNet's option A)."""
    x = net.conv(net.input(1, 3, size, size), widths[0], 3)
    for width in widths:
        grown = width != net.shapes[x][1]
        inside = net.conv(net.conv(x, width, 3, stride=2 if grown else 1), width, 3, relu=False)
        x = net.two("Add", net.thinned(x, width) if grown else x, inside, relu=True)
    net.output(net.dense(net.average(x), 10, relu=False))


def activated(net: Net, size: int, channels: int) -> None:
    """Activations that ride on no convolution."""
    x = net.conv(net.input(1, 3, size, size), channels, 3, relu=False)
    both = net.two("Add", net.one("LeakyRelu", x, alpha=0.1), net.one("Tanh", x))
    both = net.two("Mul", net.one("Sigmoid", both), both, relu=True)
    net.output(net.one("Softmax", net.average(both), axis=-1))


_NETS: Final = {
    "plain-32": lambda net: plain(net, 32, (24, 32, 48, 72, 96, 136)),
    "plain-64": lambda net: plain(net, 64, (12, 20, 40, 56, 112, 160, 224)),
    "plain-96-5": lambda net: plain(net, 96, (16, 16, 30, 44), kernel=5),
    "plain-12-512": lambda net: plain(net, 12, (128, 256, 320)),
    "separable-96": lambda net: separable(net, 96, (8, 16, 32, 32, 64, 64, 128, 128, 256)),
    "separable-160": lambda net: separable(net, 160, (20, 40, 72, 72, 144, 144, 288, 288)),
    "separable-49": lambda net: separable(net, 49, (64, 64, 64, 64, 90, 90)),
    "inverted-224": lambda net: inverted(net, 224, (16, 24, 24, 40, 40, 96, 96), 6),
    "inverted-112": lambda net: inverted(net, 112, (32, 48, 48, 120, 120, 180), 4),
    "residual-32": lambda net: residual(net, 32, (16, 16, 32, 32, 64, 64)),
    "residual-56": lambda net: residual(net, 56, (40, 80, 80, 160)),
    "residual-16": lambda net: residual(net, 16, (8, 20, 20)),
    "thin-residual-32": lambda net: thin_residual(net, 32, (12, 12, 24, 48)),
    "thin-residual-24": lambda net: thin_residual(net, 24, (40, 64, 80)),
    "fire-160": lambda net: fire(net, 160, (12, 20, 28, 40, 56)),
    "fire-227": lambda net: fire(net, 227, (16, 32, 48, 64)),
    "split-176": lambda net: split(net, 176, 32),
    "split-88": lambda net: split(net, 88, 72),
    "shuffled-160": lambda net: shuffled(net, 160, 48, 3),
    "shuffled-352": lambda net: shuffled(net, 352, 40, 2),
    "shuffled-128": lambda net: shuffled(net, 128, 128, 3),
    "activated-16": lambda net: activated(net, 16, 24),
    "activated-56": lambda net: activated(net, 56, 32),
    "plain-28": lambda net: plain(net, 28, (10, 24)),
    "plain-16": lambda net: plain(net, 16, (8, 12, 20)),
    "perceptron-1-narrow": lambda net: perceptron(net, 1, (64, 48, 32)),
    "perceptron-1-deep": lambda net: perceptron(net, 1, (400, 500, 220, 160, 96, 192)),
    "perceptron-1": lambda net: perceptron(net, 1, (784, 300, 100)),
    "perceptron-1-wide": lambda net: perceptron(net, 1, (640, 128, 128, 8, 128, 1280, 1000, 2048)),
    "attention-24": lambda net: attention(net, 24, 128, 2, 2),
    "attention-32": lambda net: attention(net, 32, 256, 4),
    "attention-64": lambda net: attention(net, 64, 320, 8),
    "attention-80": lambda net: attention(net, 80, 448, 14),
    "attention-128": lambda net: attention(net, 128, 192, 6),
}
NAMES: Final = tuple(_NETS)


def write_net(name: str, form: Form) -> bytes:
    """The ONNX file of a calibration net. Raises KeyError for a name that is not in NAMES."""
    net = Net(name, form)
    _NETS[name](net)
    return net.write()
