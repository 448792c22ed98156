"""The coder ``floats`` for few elements: sets, lists, indexed lists and grids, drawn in floats.py.

This is the specification, and what runs where the compiled twin (native/floats.h) is not.
"""

from typing import Final

from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.floats_range import Frequencies, RangeDecoder, RangeEncoder
from edgepress_compression.codec.floats_set import (
    Layout,
    heads_of,
    read_set,
    read_step,
    step_class,
    step_classes,
    write_set,
)

_INDEX_KERNEL: Final = (32,)
_QUARTER_FIRST: Final = 64
_QUARTER_KERNEL: Final = (16,)
_FRACTION_FIELD_BITS: Final = 6


def encode_list(elements: list[int], layout: Layout) -> bytes:
    coder = RangeEncoder()
    coder.bits(layout.zeros, _FRACTION_FIELD_BITS)
    heads = heads_of(layout)
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
    heads = heads_of(layout)
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


def encode_set(elements: list[int], layout: Layout) -> bytes:
    coder = RangeEncoder()
    coder.bits(layout.zeros, _FRACTION_FIELD_BITS)
    write_set(coder, elements, layout)
    return coder.finish()


def decode_set(payload: memoryview, count: int, exponent_bits: int, fraction_bits: int) -> list[int]:
    coder = RangeDecoder(payload)
    layout = _read_layout(coder, exponent_bits, fraction_bits)
    elements = read_set(coder, count, layout)
    coder.end()
    return elements


def encode_indexed(distinct: list[int], indices: list[int], layout: Layout) -> bytes:
    """``distinct``: a set of 1 .. 256 elements; ``indices`` into it."""
    coder = RangeEncoder()
    coder.bits(layout.zeros, _FRACTION_FIELD_BITS)
    coder.bits(len(distinct) - 1, 8)
    write_set(coder, distinct, layout)
    frequencies = Frequencies([1] * len(distinct), _INDEX_KERNEL)
    for index in indices:
        frequencies.encode(coder, index)
    return coder.finish()


def decode_indexed(payload: memoryview, count: int, exponent_bits: int, fraction_bits: int) -> list[int]:
    coder = RangeDecoder(payload)
    layout = _read_layout(coder, exponent_bits, fraction_bits)
    distinct = read_set(coder, coder.bits(8) + 1, layout)
    frequencies = Frequencies([1] * len(distinct), _INDEX_KERNEL)
    elements = [distinct[frequencies.decode(coder)] for _ in range(count)]
    coder.end()
    return elements


def encode_grid(multiples: list[int]) -> bytes:
    """``multiples``: whole numbers of at most 24 bits and a sign."""
    coder = RangeEncoder()
    steps = Frequencies([1] * step_classes(26), _INDEX_KERNEL)
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
    steps = Frequencies([1] * step_classes(26), _INDEX_KERNEL)
    before = 0
    multiples = []
    for _ in range(count):
        zigzag = read_step(coder, steps.decode(coder)) - 1
        before += -(zigzag + 1 >> 1) if zigzag & 1 else zigzag >> 1
        if abs(before) >> 24:
            raise CodecError("a multiple of the step has more than 24 bits")
        multiples.append(before)
    coder.end()
    return multiples


def _read_layout(coder: RangeDecoder, exponent_bits: int, fraction_bits: int) -> Layout:
    zeros = coder.bits(_FRACTION_FIELD_BITS)
    if zeros > fraction_bits:
        raise CodecError(f"{zeros} of {fraction_bits} fraction bits are said to be zero")
    return Layout(exponent_bits, fraction_bits - zeros, zeros)


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
