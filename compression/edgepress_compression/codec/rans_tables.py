"""Frequency tables of rANS in few bits: logarithms of frequencies, as steps from token to token.

A *level* is -log2 of a probability in steps of 1 / 2**resolution (resolution 0 .. 3); the level
absent = 14 * 2**resolution says that the token does not occur. Written tables, as bits from the high bit
down, filled with zeros to a byte::

    contexts = 1   one table, coded against a table of absent tokens
    contexts > 1   a base table, coded against absent tokens; then for each context
                     a bit: 0 = coded against the base, 1 = against absent tokens; and a table
    table          offset = 0; until all tokens have a level:
                     run    Exp-Golomb of the order ``run_order`` (0 .. 3): so many tokens have the offset
                     when a token is left:
                       size   Exp-Golomb of order 0;  sign, a bit
                       offset += size + 1 (sign 0) or -= size + 1 (sign 1); the next token has this offset
                   the offset stays in -absent .. absent
                   level = min(absent, level coded against + offset), never below 0

Exp-Golomb of order k: z zeros (at most 12), a one, z + k bits b: the number is (1 b in binary) - 2**k.

Frequencies are whole numbers that sum to 2**precision: a token that is not absent weighs w = EIGHTHS[8 /
2**resolution * (level mod 2**resolution)] >> (level div 2**resolution), gets max(1, (w * 2**precision + W
div 2) div W) of them, W being the sum of all weights. What is missing is added to the first token of the
highest frequency; what is too much is taken from it, at most half (rounded down) of it at a time, then
again from the first of the highest.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import CodecError

EIGHTHS: Final = (1048576, 961548, 881744, 808563, 741455, 679917, 623487, 571740)  # 2**(20 - i / 8), rounded
_OCTAVES: Final = 14
_EXP_GOLOMB_MAX_ZEROS: Final = 12
Levels = NDArray[np.int64]

# What is taken to cost how much while levels are chosen, in 1/4096 bit: whole numbers, the same on every
# machine. A step costs more or less as the runs between steps are long or short.
_EXACT: Final = 4096
_STAY: Final = 2458
_STEP: Final = 14336
_STEP_A_LEVEL: Final = 4096
_JUMP: Final = 53248
_SHARE: Final = 5909  # 1 / ln 2
_NEVER: Final = 1 << 58


def absent_level(resolution: int) -> int:
    return _OCTAVES << resolution


def frequencies(levels: Levels, resolution: int, precision: int) -> NDArray[np.int64]:
    """The frequency of each token (tokens,), as above. Raises CodecError when every token is absent."""
    step = levels & ((1 << resolution) - 1)
    weights = np.array(EIGHTHS)[step << (3 - resolution)] >> (levels >> resolution)
    weights[levels >= absent_level(resolution)] = 0
    total = int(weights.sum())
    if total == 0:
        raise CodecError("a frequency table has no symbol")
    shares = ((weights << precision) + total // 2) // total
    shares = np.where(weights > 0, np.maximum(shares, 1), 0)
    left = (1 << precision) - int(shares.sum())
    while left:
        largest = int(shares.argmax())
        change = max(left, -(int(shares[largest]) // 2))
        shares[largest] += change
        left -= change
    return shares


class BitReader:
    """Single bits from the front of ``data``, which is a payload and what follows."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.at_bit = 0

    def bit(self) -> int:
        byte = self.at_bit >> 3
        if byte >= len(self._data):
            raise CodecError("a frequency table ends early")
        bit = self._data[byte] >> (7 - (self.at_bit & 7)) & 1
        self.at_bit += 1
        return bit

    def exp_golomb(self, order: int) -> int:
        zeros = 0
        while self.bit() == 0:
            zeros += 1
            if zeros > _EXP_GOLOMB_MAX_ZEROS:
                raise CodecError("a number in a frequency table is too long")
        value = 1
        for _ in range(zeros + order):
            value = value << 1 | self.bit()
        return value - (1 << order)

    def end(self) -> int:
        """The bytes read. Raises CodecError unless the bits after are zeros."""
        used = (self.at_bit + 7) >> 3
        if self.at_bit & 7 and self._data[used - 1] & ((1 << (8 - (self.at_bit & 7))) - 1):
            raise CodecError("bits after the frequency tables are not zero")
        return used


def read_tables(
    data: memoryview, contexts: int, tokens: int, resolution: int, run_order: int
) -> tuple[list[Levels], int]:
    """The levels of each context, and the bytes of ``data`` they took. Raises CodecError."""
    bits = BitReader(data)
    none = np.full(tokens, absent_level(resolution))
    base = _read_table(bits, none, resolution, run_order)
    if contexts == 1:
        return [base], bits.end()
    tables = [_read_table(bits, none if bits.bit() else base, resolution, run_order) for _ in range(contexts)]
    return tables, bits.end()


def _read_table(bits: BitReader, reference: Levels, resolution: int, run_order: int) -> Levels:
    absent, tokens = absent_level(resolution), len(reference)
    offsets = np.zeros(tokens, np.int64)
    at = offset = 0
    while at < tokens:
        run = bits.exp_golomb(run_order)
        if run > tokens - at:
            raise CodecError("a frequency table has more symbols than the alphabet")
        offsets[at : at + run] = offset
        at += run
        if at < tokens:
            size = bits.exp_golomb(0) + 1
            offset += -size if bits.bit() else size
            if abs(offset) > absent:
                raise CodecError("a frequency is outside what is possible")
            offsets[at] = offset
            at += 1
    levels: Levels = np.minimum(reference + offsets, absent)
    if levels.min() < 0:
        raise CodecError("a frequency is outside what is possible")
    return levels


def choose_tables(counts: NDArray[np.int64], resolution: int) -> tuple[list[Levels], bytes, int]:
    """Levels of each context for tokens that occur ``counts`` times (contexts, tokens), the written tables,
    and their run_order. What is written and what the levels' rounding costs are weighed."""
    contexts, tokens = counts.shape
    absent = absent_level(resolution)
    none = np.full(tokens, absent)
    offsets, _ = _offsets(counts.sum(0, keepdims=True), none, resolution)
    base = none + offsets[0]
    chosen = [(base, offsets[0], "")]
    if contexts > 1:
        own, own_cost = _offsets(counts, none, resolution)
        by_base, base_cost = _offsets(counts, base, resolution)
        for context in range(contexts):
            if own_cost[context] < base_cost[context]:
                chosen.append((none + own[context], own[context], "1"))
            else:
                levels = np.minimum(base + by_base[context], absent)
                chosen.append((levels, by_base[context], "0"))
    steps = [(_steps(offsets), mode) for _, offsets, mode in chosen]
    written, run_order = min(
        (
            ("".join(mode + _table_bits(table, tokens, order) for table, mode in steps), order)
            for order in range(4)
        ),
        key=lambda pair: len(pair[0]),
    )
    data = np.packbits(np.frombuffer(written.encode(), np.uint8) - ord("0")).tobytes()
    return [levels for levels, _, _ in chosen[contexts > 1 :]], data, run_order


def _steps(offsets: Levels) -> list[tuple[int, int]]:
    """Where the offset changes, and by how much."""
    steps = np.diff(offsets, prepend=0)
    places = np.flatnonzero(steps)
    return list(zip(places.tolist(), steps[places].tolist(), strict=True))


def _exp_golomb(value: int, order: int) -> str:
    digits = f"{value + (1 << order):b}"
    return "0" * (len(digits) - 1 - order) + digits


def _table_bits(steps: list[tuple[int, int]], tokens: int, run_order: int) -> str:
    """A table's bits as a string of 0 and 1."""
    parts, at = [], 0
    for place, step in steps:
        parts.append(_exp_golomb(place - at, run_order) + _exp_golomb(abs(step) - 1, 0) + "01"[step < 0])
        at = place + 1
    if at < tokens:
        parts.append(_exp_golomb(tokens - at, run_order))
    return "".join(parts)


def _offsets(
    counts: NDArray[np.int64], reference: Levels, resolution: int
) -> tuple[Levels, NDArray[np.int64]]:
    """The offsets (contexts, tokens) of least cost against ``reference`` (tokens,); the costs (contexts,)."""
    if not native.available():
        return offsets_reference(counts, reference, resolution)
    contexts, tokens = counts.shape
    offsets, costs = np.empty((contexts, tokens), np.int64), np.empty(contexts, np.int64)
    work = np.empty(native.call("ep_rans_offsets_work_bytes") // 8, np.int64)
    native.call(
        "ep_rans_offsets", counts, contexts, tokens, reference, resolution, offsets, costs, work, work.nbytes
    )
    return offsets, costs


def offsets_reference(
    counts: NDArray[np.int64], reference: Levels, resolution: int
) -> tuple[Levels, NDArray[np.int64]]:
    """As ``_offsets``: dynamic programming over tokens, all contexts at once.

    A level l costs its tokens l / 2**resolution bits each. Where probabilities do not sum to one they are
    scaled later, which changes N tokens' bits by at most N * (sum - 1) / ln 2: each token is charged its
    part of that sum.
    """
    absent = absent_level(resolution)
    levels = np.arange(absent)
    weights = np.array(EIGHTHS)[(levels & ((1 << resolution) - 1)) << (3 - resolution)] >> (
        levels >> resolution
    )
    shares = counts.sum(1, keepdims=True) * weights * _SHARE >> 20  # (contexts, levels)
    states = np.arange(-reference.max(), absent - reference.min() + 1)  # other offsets change nothing
    slope = _STEP_A_LEVEL * np.arange(len(states))
    best = np.full((len(counts), len(states)), _NEVER)
    best[:, states == 0] = 0
    history: list[NDArray[np.int64]] = []
    for token, count in enumerate(counts.T):
        history.append(best)
        up = np.minimum.accumulate(best - slope, 1) + slope
        down = np.minimum.accumulate((best + slope)[:, ::-1], 1)[:, ::-1] - slope
        moved = np.minimum(np.minimum(up, down) + _STEP, best.min(1, keepdims=True) + _JUMP)
        costs = np.empty((len(counts), absent + 1), np.int64)
        costs[:, :absent] = (count[:, None] * levels * _EXACT >> resolution) + shares
        costs[:, absent] = np.where(count > 0, _NEVER, 0)
        level = reference[token] + states
        at_level = np.where(level < 0, _NEVER, costs[:, np.clip(level, 0, absent)])
        best = np.minimum(np.minimum(best + _STAY, moved) + at_level, _NEVER)
    state = best.argmin(1)
    total = best.min(1)
    offsets = np.empty(counts.shape, np.int64)
    places, rows = np.arange(len(states)), np.arange(len(counts))
    for token in range(len(reference) - 1, -1, -1):
        offsets[:, token] = states[state]
        arrive = np.minimum(_STEP + _STEP_A_LEVEL * np.abs(places - state[:, None]), _JUMP)
        arrive[rows, state] = _STAY
        state = (history[token] + arrive).argmin(1)
    return offsets, total
