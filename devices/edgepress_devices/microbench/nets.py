"""The calibration nets: small models whose layers a device is timed on, alike on every device.

Real nets and not lone operators: fused, in the layout and with the caches as they are when a model runs.
Shapes follow what runs on edge devices (dense, pointwise and depthwise convolutions, fire modules, residual
blocks, perceptrons, attention), with widths and sizes drawn so that they fall between and beside the usual
powers of two.

A net is written from its name alone, on the device and again on the server, which so knows its layers'
shapes. Change what a name gives only together with PLAN_VERSION.
"""

from __future__ import annotations

from typing import Final

from edgepress_devices.microbench.net import Net
from edgepress_devices.microbench.plan import FORMS, PLAN_VERSION, Form

__all__ = ["FORMS", "NAMES", "PLAN_VERSION", "Form", "write_net"]


def plain(net: Net, size: int, widths: tuple[int, ...], kernel: int = 3) -> None:
    """Dense convolutions with pooling in between (VGG)."""
    x = net.input(1, 3, size, size)
    for number, width in enumerate(widths):
        x = net.conv(x, width, kernel if number else 3, stride=1)
        if number % 2:
            x = net.pool(x, kernel=2 if net.shapes[x][2] % 2 == 0 and number % 4 == 1 else 3)
    net.output(net.dense(net.mean(x), 100, relu=False))


def lenet(net: Net, size: int, widths: tuple[int, int], units: int, kernel: int) -> None:
    """Two convolutions of pooled pictures, then dense layers on all that is left (LeNet)."""
    x = net.pool(net.stem(widths[0], kernel, side=size, channels=1), kernel=2)
    x = net.pool(net.conv(x, widths[1], kernel, relu=False), kernel=2)
    net.output(net.dense(net.dense(net.flat(x), units), 10, relu=False))


def separable(net: Net, size: int, widths: tuple[int, ...]) -> None:
    """Depthwise and pointwise convolutions (MobileNet)."""
    x = net.stem(widths[0], 3, side=size, stride=2)
    for number, width in enumerate(widths[1:]):
        channels = net.shapes[x][1]
        grown = width > channels
        x = net.conv(x, channels, 5 if number % 3 == 2 else 3, stride=2 if grown else 1, group=channels)
        x = net.conv(x, width, 1)
    net.output(net.dense(net.pooled_away(x), 500, relu=False))


def inverted(net: Net, size: int, widths: tuple[int, ...], expansion: int) -> None:
    """Residual blocks that widen inside (MobileNetV2, EfficientNet)."""
    x = net.stem(24, 3, side=size, stride=2)
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
    x = net.stem(widths[0], 3, side=size)
    for width in widths:
        grown = width != net.shapes[x][1]
        inside = net.conv(x, width, 3, stride=2 if grown else 1)
        inside = net.conv(inside, width, 3, relu=False)
        x = net.conv(x, width, 1, stride=2, relu=False) if grown else x
        x = net.two("Add", x, inside, relu=True)
    net.output(net.dense(net.pooled_away(x), 10, relu=False))


def fire(net: Net, size: int, widths: tuple[int, ...]) -> None:
    """Squeeze, then expand two ways and put side by side (SqueezeNet)."""
    x = net.pool(net.stem(48, 3, side=size, stride=2))
    for number, width in enumerate(widths):
        squeezed = net.conv(x, width, 1)
        x = net.concat(net.conv(squeezed, 4 * width, 1), net.conv(squeezed, 4 * width, 3))
        if number % 2:
            x = net.pool(x)
    net.output(net.mean(net.conv(x, 600, 1)))


def split(net: Net, size: int, channels: int) -> None:
    """Activations, sums and resizing on their own (detectors)."""
    x = net.stem(channels, 3, side=size, stride=2)
    x = net.pool(x, "AveragePool")
    a = net.conv(x, channels, 1, relu=False)
    b = net.one("Sigmoid", net.conv(x, channels, 5, group=channels, relu=False))
    x = net.two("Mul", a, b)
    x = net.pool(net.conv(x, 2 * channels, 1), "MaxPool", 5, 1)
    x = net.resize(x)
    x = net.concat(x, net.resize(net.pool(x)) if net.shapes[x][2] % 4 == 0 else x)
    x = net.conv(x, 95, 1, relu=False)
    net.output(net.one("Sigmoid", net.conv(x, 5, 1, relu=False)))
    net.output(net.channels_last(net.one("Softmax", net.pool(x), axis=1)))


def perceptron(net: Net, rows: int, widths: tuple[int, ...]) -> None:
    """Dense layers; one row reads each weight once: bandwidth."""
    x = net.input(rows, widths[0])
    for width in widths[1:]:
        x = net.dense(x, width)
    net.output(net.dense(x, 10, relu=False))


def attention(net: Net, rows: int, columns: int, heads: int) -> None:
    """A transformer layer behind an embedding (BERT); integers only where weights multiply."""
    x = net.layer_norm(net.rows_of((1000, columns), rows))
    whole = net.rounded(x)
    query, key, value = (net.project(whole, columns) for _ in range(3))
    scores = net.matmul(net.heads(query, heads), net.heads(key, heads, transposed=True))
    mixed = net.rows(net.matmul(net.one("Softmax", scores, axis=-1), net.heads(value, heads)))
    x = net.layer_norm(net.two("Add", x, net.project(net.rounded(mixed), columns), rounded=False))
    inside = net.gelu(net.project(net.rounded(x), 4 * columns), bias=heads % 2 == 0)
    outside = net.project(net.rounded(inside), columns)
    x = net.layer_norm(net.two("Add", x, outside, rounded=False))
    net.output(x)


def shuffled(net: Net, size: int, channels: int, units: int) -> None:
    """Units that work on half of the channels and shuffle them (ShuffleNetV2)."""
    x = net.pool(net.stem(channels, 3, side=size, stride=2))
    for _ in range(units):
        still, inside = net.shuffled_halves(x)
        half = channels // 2
        inside = net.conv(net.rounded(inside), half, 1)
        inside = net.conv(inside, half, 3, group=half, relu=False)
        inside = net.conv(inside, half, 1)
        x = net.concat(net.rounded(still), inside)
    net.output(net.one("Tanh", net.conv(x, 20, 1, relu=False)))
    net.output(net.channels_last(net.pool(x, "AveragePool", 3, 2)))


def thin_residual(net: Net, size: int, widths: tuple[int, ...]) -> None:
    """Residual blocks whose shortcut has no weights (ResNet's option A)."""
    x = net.stem(widths[0], 3, side=size)
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
    "inverted-128-wide": lambda net: inverted(net, 128, (48, 96, 192, 192, 320), 6),
    "residual-32": lambda net: residual(net, 32, (16, 16, 32, 32, 64, 64)),
    "residual-56": lambda net: residual(net, 56, (40, 80, 80, 160)),
    "residual-16": lambda net: residual(net, 16, (8, 20, 20)),
    "thin-residual-32": lambda net: thin_residual(net, 32, (12, 12, 24, 48)),
    "thin-residual-24": lambda net: thin_residual(net, 24, (40, 64, 80)),
    "fire-160": lambda net: fire(net, 160, (12, 20, 28, 40, 56)),
    "fire-227": lambda net: fire(net, 227, (16, 32, 48, 64)),
    "split-176": lambda net: split(net, 176, 32),
    "split-88": lambda net: split(net, 88, 72),
    "shuffled-160": lambda net: shuffled(net, 160, 48, 2),
    "shuffled-352": lambda net: shuffled(net, 352, 40, 2),
    "shuffled-128": lambda net: shuffled(net, 128, 128, 2),
    "activated-16": lambda net: activated(net, 16, 24),
    "activated-56": lambda net: activated(net, 56, 32),
    "lenet-24": lambda net: lenet(net, 24, (16, 40), 120, 5),
    "lenet-28": lambda net: lenet(net, 28, (30, 60), 400, 3),
    "plain-28": lambda net: plain(net, 28, (10, 24)),
    "plain-16": lambda net: plain(net, 16, (8, 12, 20)),
    "perceptron-1-narrow": lambda net: perceptron(net, 1, (64, 48, 32)),
    "perceptron-1-deep": lambda net: perceptron(net, 1, (400, 500, 220, 160, 96, 192)),
    "perceptron-1": lambda net: perceptron(net, 1, (784, 300, 100)),
    "perceptron-1-wide": lambda net: perceptron(net, 1, (640, 128, 128, 8, 128, 1280, 1000, 2048)),
    "attention-24": lambda net: attention(net, 24, 128, 2),
    "attention-32": lambda net: attention(net, 32, 256, 4),
    "attention-64": lambda net: attention(net, 64, 320, 5),
    "attention-80": lambda net: attention(net, 80, 448, 14),
    "attention-48-wide": lambda net: attention(net, 48, 704, 11),
    "attention-128": lambda net: attention(net, 128, 192, 6),
}
NAMES: Final = tuple(_NETS)


def write_net(name: str, form: Form) -> bytes:
    """The ONNX file of a calibration net. Raises KeyError for a name that is not in NAMES."""
    net = Net(name, form)
    _NETS[name](net)
    return net.write()
