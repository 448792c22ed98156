"""Floats, exactly: biases, codebooks, scales and weights that no pass has quantized.

payload::

    byte  form  0: the bytes as they are follow
                1 set, 2 list, 3 indexed: few elements by a range coder, see below
                4 grid: float32 step, then elements that are float32(m * step) for whole numbers m
                5 blocks: many elements, drawn in floats_blocks.py
                + 8: the elements of 2 bytes have an exponent of 8 bits (bfloat16), not 5 (float16)
                + 16: float32 elements that are exact in float16 are coded as float16

Forms 1 to 4 go on with one number of a range coder (floats_range.py); how its frequencies begin and what they
learn is in floats_set.py and floats_reference.py. n elements are, in symbols and plain bits:

    1 set       elements that ascend by value. 6 bits: zeros, the number of fraction bits at the low end that
                are zero in all elements and left out everywhere. bit_length(n) bits: how many are negative.
                Then the magnitudes of these, smallest first. If there is one at least, and as many others or
                one more, a bit: 1 when the others are the same magnitudes again (after a 0 if there is one
                more). Else the magnitudes of the others, smallest first.
                The first magnitude, and one after 0: head symbol (0 for 0, else 1 + exponent), and but for 0
                its fraction bits. Others: 1 + the distance from the one before, as a step.
                So an order that is known is not paid for: log2(n!) bits.
    2 list      zeros as above. An element: head symbol (0 for 0.0, else 1 + exponent), and but for 0.0 its
                sign symbol, a symbol of its highest two fraction bits (plain when it has fewer), its other
                fraction bits.
    3 indexed   zeros as above. 8 bits: k - 1. A set of k values without its zeros, then an index symbol an
                element.
    4 grid      an element's m minus the one before (the first: minus 0), d, as a step: 1 + 2 d for d >= 0,
                else -2 d.

A step s >= 1 is a class symbol and plain bits: s - 1 and none for s < 8; else, with b = bit_length(s) - 3,
the symbol 4 b + 3 + (the two bits after the highest), and the b lowest bits.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import floats_reference as few
from edgepress_compression.codec import floats_set, native
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.floats_blocks import decode_blocks, encode_blocks
from edgepress_compression.codec.planes import as_half

_RAW, _SET, _LIST, _INDEXED, _GRID, _BLOCKS = range(6)
_FORMS: Final = (_SET, _LIST, _INDEXED, _GRID, _BLOCKS)
_SHORT, _LONG, _HALF = 0, 8, 16  # added to the form
_EXPONENT_BITS: Final = {2: 5, 4: 8, 8: 11}  # by bytes an element
FEW_MAX: Final = 1 << 14  # elements; the range coder is slow, and what it gains does not grow beyond
_BLOCKS_MIN: Final = 256  # elements
_DISTINCT_MAX: Final = 256
_MULTIPLE_MAX: Final = 1 << 24  # whole numbers that float32 holds
_WORK_BYTES: Final = 1 << 15  # of native/floats.h


class Floats:
    """See the module."""

    def encode(self, data: bytes, itemsize: int, is_float: bool) -> bytes:
        best = bytes([_RAW]) + data
        if not is_float or not data:
            return best
        elements = np.frombuffer(data, f"<u{itemsize}")
        for form, payload in _candidates(elements):
            if len(payload) + 1 < len(best):  # ties go to the form that comes first
                best = bytes([form]) + payload
        return best

    def decode(self, payload: memoryview, size_bytes: int, itemsize: int, is_float: bool) -> bytes:
        if not len(payload):
            raise CodecError("payload ends early: no byte is there")
        form, kind, rest = payload[0] & 7, payload[0] & ~7, payload[1:]
        if payload[0] == _RAW:
            if len(rest) != size_bytes:
                raise CodecError(f"{len(rest)} bytes are there, {size_bytes} wanted")
            return bytes(rest)
        possible = {_SHORT: True, _LONG: itemsize == 2, _HALF: itemsize == 4}.get(kind, False)
        if (
            not is_float
            or not possible
            or form not in _FORMS
            or (form == _GRID and (kind, itemsize) != (_SHORT, 4))
        ):
            raise CodecError(f"floats of form {payload[0]} are not possible here")
        count = size_bytes // itemsize
        if form != _BLOCKS and count > FEW_MAX:
            raise CodecError(f"{count} elements are of form {form}, which has at most {FEW_MAX}")
        if form == _GRID:
            return _decode_grid(rest, count)
        width = 2 if kind == _HALF else itemsize
        exponent_bits = 8 if kind == _LONG else _EXPONENT_BITS[width]
        out = np.empty(count, f"<u{width}")
        if form == _BLOCKS:
            decode_blocks(rest, out, exponent_bits, 8 * width - 1 - exponent_bits)
        else:
            _decode_few(form, rest, exponent_bits, out)
        return (out.view("<f2").astype("<f4") if kind == _HALF else out).tobytes()


def _candidates(elements: NDArray[Any]) -> Iterator[tuple[int, bytes]]:
    if elements.itemsize == 4:
        if len(elements) <= FEW_MAX and (grid := _find_grid(elements)) is not None:
            yield _GRID, grid
        half = as_half(elements)
        if half is not None:
            yield from ((_HALF | form, payload) for form, payload in _forms(half, 5))
            return
    yield from _forms(elements, _EXPONENT_BITS[elements.itemsize])
    if elements.itemsize == 2:
        yield from ((_LONG | form, payload) for form, payload in _forms(elements, 8))


def _forms(elements: NDArray[Any], exponent_bits: int) -> Iterator[tuple[int, bytes]]:
    fraction_bits = 8 * elements.itemsize - 1 - exponent_bits
    if len(elements) >= _BLOCKS_MIN:
        yield _BLOCKS, encode_blocks(elements, exponent_bits, fraction_bits)
    if len(elements) > FEW_MAX:
        return
    numbers = elements.tolist()
    layout = floats_set.find_layout(numbers, exponent_bits, fraction_bits)
    sign_bit = exponent_bits + fraction_bits
    if floats_set.is_set(numbers, sign_bit):
        yield _SET, few.encode_set(numbers, layout)
    else:
        yield _LIST, few.encode_list(numbers, layout)
    distinct, indices = np.unique(elements, return_inverse=True)
    if len(distinct) <= min(_DISTINCT_MAX, len(elements) // 2):
        plus = int(np.searchsorted(distinct, 1 << sign_bit))  # these come first, as their bits are lower
        order = np.concatenate([np.arange(plus, len(distinct))[::-1], np.arange(plus)])
        place = np.argsort(order)  # of each distinct element in the set
        yield _INDEXED, few.encode_indexed(distinct[order].tolist(), place[indices].tolist(), layout)


def _decode_few(form: int, payload: memoryview, exponent_bits: int, out: NDArray[Any]) -> None:
    fraction_bits = 8 * out.itemsize - 1 - exponent_bits
    if native.available():
        work = np.empty(_WORK_BYTES // 8, np.uint64)
        native.call(
            "ep_floats_few", form, payload, len(payload), exponent_bits, fraction_bits,
            out, out.itemsize, len(out), work, work.nbytes,
        )  # fmt: skip
    else:
        decode = {_SET: few.decode_set, _LIST: few.decode_list, _INDEXED: few.decode_indexed}[form]
        out[:] = decode(payload, len(out), exponent_bits, fraction_bits)


def _find_grid(elements: NDArray[Any]) -> bytes | None:
    """The payload when all elements are float32(m * step) for a step that is easily found, else None."""
    values = elements.view("<f4")
    if not np.isfinite(values).all() or not values.any():
        return None
    wide = np.unique(values.astype(np.float64))
    near = float(min(np.abs(wide[wide != 0]).min(), np.diff(wide).min(initial=np.inf)))
    rounded = np.rint(wide / near)
    if np.abs(rounded).max() >= _MULTIPLE_MAX:
        return None
    # The smallest spacing is the step but for rounding; the farthest multiple tells it more precisely.
    far = int(np.argmax(np.abs(rounded)))
    middle = np.float32(wide[far] / rounded[far])
    for step in (
        middle,
        np.nextafter(middle, np.float32(0)),
        np.nextafter(middle, np.float32(np.inf)),
        np.float32(near),
    ):
        if not (step > 0 and np.isfinite(step)):
            continue
        multiples = np.rint(values.astype(np.float64) / np.float64(step))
        if np.abs(multiples).max() >= _MULTIPLE_MAX:
            continue
        whole = multiples.astype(np.int64)  # not -0.0
        with np.errstate(over="ignore"):
            same = (whole.astype(np.float32) * step).view(np.uint32) == elements
        if same.all():
            return bytes(step.astype("<f4").tobytes()) + few.encode_grid(whole.tolist())
    return None


def _decode_grid(payload: memoryview, count: int) -> bytes:
    if len(payload) < 4:
        raise CodecError("payload ends early: a grid's step has 4 bytes")
    step = np.frombuffer(payload[:4], "<f4")[0]
    if not (np.isfinite(step) and step > 0):
        raise CodecError("a grid's step is not a positive number")
    multiples = np.array(few.decode_grid(payload[4:], count), np.float32)
    with np.errstate(over="ignore"):
        return bytes((multiples * step).astype("<f4").tobytes())
