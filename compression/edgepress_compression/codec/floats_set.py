"""Sets of the coder ``floats``: elements that ascend by value, without their order. Drawn in floats.py.

An element is an unsigned number of 1 + exponent_bits + fraction_bits bits, as in IEEE 754.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.floats_range import Frequencies, RangeDecoder, RangeEncoder

_HEAD_KERNEL: Final = (128, 64, 32, 16, 8, 4)  # tuned on the biases of SqueezeNet, flat around the best
_STEP_KERNEL: Final = (200, 100, 40)  # tuned on codebooks of k-means
# Neighbouring spacings of a codebook are alike: the next is foreseen from the last three, in 16ths.
_STEP_WEIGHTS: Final = (8, 5, 3)


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


def is_set(elements: list[int], sign_bit: int) -> bool:
    """Whether none is below the one before (-0.0 lies below 0.0)."""
    keys = [~element if element >> sign_bit else element for element in elements]
    return all(a <= b for a, b in pairwise(keys))


def write_set(coder: RangeEncoder, elements: list[int], layout: Layout) -> None:
    """``elements`` as is_set wants them, those of ``layout`` with its zeros."""
    parts = [layout.parts(element) for element in elements]
    minus = [magnitude for sign, magnitude in parts if sign][::-1]
    plus = [magnitude for sign, magnitude in parts if not sign]
    coder.bits(len(minus), len(elements).bit_length())
    heads, steps = heads_of(layout), _Steps(layout)
    _write_magnitudes(coder, minus, layout, heads, steps)
    if _may_mirror(minus, len(plus)):
        mirrored = plus == [0] * (len(plus) - len(minus)) + minus
        coder.bits(mirrored, 1)
        if mirrored:
            return
    _write_magnitudes(coder, plus, layout, heads, steps)


def read_set(coder: RangeDecoder, count: int, layout: Layout) -> list[int]:
    """The inverse. Raises CodecError for what write_set never writes."""
    minus_count = coder.bits(count.bit_length())
    if minus_count > count:
        raise CodecError(f"{minus_count} of {count} values are said to be negative")
    heads, steps = heads_of(layout), _Steps(layout)
    minus = _read_magnitudes(coder, minus_count, layout, heads, steps)
    plus_count = count - minus_count
    if _may_mirror(minus, plus_count) and coder.bits(1):
        plus = [0] * (plus_count - minus_count) + minus
    else:
        plus = _read_magnitudes(coder, plus_count, layout, heads, steps)
    return [layout.element(1, magnitude) for magnitude in minus[::-1]] + [layout.element(0, m) for m in plus]


def heads_of(layout: Layout) -> Frequencies:
    """Of 0 for the element 0 and 1 + exponent for others. Weights lie around 2^-16 .. 2^4."""
    one = (1 << (layout.exponent_bits - 1)) - 1
    likely = range(one - 15, one + 6)
    return Frequencies(
        [9 if head in likely else 1 for head in range((1 << layout.exponent_bits) + 1)], _HEAD_KERNEL
    )


def step_class(step: int) -> tuple[int, int]:
    """(class, extra bits) of a step >= 1: four classes an octave; the extra bits are its lowest."""
    bits = step.bit_length()
    if bits <= 3:
        return step - 1, 0
    return 4 * (bits - 3) + 3 + (step >> (bits - 3) & 3), bits - 3


def step_classes(bits: int) -> int:
    """The number of classes of steps of at most ``bits`` >= 3 bits."""
    return 4 * (bits - 3) + 7


def read_step(coder: RangeDecoder, kind: int) -> int:
    """The step of class ``kind``, whose extra bits come next."""
    if kind < 7:
        return kind + 1
    extra_bits = kind - 3 >> 2
    return (4 | kind - 3 & 3) << extra_bits | coder.bits(extra_bits)


class _Steps:
    """Codes the distance of one magnitude from the one before, foreseen from the last three.

    The class of a step plus 4 for each power of two of the smaller magnitude's exponent is the spacing on one
    scale for all magnitudes, in quarters of an octave; what is coded is the class minus the foreseen one.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._count = step_classes(layout.magnitude_bits)
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
        step = read_step(coder, kind) - 1
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
