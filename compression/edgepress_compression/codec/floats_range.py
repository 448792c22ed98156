"""The range coder of the coder ``floats``: whole numbers by adaptive frequencies, or by plain bits.

After G. N. N. Martin, "Range encoding" (1979), with bytes as digits. The encoder keeps an interval [low, low
+ range) of 32-bit numbers, first [0, 2^32 - 1). A symbol with the share [start, start + size) of total takes
it: step = floor(range / total), low += step * start, range = step * size; plain bits, at most 16 at once and
high bits first, are a symbol of size 1 and total 2^bits. While range < 2^24 the highest byte of low is
written, and both go on a byte lower. At the end the number in the interval with the most zero bytes at its
end is written, and zero
bytes at the end of all are left out: a reader goes on with zeros after the last byte.
"""

from typing import Final

import numpy as np

from edgepress_compression.codec.bytestream import CodecError

_TOP: Final = 1 << 24
_FIRST: Final = (1 << 32) - 1
_CHUNK_BITS: Final = 16  # of plain bits at once: range >= 2^24 loses less than a hundredth of a bit each
_SHARPEN_EVERY: Final = 32  # symbols
TOTAL_MAX: Final = 1 << 15  # of frequencies; above, all are halved, rounding up


class RangeEncoder:
    """Writes what RangeDecoder reads."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._low = 0
        self._range = _FIRST

    def encode(self, start: int, size: int, total: int) -> None:
        """The share [start, start + size) of total <= 2^16."""
        step = self._range // total
        self._low += step * start
        self._range = step * size
        self._normalize()

    def bits(self, value: int, count: int) -> None:
        """``count`` plain bits, high bits first."""
        while count > 0:
            part = min(count, _CHUNK_BITS)
            count -= part
            self._range >>= part
            self._low += self._range * (value >> count & ((1 << part) - 1))
            self._normalize()

    def finish(self) -> bytes:
        """All bytes; nothing may be encoded after."""
        for kept in range(5):
            mask = (1 << (8 * (4 - kept))) - 1
            value = (self._low + mask) & ~mask
            if value < self._low + self._range:
                break
        self._low = value
        for _ in range(4):
            self._shift()
        return bytes(self._out).rstrip(b"\0")

    def _normalize(self) -> None:
        while self._range < _TOP:
            self._shift()
            self._range <<= 8

    def _shift(self) -> None:
        if self._low >> 32:  # a carry; it cannot pass the first byte, for all numbers stay below 2^32 there
            at = len(self._out) - 1
            while self._out[at] == 0xFF:
                self._out[at] = 0
                at -= 1
            self._out[at] += 1
        self._out.append(self._low >> 24 & 0xFF)
        self._low = self._low << 8 & 0xFFFFFFFF


class RangeDecoder:
    """Reads a payload of RangeEncoder. Raises CodecError for what it never writes."""

    def __init__(self, payload: memoryview) -> None:
        if len(payload) and payload[-1] == 0:
            raise CodecError("a zero byte at the end, which no encoder writes")
        self._payload = payload
        self._at = 0
        self._range = _FIRST
        self._code = 0  # the payload's number minus low, < range unless damaged
        for _ in range(4):
            self._code = self._code << 8 | self._byte()

    def target(self, total: int) -> int:
        """Which of ``total`` parts comes next; follow with ``take`` of the share that holds it."""
        part = self._code // (self._range // total)
        if part >= total:
            raise CodecError("the payload leaves the coder's interval")
        return part

    def take(self, start: int, size: int, total: int) -> None:
        step = self._range // total
        self._code -= step * start
        self._range = step * size
        self._normalize()

    def bits(self, count: int) -> int:
        """``count`` plain bits."""
        value = 0
        while count > 0:
            part = min(count, _CHUNK_BITS)
            count -= part
            self._range >>= part
            chunk = self._code // self._range
            if chunk >> part:
                raise CodecError("the payload leaves the coder's interval")
            self._code -= self._range * chunk
            value = value << part | chunk
            self._normalize()
        return value

    def end(self) -> None:
        """Raises CodecError unless the whole payload was read."""
        if self._at < len(self._payload):
            raise CodecError(f"{len(self._payload) - self._at} bytes are left over after the payload")

    def _normalize(self) -> None:
        while self._range < _TOP:
            self._code = self._code << 8 | self._byte()
            self._range <<= 8

    def _byte(self) -> int:
        if self._at < len(self._payload):
            self._at += 1
            return self._payload[self._at - 1]
        return 0


class Frequencies:
    """Adaptive frequencies of the symbols 0 .. n-1. What occurs raises its neighbours too, by ``kernel``.

    ``kernel[d]`` is what a symbol at distance d gains, for d > 0 halved (rounding down) after every 32
    symbols: a few values teach a smooth histogram, many their own. When the sum is above 2^15, all are
    halved, rounding up.
    """

    def __init__(self, first: list[int], kernel: tuple[int, ...]) -> None:
        self._of = np.array(first, np.int64)
        self._kernel = np.array([*kernel[:0:-1], *kernel], np.int64)  # (2 reach + 1,)
        self._reach = len(kernel) - 1
        self._seen = 0

    def encode(self, coder: RangeEncoder, symbol: int, low: int = 0, count: int | None = None) -> None:
        """``symbol`` when only low .. low + count - 1 can occur (all, without a count)."""
        ends = self._ends(low, count)
        at = symbol - low
        start = int(ends[at - 1]) if at else 0
        coder.encode(start, int(ends[at]) - start, int(ends[-1]))
        self._observe(symbol)

    def decode(self, coder: RangeDecoder, low: int = 0, count: int | None = None) -> int:
        """The inverse."""
        ends = self._ends(low, count)
        total = int(ends[-1])
        at = int(ends.searchsorted(coder.target(total), "right"))
        start = int(ends[at - 1]) if at else 0
        coder.take(start, int(ends[at]) - start, total)
        self._observe(low + at)
        return low + at

    def _ends(self, low: int, count: int | None) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        stop = len(self._of) if count is None else low + count
        return self._of[low:stop].cumsum()

    def _observe(self, symbol: int) -> None:
        low, high = max(symbol - self._reach, 0), min(symbol + self._reach + 1, len(self._of))
        from_ = low - symbol + self._reach
        self._of[low:high] += self._kernel[from_ : from_ + high - low]
        if int(self._of.sum()) > TOTAL_MAX:
            self._of = (self._of + 1) >> 1
        self._seen += 1
        if self._seen % _SHARPEN_EVERY == 0:
            own = self._kernel[self._reach]
            self._kernel >>= 1
            self._kernel[self._reach] = own
