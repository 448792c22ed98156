"""A range coder with carries, in plain whole numbers: the specification of native/range_coder.h.

The range R is kept in [2^31, 2^32). To code one of several intervals, R is cut into equal units, the
interval takes [low, low + width) units' worth, and R doubles until it is at least 2^31 again; a bit leaves
at each doubling, high bit of a byte first. Widths are at least 2^13, so at most 18 bits leave at once. The
code ends with the number of the last range that has most zeros at its end, without them, filled to a byte;
behind it a reader sees zeros. After Martin 1979, "Range encoding: an algorithm for removing redundancy from
a digitised message".
"""

from typing import Final

from edgepress_compression.codec.bytestream import CodecError

_TOP: Final = 1 << 31
_BYTE: Final = 1 << 23  # a width that lets eight bits leave


class RangeWriter:
    """Collects the code in ``code``; the whole of it is there after ``finish``."""

    def __init__(self) -> None:
        self.range = (1 << 32) - 1
        self.code = bytearray()
        self._low = 0
        self._held = 0  # bits of low above the lower 32

    def put(self, low: int, width: int) -> None:
        """Chooses [low, low + width) of the range."""
        self._low += low
        bits = 32 - width.bit_length()
        self.range = width << bits
        self._low <<= bits
        self._held += bits
        while self._held >= 8:
            self._held -= 8
            byte = self._low >> (32 + self._held)  # a ninth bit is a carry
            self._low &= (1 << (32 + self._held)) - 1
            if byte > 255:
                self._carry()
            self.code.append(byte & 255)

    def finish(self) -> bytes:
        zeros, last = 31, self._low + self.range - 1
        while (value := -(-self._low >> zeros) << zeros) > last:
            zeros -= 1
        left = self._held + 32 - zeros  # bits that still matter
        self._low = value
        while left > 0:
            self.put(0, _BYTE)
            left -= 8
        return bytes(self.code)

    def _carry(self) -> None:
        at = len(self.code) - 1
        while self.code[at] == 255:
            self.code[at] = 0
            at -= 1
        self.code[at] += 1


class RangeReader:
    """Reads what a RangeWriter wrote."""

    def __init__(self, code: bytes | memoryview) -> None:
        self.range = (1 << 32) - 1
        self.place = int.from_bytes(
            bytes(code[:4]).ljust(4, b"\0")
        )  # code - low: which part of the range it is
        self._code = bytes(code)
        self._seen = 32  # bits

    def take(self, low: int, width: int) -> None:
        """Goes into [low, low + width), which ``place`` is in."""
        self.place -= low
        self.range = width
        while self.range < _TOP:
            byte, bit = divmod(self._seen, 8)
            coming = self._code[byte] >> (7 - bit) & 1 if byte < len(self._code) else 0
            self.place = self.place << 1 | coming
            self.range <<= 1
            self._seen += 1

    def close(self) -> None:
        """Raises CodecError unless the code has as many bytes as a writer makes."""
        if 8 * len(self._code) < self._seen - 32:
            raise CodecError("the payload ends early")
        if 8 * len(self._code) > self._seen + 7:
            raise CodecError("bytes are left over after the payload")
