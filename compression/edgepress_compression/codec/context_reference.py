"""The model of the coder `context`, number by number: the specification of native/context.h, slow and
plain.

Chances are 22 bits and count how often they learned; chances of 1 in 65536 where they code. Scales are
log2, in 1/65536; latent values in 1/4096 standard deviations (context_latent.py).
"""

from typing import Final, NamedTuple

import numpy as np

from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.coder import Symbols
from edgepress_compression.codec.context_head import Head
from edgepress_compression.codec.context_latent import SCALE, Latent
from edgepress_compression.codec.context_tables import LEARN, ROW_RATE, SQUASH, STRETCH, power
from edgepress_compression.codec.range_coder import RangeReader, RangeWriter

_OPINIONS: Final = 8
_EVEN: Final = (1 << 21, 0)
_LIMIT: Final = 1000  # of how often a chance counts that it learned


def encode_reference(symbols: Symbols, head: Head, base: Symbols | None, rows: int) -> bytes:
    """The code of the first ``rows`` rows."""
    writer = RangeWriter()
    _Walk(head, base, None, writer).run(symbols, rows)
    return writer.finish()


def decode_reference(code: memoryview, head: Head, base: Symbols | None, out: Symbols) -> None:
    """The inverse, of all rows into ``out``. Raises CodecError for what encode never writes."""
    reader = RangeReader(code)
    _Walk(head, base, reader, None).run(out, head.rows)
    reader.close()


class _Chances:
    """Adaptive chances of a 1, by context."""

    def __init__(self, size: int, value: int, count: int = 0) -> None:
        self.values = [value] * size
        self.counts = [count] * size

    def learn(self, at: int, bit: int, limit: int) -> None:
        value, count = self.values[at], self.counts[at]
        distance = 0x3FFFFF - value if bit else value
        step = (distance >> 7) * LEARN[count] >> 9
        self.values[at] = value + step if bit else value - step
        self.counts[at] = count + (count < limit)


class _Opinion(NamedTuple):
    chances: _Chances
    at: int
    limit: int = _LIMIT


def _clip(x: int, limit: int) -> int:
    return max(-limit, min(limit, x))


class _Walk:
    """One walk over the symbols, in either direction."""

    def __init__(
        self, head: Head, base: Symbols | None, reader: RangeReader | None, writer: RangeWriter | None
    ) -> None:
        self.head, self.base, self.reader, self.writer = head, base, reader, writer
        delta = base is not None
        symbols = 2 * head.alphabet - 1 if delta else head.alphabet
        self.background = head.alphabet - 1 if delta else head.background
        self.latent = Latent(
            symbols, self.background, head.centre, head.spread, head.family, spike=head.spike
        )
        columns, first = head.columns, head.density << 14
        self.column_nonzero = _Chances(columns, first, 4)
        self.column_negative = _Chances(columns, *_EVEN)
        self.flag_column, self.flag_density, self.flag_near, self.flag_row = (
            _Chances(256, first) for _ in range(4)
        )
        self.flag_local, self.flag_lag = _Chances(1280, first), _Chances(768, first)
        self.sign_row, self.sign_column, self.sign_expected, self.sign_lag, self.sign_near = (
            _Chances(size, *_EVEN) for size in (16, 64, 32, 12, 27)
        )
        self.flag_weights = [[3600] * _OPINIONS for _ in range(8)]  # 0.22
        self.sign_weights = [[3600] * _OPINIONS for _ in range(17)]
        # What each column remembers of the rows before; one more, so that the last has a right neighbour.
        self.flags, self.signs, self.sizes, self.sizes_before = ([0] * (columns + 1) for _ in range(4))
        self.marks = [0] * columns  # the side of each element of this row, behind it of the row before
        self.scales, self.means = [0] * columns, [0] * columns
        self.channels = [0] * (columns // head.kernel + 1)
        self.history = np.zeros(16 + columns, np.int16)  # the row as taps see it, 16 zeros before it
        self.weights = np.zeros((columns, head.taps), np.int16)
        self.whole = 0
        self.seen, self.next = 0, 32

    def run(self, symbols: Symbols, rows: int) -> None:
        """Codes ``symbols``, or decodes into it."""
        head = self.head
        for self.r in range(rows):
            self._start_row()
            left = (
                head.columns if head.transposed else min(head.columns, head.elements - self.r * head.columns)
            )
            for self.c in range(left):
                at = self.c * head.rows + self.r if head.transposed else self.r * head.columns + self.c
                shift = 0
                if self.base is not None:
                    self.base_symbol = int(self.base[at])
                    shift = head.alphabet - 1 - self.base_symbol
                symbol = self._element(int(symbols[at]) + shift if self.reader is None else 0)
                if self.reader is not None:
                    if not 0 <= symbol - shift < head.alphabet:
                        raise CodecError("a number is outside what is possible here")
                    symbols[at] = symbol - shift
                if (self.c + 1) % head.kernel == 0:
                    self.inside = 0

    def _start_row(self) -> None:
        r, kernel = self.r, self.head.kernel
        self.column_rate = 65536 // min(r + 8, 400)
        self.mean_rate = 65536 // min(r + 64, 400)
        self.channel_rate = 65536 // min(r * kernel + 16, 1500)
        self.row_scale = 0
        self.row_nonzero = _Chances(1, self.head.density << 14, 8)
        self.row_negative = _Chances(1, _EVEN[0], 8)
        self.row_flags = self.row_signs = self.inside = self.far = self.size = self.size_before = 0

    def _element(self, symbol: int) -> int:
        """Codes one; when decoding, ``symbol`` is not looked at. Returns it."""
        c, head = self.c, self.head
        self.taps = min(-(-c // 16) * 16, head.taps)
        if not head.spike:
            return self._value(symbol, 0, self._expected())
        flag = self._flag(int(symbol != self.background))
        self.row_flags = (self.row_flags << 1 | flag) & 255
        self.inside += flag
        self.flags[c] = (self.flags[c] << 1 | flag) & 255
        if c:
            self.sizes_before[c - 1] = self.size
        self.size_before = self.size
        if not flag:
            self.size = self.sizes[c] = self.marks[c] = 0
            self.history[16 + c] = 0
            self.far += 1
            return self.background
        expected = self._expected()
        side = -1 if self._negative(int(symbol < self.background), expected) else 1
        self.signs[c] = (self.signs[c] << 2 | (2 if side < 0 else 1)) & 63
        self.row_signs = self.row_signs << 1 | (side < 0)
        self.marks[c] = side
        self.far = 0
        return self._value(symbol, side, expected)

    def _mark(self, back: int) -> int:
        """The side of the element ``back`` columns before, 0 for none."""
        return self.marks[self.c - back] if back <= self.c else 0

    def _flag(self, flag: int) -> int:
        """Codes whether the element is not the background."""
        c, head = self.c, self.head
        by_column = STRETCH[self.column_nonzero.values[c] >> 10] + 2048 >> 8
        by_row = STRETCH[self.row_nonzero.values[0] >> 10] + 2048 >> 8
        column, right = self.flags[c], self.flags[c + 1]
        left = self.flags[c - 1] if c else 0
        near = column & 3 | (right & 3) << 2 | (left >> 1 & 3) << 4 | (self.row_flags & 3) << 6
        row = self.row_flags
        if self.base is not None:
            row = self._base_class() * 16 + by_row
        if head.kernel > 1:
            k = min(c % head.kernel, 9)
            up = self.row_flags >> (4 if head.kernel > 9 else 2) & 1
            local = k * 128 + min(self.inside, 7) * 16 + up * 8 + (column & 7)
            backs = (3, 1, head.kernel if head.kernel <= 4096 else 1, 2, 4)
            lag = 128 + k * 64 + self._present(backs) + ((column & 1) << 5)
        else:
            before = self.sizes_before[c - 1] if c else 0
            local = (
                self.size * 256 + self.size_before * 64 + self.sizes[c] * 16 + self.sizes[c + 1] * 4 + before
            )
            lag = self._present((1, 3, 2, head.lag, head.lag - 1, head.lag + 1, 2 * head.lag))
        opinions = [
            _Opinion(self.column_nonzero, c, 400),
            _Opinion(self.row_nonzero, 0, 250),
            _Opinion(self.flag_column, column),
            _Opinion(self.flag_density, by_column * 16 + by_row),
            _Opinion(self.flag_near, near),
            _Opinion(self.flag_row, row),
            _Opinion(self.flag_local, local),
            _Opinion(self.flag_lag, lag),
        ]
        return self._decide(self.flag_weights[by_row >> 1], opinions, [], 8, flag)

    def _present(self, backs: tuple[int, ...]) -> int:
        return sum(1 << i for i, back in enumerate(backs) if self._mark(back))

    def _base_class(self) -> int:
        if self.base_symbol == self.head.background:
            return 15
        return self.base_symbol * 15 // self.head.alphabet

    def _negative(self, negative: int, expected: int) -> int:
        """Codes whether the element is below the background."""
        c, head, signs = self.c, self.head, self.signs[self.c]
        side = _clip(expected >> 8, 8) + 8
        gap = 0 if self.far < 1 else 1 if self.far < 3 else 2 if self.far < 8 else 3
        up = 5 if head.kernel > 9 else 3
        near = (self._mark(1) + 1) * 9 + (self._mark(up) + 1) * 3 + self._mark(2) + 1
        opinions = [
            _Opinion(self.column_negative, c, 250),
            _Opinion(self.row_negative, 0, 200),
            _Opinion(self.sign_row, gap * 4 + (self.row_signs & 3)),
            _Opinion(self.sign_column, signs),
            _Opinion(self.sign_expected, side if self.base is None else 16 + self._base_class()),
            _Opinion(self.sign_lag, (self._mark(head.lag) + 1) * 4 + (signs & 3)),
            _Opinion(self.sign_near, near),
        ]
        return self._decide(self.sign_weights[side], opinions, [_clip(-(expected >> 2), 2047)], 10, negative)

    def _decide(
        self, weights: list[int], opinions: list[_Opinion], fixed: list[int], rate: int, bit: int
    ) -> int:
        """Codes one bit, by a mix of opinions: log2 odds in 1/128, weights in 1/16384."""
        inputs = [STRETCH[o.chances.values[o.at] >> 10] for o in opinions] + fixed
        total = _clip(sum(w * x for w, x in zip(weights, inputs, strict=True)) >> 14, 2047)
        chance = SQUASH[2048 + total]
        if self.reader is not None:
            one = (self.reader.range >> 16) * chance
            bit = int(self.reader.place < one)
            self.reader.take(0 if bit else one, one if bit else self.reader.range - one)
        elif self.writer is not None:
            one = (self.writer.range >> 16) * chance
            self.writer.put(0 if bit else one, one if bit else self.writer.range - one)
        error = ((bit << 16) - chance) * rate >> 6
        for i, x in enumerate(inputs):
            weights[i] = _clip(weights[i] + ((x * error + 8192) >> 14), 131000)
        for o in opinions:
            o.chances.learn(o.at, bit, o.limit)
        return bit

    def _expected(self) -> int:
        """What the taps expect of the element, latent."""
        if not self.taps:
            return 0
        seen = self.history[16 + self.c - self.taps : 16 + self.c].astype(np.int32)
        return _clip(int(self.weights[self.c, : self.taps].astype(np.int32) @ seen) >> 8, 16383)

    def _value(self, symbol: int, side: int, expected: int) -> int:
        """Codes which symbol, of those on the ``side`` of the background (0: of all), and learns from it."""
        c, head, latent = self.c, self.head, self.latent
        channel = c // head.kernel if head.kernel > 1 else len(self.channels) - 1
        level = self.row_scale + self.scales[c] + self.whole + self.channels[channel]
        level = _clip(level >> 8, 1000)
        scale, narrow = power(level), power(-level)
        mean = 0 if side else (self.means[c] >> 4) + (expected * scale >> 19)
        first, end = self.background + 1 if side > 0 else 0, self.background if side < 0 else latent.symbols
        if first >= end:
            raise CodecError("a number is outside what is possible here")
        symbol = self._which(symbol, side, mean, narrow, range(first, end))
        latent.counts[symbol] += 1

        off = latent.middle[symbol] - mean
        z = off * narrow >> 19
        gain = (min(abs(z), 16384) * 5 >> 2) - 4096
        self.row_scale += gain * ROW_RATE[min(c, 1023)] >> 12
        self.scales[c] = _clip(self.scales[c] + (gain * self.column_rate >> 12), 1 << 20)
        self.whole = _clip(self.whole + (gain >> 6), 1 << 20)
        if head.kernel > 1:
            self.channels[channel] = _clip(self.channels[channel] + (gain * self.channel_rate >> 12), 1 << 20)
        if side:
            distance = abs(latent.middle[symbol])
            self.size = self.sizes[c] = 1 if distance < 1800 else 2 if distance < 5200 else 3
            as_seen = side * min(24 + (distance >> 7), 127)
            error = as_seen - (expected >> 7)
        else:
            self.means[c] = _clip(self.means[c] + (off * self.mean_rate >> 12), 1 << 24)
            as_seen = _clip((z + expected) >> 7, 127)
            error = z >> 7
        if head.taps:
            self._adapt(as_seen, _clip(error, 127))
        self.seen += 1
        if self.seen == self.next:
            latent.rebuild()
            self.next += min(self.next // 2, 32 * latent.symbols)
        return symbol

    def _which(self, symbol: int, side: int, mean: int, narrow: int, among: range) -> int:
        """Codes one of the symbols ``among``, by the interval that it has."""
        latent = self.latent
        share, shift = (1 << SCALE - 1, SCALE - 1) if side else (1 << SCALE, SCALE)
        base = share if side > 0 else 0
        offset = 2 * latent.reserve - latent.symbols if side > 0 else 0

        def bound(k: int) -> int:
            if k <= among.start:
                return base
            if k >= among.stop:
                return base + share
            return latent.below((latent.threshold[k] - mean) * narrow >> 19) + k + offset

        if self.reader is not None:
            unit = self.reader.range >> shift
            value = base + min(self.reader.place // unit, share - 1)
            low, high = among.start, among.stop
            while high - low > 1:
                between = (low + high) // 2
                low, high = (low, between) if value < bound(between) else (between, high)
            symbol = low
            self.reader.take((bound(symbol) - base) * unit, (bound(symbol + 1) - bound(symbol)) * unit)
        elif self.writer is not None:
            unit = self.writer.range >> shift
            self.writer.put((bound(symbol) - base) * unit, (bound(symbol + 1) - bound(symbol)) * unit)
        return symbol

    def _adapt(self, as_seen: int, error: int) -> None:
        """Lets the taps of the column learn, and shows the element to those of the columns behind."""
        self.history[16 + self.c] = as_seen
        if self.taps:
            rate = self.head.rate
            seen = self.history[16 + self.c - self.taps : 16 + self.c]
            self.weights[self.c, : self.taps] += (seen * np.int16(error) + np.int16(1 << (rate - 1))) >> rate
