"""The coder ``floats`` for few elements: sets, lists, indexed lists and grids, drawn in floats.py.

This is the specification, and what runs where the compiled twin (native/floats.h) is not.
An element is an unsigned number of 1 + exponent_bits + fraction_bits bits, as in IEEE 754.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.floats_range import Frequencies, RangeDecoder, RangeEncoder

_HEAD_KERNEL: Final = (128, 64, 32, 16, 8, 4)  # tuned on the biases of SqueezeNet, flat around the best
_STEP_KERNEL: Final = (200, 100, 40)  # tuned on codebooks of k-means
_INDEX_KERNEL: Final = (32,)
_QUARTER_FIRST: Final = 64
_QUARTER_KERNEL: Final = (16,)
# Neighbouring spacings of a codebook are alike: the next is foreseen from the last three, in 16ths.
_STEP_WEIGHTS: Final = (8, 5, 3)
_FRACTION_FIELD_BITS: Final = 6


@dataclass(frozen=True)
class Layout:
    """How an element's bits are read."""

    exponent_bits: int
    fraction_bits: int  # without the trailing zeros that no element uses
    zeros: int  # that many

    @property
    def magnitude_bits(self) -> int:
        return self.exponent_bits + self.fraction_bits

    def parts(self, element: int) -> tuple[int, int]:
        """(sign, magnitude without the trailing zeros)."""
        element >>= self.zeros
        return element >> self.magnitude_bits, element & ((1 << self.magnitude_bits) - 1)

    def element(self, sign: int, magnitude: int) -> int:
        return (sign << self.magnitude_bits | magnitude) << self.zeros


def find_layout(elements: list[int], exponent_bits: int, fraction_bits: int) -> Layout:
    """The layout that leaves out the fraction bits that are zero in all elements."""
    used = 1 << fraction_bits
    for element in elements:
        used |= element
    zeros = (used & -used).bit_length() - 1
    return Layout(exponent_bits, fraction_bits - zeros, zeros)


def encode_list(elements: list[int], layout: Layout) -> bytes:
    coder = RangeEncoder()
    coder.bits(layout.zeros, _FRACTION_FIELD_BITS)
    heads = _heads(layout)
    signs = Frequencies([1, 1], (1,))
    quarters = _Quarters(layout)
    for element in elements:
        sign, magnitude = layout.parts(element)
        if element == 0:
            heads.encode(coder, 0)
            continue
        head = 1 + (magnitude >> layout.fraction_bits)
        heads.encode(coder, head)
        signs.encode(coder, sign)
        quarters.encode(coder, head, magnitude & ((1 << layout.fraction_bits) - 1))
    return coder.finish()


def decode_list(payload: memoryview, count: int, exponent_bits: int, fraction_bits: int) -> list[int]:
    coder = RangeDecoder(payload)
    layout = _read_layout(coder, exponent_bits, fraction_bits)
    heads = _heads(layout)
    signs = Frequencies([1, 1], (1,))
    quarters = _Quarters(layout)
    elements = []
    for _ in range(count):
        head = heads.decode(coder)
        if head == 0:
            elements.append(0)
            continue
        sign = signs.decode(coder)
        fraction = quarters.decode(coder, head)
        elements.append(layout.element(sign, (head - 1) << layout.fraction_bits | fraction))
    coder.end()
    return elements


def is_set(elements: list[int], sign_bit: int) -> bool:
    """Whether none is below the one before (-0.0 lies below 0.0)."""
    keys = [~element if element >> sign_bit else element for element in elements]
    return all(a <= b for a, b in pairwise(keys))


def encode_set(elements: list[int], layout: Layout) -> bytes:
    coder = RangeEncoder()
    coder.bits(layout.zeros, _FRACTION_FIELD_BITS)
    _write_set(coder, elements, layout)
    return coder.finish()


def decode_set(payload: memoryview, count: int, exponent_bits: int, fraction_bits: int) -> list[int]:
    coder = RangeDecoder(payload)
    layout = _read_layout(coder, exponent_bits, fraction_bits)
    elements = _read_set(coder, count, layout)
    coder.end()
    return elements


def encode_indexed(distinct: list[int], indices: list[int], layout: Layout) -> bytes:
    """``distinct``: a set of 1 .. 256 elements; ``indices`` into it."""
    coder = RangeEncoder()
    coder.bits(layout.zeros, _FRACTION_FIELD_BITS)
    coder.bits(len(distinct) - 1, 8)
    _write_set(coder, distinct, layout)
    frequencies = Frequencies([1] * len(distinct), _INDEX_KERNEL)
    for index in indices:
        frequencies.encode(coder, index)
    return coder.finish()


def decode_indexed(payload: memoryview, count: int, exponent_bits: int, fraction_bits: int) -> list[int]:
    coder = RangeDecoder(payload)
    layout = _read_layout(coder, exponent_bits, fraction_bits)
    distinct = _read_set(coder, coder.bits(8) + 1, layout)
    frequencies = Frequencies([1] * len(distinct), _INDEX_KERNEL)
    elements = [distinct[frequencies.decode(coder)] for _ in range(count)]
    coder.end()
    return elements


def encode_grid(multiples: list[int]) -> bytes:
    """``multiples``: whole numbers of at most 24 bits and a sign."""
    coder = RangeEncoder()
    steps = Frequencies([1] * _classes(26), _INDEX_KERNEL)
    before = 0
    for multiple in multiples:
        step = multiple - before
        before = multiple
        zigzag = 2 * step if step >= 0 else -2 * step - 1
        kind, extra_bits = step_class(zigzag + 1)
        steps.encode(coder, kind)
        coder.bits(zigzag + 1, extra_bits)
    return coder.finish()


def decode_grid(payload: memoryview, count: int) -> list[int]:
    coder = RangeDecoder(payload)
    steps = Frequencies([1] * _classes(26), _INDEX_KERNEL)
    before = 0
    multiples = []
    for _ in range(count):
        zigzag = _read_step(coder, steps.decode(coder)) - 1
        before += -(zigzag + 1 >> 1) if zigzag & 1 else zigzag >> 1
        if abs(before) >> 24:
            raise CodecError("a multiple of the step has more than 24 bits")
        multiples.append(before)
    coder.end()
    return multiples


def step_class(step: int) -> tuple[int, int]:
    """(class, extra bits) of a step >= 1: four classes an octave; the extra bits are its lowest."""
    bits = step.bit_length()
    if bits <= 3:
        return step - 1, 0
    return 4 * (bits - 3) + 3 + (step >> (bits - 3) & 3), bits - 3


def _classes(bits: int) -> int:
    """The number of classes of steps of at most ``bits`` >= 3 bits."""
    return 4 * (bits - 3) + 7


def _read_step(coder: RangeDecoder, kind: int) -> int:
    if kind < 7:
        return kind + 1
    extra_bits = kind - 3 >> 2
    return (4 | kind - 3 & 3) << extra_bits | coder.bits(extra_bits)


def _read_layout(coder: RangeDecoder, exponent_bits: int, fraction_bits: int) -> Layout:
    zeros = coder.bits(_FRACTION_FIELD_BITS)
    if zeros > fraction_bits:
        raise CodecError(f"{zeros} of {fraction_bits} fraction bits are said to be zero")
    return Layout(exponent_bits, fraction_bits - zeros, zeros)


def _heads(layout: Layout) -> Frequencies:
    """Of 0 for the element 0 and 1 + exponent for others. Weights lie around 2^-16 .. 2^4."""
    one = (1 << (layout.exponent_bits - 1)) - 1
    likely = range(one - 15, one + 6)
    return Frequencies(
        [9 if head in likely else 1 for head in range((1 << layout.exponent_bits) + 1)], _HEAD_KERNEL
    )


class _Quarters:
    """Codes an element's fraction bits, the highest two as a symbol: near the largest exponent values thin
    out.

    The symbols' frequencies go by the largest head so far, this one's included, minus this head: 0, 1 or
    more.
    """

    def __init__(self, layout: Layout) -> None:
        self._plain_bits = layout.fraction_bits - 2  # without two bits, all are plain
        self._fraction_bits = layout.fraction_bits
        self._frequencies = [Frequencies([_QUARTER_FIRST] * 4, _QUARTER_KERNEL) for _ in range(3)]
        self._largest = 0

    def encode(self, coder: RangeEncoder, head: int, fraction: int) -> None:
        if self._plain_bits < 0:
            coder.bits(fraction, self._fraction_bits)
            return
        self._near(head).encode(coder, fraction >> self._plain_bits)
        coder.bits(fraction & ((1 << self._plain_bits) - 1), self._plain_bits)

    def decode(self, coder: RangeDecoder, head: int) -> int:
        if self._plain_bits < 0:
            return coder.bits(self._fraction_bits)
        quarter = self._near(head).decode(coder)
        return quarter << self._plain_bits | coder.bits(self._plain_bits)

    def _near(self, head: int) -> Frequencies:
        self._largest = max(self._largest, head)
        return self._frequencies[min(self._largest - head, 2)]


class _Steps:
    """Codes the distance of one magnitude from the one before, foreseen from the last three.

    The class of a step plus 4 for each power of two of the smaller magnitude's exponent is the spacing on one
    scale for all magnitudes, in quarters of an octave; what is coded is the class minus the foreseen one.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._count = _classes(layout.magnitude_bits)
        reach = self._count - 1
        prior = [1 + 4096 // (away * away + 4) for away in range(-reach, reach + 1)]
        self._frequencies = [Frequencies(prior, _STEP_KERNEL) for _ in range(3)]
        self._before: list[int] = []  # spacings, latest first

    def restart(self) -> None:
        self._before = []

    def encode(self, coder: RangeEncoder, smaller: int, step: int) -> None:
        foreseen, frequencies = self._foresee(smaller)
        kind, extra_bits = step_class(step + 1)
        frequencies.encode(coder, kind - foreseen + self._count - 1, self._count - 1 - foreseen, self._count)
        coder.bits(step + 1 & ((1 << extra_bits) - 1), extra_bits)
        self._observe(smaller, kind)

    def decode(self, coder: RangeDecoder, smaller: int) -> int:
        foreseen, frequencies = self._foresee(smaller)
        kind = frequencies.decode(coder, self._count - 1 - foreseen, self._count) + foreseen - self._count + 1
        step = _read_step(coder, kind) - 1
        self._observe(smaller, kind)
        return step

    def _foresee(self, smaller: int) -> tuple[int, Frequencies]:
        if not self._before:
            return max(4 * (self._layout.fraction_bits - 3), 0), self._frequencies[0]
        a, b, c = (self._before * 3)[:3] if len(self._before) != 2 else (*self._before, self._before[1])
        foreseen = (sum(w * v for w, v in zip(_STEP_WEIGHTS, (a, b, c), strict=True)) + 8) >> 4
        foreseen -= 4 * (smaller >> self._layout.fraction_bits)
        rough = abs(a - b) + abs(b - c) if len(self._before) == 3 else 0
        which = 0 if rough < 4 else 1 if rough < 9 else 2
        return min(max(foreseen, 0), self._count - 1), self._frequencies[which]

    def _observe(self, smaller: int, kind: int) -> None:
        spacing = kind + 4 * (smaller >> self._layout.fraction_bits)
        self._before = [spacing, *self._before[:2]]


def _write_set(coder: RangeEncoder, elements: list[int], layout: Layout) -> None:
    parts = [layout.parts(element) for element in elements]
    minus = [magnitude for sign, magnitude in parts if sign][::-1]
    plus = [magnitude for sign, magnitude in parts if not sign]
    coder.bits(len(minus), len(elements).bit_length())
    heads, steps = _heads(layout), _Steps(layout)
    _write_magnitudes(coder, minus, layout, heads, steps)
    if _may_mirror(minus, len(plus)):
        mirrored = plus == [0] * (len(plus) - len(minus)) + minus
        coder.bits(mirrored, 1)
        if mirrored:
            return
    _write_magnitudes(coder, plus, layout, heads, steps)


def _read_set(coder: RangeDecoder, count: int, layout: Layout) -> list[int]:
    minus_count = coder.bits(count.bit_length())
    if minus_count > count:
        raise CodecError(f"{minus_count} of {count} values are said to be negative")
    heads, steps = _heads(layout), _Steps(layout)
    minus = _read_magnitudes(coder, minus_count, layout, heads, steps)
    plus_count = count - minus_count
    if _may_mirror(minus, plus_count) and coder.bits(1):
        plus = [0] * (plus_count - minus_count) + minus
    else:
        plus = _read_magnitudes(coder, plus_count, layout, heads, steps)
    return [layout.element(1, magnitude) for magnitude in minus[::-1]] + [layout.element(0, m) for m in plus]


def _may_mirror(minus: list[int], plus_count: int) -> bool:
    return len(minus) > 0 and plus_count - len(minus) in (0, 1)


def _write_magnitudes(
    coder: RangeEncoder, magnitudes: list[int], layout: Layout, heads: Frequencies, steps: _Steps
) -> None:
    steps.restart()
    before = 0
    for magnitude in magnitudes:
        if before:
            steps.encode(coder, before, magnitude - before)
        elif magnitude == 0:
            heads.encode(coder, 0)
        else:
            heads.encode(coder, 1 + (magnitude >> layout.fraction_bits))
            coder.bits(magnitude & ((1 << layout.fraction_bits) - 1), layout.fraction_bits)
        before = magnitude


def _read_magnitudes(
    coder: RangeDecoder, count: int, layout: Layout, heads: Frequencies, steps: _Steps
) -> list[int]:
    steps.restart()
    magnitudes: list[int] = []
    before = 0
    for _ in range(count):
        if before:
            before += steps.decode(coder, before)
            if before >> layout.magnitude_bits:
                raise CodecError("a value of a set is too large")
        else:
            head = heads.decode(coder)
            if head:
                before = (head - 1) << layout.fraction_bits | coder.bits(layout.fraction_bits)
        magnitudes.append(before)
    return magnitudes
