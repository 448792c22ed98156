"""One bit for each of many positions, in little more than one bit each, without saying which positions.

A group is a row of one-bit cells. A position's hash gives it a window of 64 cells and which of them count;
their XOR is its bit. The cells are solved for, so that the positions of a set get the bits asked for; any
other position gets a bit that looks random. This is the Bloomier filter of Chazelle et al. 2004 with the
equations of a ribbon filter (Dillinger and Walzer 2021, "Ribbon filter: practically smaller than Bloom and
Xor"): all cells of an equation lie near each other, so that elimination stays inside a band. Measured cells a
bit: 1.02 for 800 to 20,000 positions, 1.06 for 80,000, 1.09 for 400,000. Peeling with 3 hashed cells takes
1.23, in segments (Graf and Lemire 2022) 1.13.

All arithmetic on unsigned 32-bit numbers wraps. For the position x, and seed and group number of a group::

    mix(x):  x = (x ^ x >> 16) * 21F0AAADh;  x = (x ^ x >> 15) * 735A2D97h;  x ^ x >> 15
    a = mix(x ^ mix(seed << 8 | group))      b = mix(a + 9E3779B9h)      c = mix(b + 9E3779B9h)
    start = a * (cells - 63) >> 32, of the 64-bit product
    mask  = c << 32 | b | 1         bit i stands for cell start + i
    bit   = XOR of the cells in mask, XOR (b & 1)

Cells are packed low bit first. ``ep_bloomier_solve`` in C does what ``solve_reference`` does.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import CodecError

WINDOW: Final = 64
_GOLDEN: Final = 0x9E3779B9
_WORD: Final = 0xFFFFFFFF
# Cells beyond the number of positions to try, in 1/256 of that number.
_SLACK: Final = (0, 2, 4, 6, 8, 11, 14, 18, 24, 32, 48, 96, 256, 1024, 4096)
_TRIES: Final = 4  # seeds for each; more gained nothing
SEEDS: Final = 256 // _TRIES


def mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x21F0AAAD)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x735A2D97)
    return x ^ x >> np.uint32(15)


def group_key(seed: int, group: int) -> np.uint32:
    mixed: np.uint32 = mix(np.array([(seed << 8 | group) & _WORD], np.uint32))[0]
    return mixed


def equations(
    positions: NDArray[np.uint32], seed: int, group: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint8]]:
    """(start, mask, flip) of each position, as drawn above."""
    first = mix(positions ^ group_key(seed, group))
    second = mix(first + np.uint32(_GOLDEN))
    third = mix(second + np.uint32(_GOLDEN))
    start = first.astype(np.uint64) * np.uint64(cells - WINDOW + 1) >> np.uint64(32)
    mask = third.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64) | np.uint64(1)
    return start.astype(np.int64), mask, (second & np.uint32(1)).astype(np.uint8)


def bits_of(
    packed: NDArray[np.uint8], positions: NDArray[np.uint32], seed: int, group: int, cells: int
) -> NDArray[np.uint8]:
    """The bit of each position (n,); ``packed`` holds ceil(cells / 8) bytes, cells >= 64."""
    start, mask, flip = equations(positions, seed, group, cells)
    padded = np.append(packed, np.uint8(0))  # bit 8 of a window that starts a byte is not looked at
    at = start >> 3
    window = np.zeros(len(positions), np.uint64)
    for byte in range(8):
        window |= padded[at + byte].astype(np.uint64) << np.uint64(8 * byte)
    shift = (start & 7).astype(np.uint64)
    window >>= shift
    window |= padded[at + 8].astype(np.uint64) << (np.uint64(63) - shift) << np.uint64(1)
    bits: NDArray[np.uint8] = np.bitwise_count(window & mask).astype(np.uint8) & np.uint8(1) ^ flip
    return bits


def solve_reference(
    positions: NDArray[np.uint32], bits: NDArray[np.uint8], seed: int, group: int, cells: int
) -> bytes | None:
    """Cells that give each position its bit, or None when the equations contradict each other."""
    starts, coefficients, flips = equations(positions, seed, group, cells)
    masks, right = [0] * cells, [0] * cells
    for equation in zip(starts.tolist(), coefficients.tolist(), (bits ^ flips).tolist(), strict=True):
        start, mask, bit = equation
        while masks[start]:
            mask ^= masks[start]
            bit ^= right[start]
            if not mask:
                break
            zeros = (mask & -mask).bit_length() - 1
            mask >>= zeros
            start += zeros
        if mask:
            masks[start], right[start] = mask, bit
        elif bit:
            return None
    solved = np.zeros(cells, np.uint8)
    after = 0
    for cell in range(cells - 1, -1, -1):
        window = after << 1 & (1 << WINDOW) - 1
        bit = (window & masks[cell]).bit_count() & 1 ^ right[cell] if masks[cell] else 0
        solved[cell] = bit
        after = window | bit
    return np.packbits(solved, bitorder="little").tobytes()


def solve(
    positions: NDArray[np.uint32], bits: NDArray[np.uint8], seed: int, group: int, cells: int
) -> bytes | None:
    """As solve_reference."""
    if not native.available():
        return solve_reference(positions, bits, seed, group, cells)
    out = np.empty((cells + 7) // 8, np.uint8)
    masks, right = np.empty(cells, np.uint64), np.empty(cells, np.uint8)
    status = native.status(
        "ep_bloomier_solve", positions, bits, len(positions), seed, group, cells, masks, right, out
    )
    if status == native.FULL:
        return None
    if status < 0:
        raise CodecError(native.REASONS[status])
    return out.tobytes()


def smallest(
    positions: NDArray[np.uint32], bits: NDArray[np.uint8], group: int, seed: int
) -> tuple[int, int, bytes]:
    """(seed, cells, packed cells): the fewest cells of those tried that give each position its bit.

    ``seed``, 0 .. SEEDS-1, chooses which seeds are tried. ``positions`` are not empty and differ.
    """
    count = len(positions)
    for slack in _SLACK:
        cells = max(WINDOW, count + (count * slack >> 8))
        for tried in range(_TRIES * seed, _TRIES * (seed + 1)):
            packed = solve(positions, bits, tried, group, cells)
            if packed is not None:
                return tried, cells, packed
    raise CodecError("no cells give these positions their bits")  # two equations for a cell: never seen


def checked_cells(cells: int, packed: Any) -> None:
    """Raises CodecError when bits after the last cell are set."""
    tail = cells & 7
    if tail and packed[-1] >> tail:
        raise CodecError("bits after the last cell are not zero")
