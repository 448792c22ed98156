"""Bounds-checked reading of the little binary fields inside a coder's payload.

A *varint* is LEB128: seven bits a byte, low bits first, high bit set on all but the last byte.
"""

from typing import Final

_VARINT_MAX_BYTES: Final = 5  # 35 bits: lengths of at most 2 GiB fit with room


class CodecError(ValueError):
    """A payload that no encoder of ours could have written, or input that a coder cannot take."""


def varint(value: int) -> bytes:
    """``value`` (>= 0) as LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class ByteReader:
    """Reads a payload front to back; every read is checked against what is left."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> memoryview:
        """The next ``count`` bytes, not copied. Raises CodecError when fewer are left."""
        if not 0 <= count <= self.left:
            raise CodecError(f"payload ends early: {count} bytes wanted, {self.left} left")
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def peek(self, count: int) -> memoryview:
        """At most the next ``count`` bytes, not taken."""
        return self._data[self._at : self._at + count]

    def rest(self) -> memoryview:
        return self.take(self.left)

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self, limit: int) -> int:
        """A LEB128 number of at most ``limit``. Raises CodecError when it is larger or not minimal."""
        value = 0
        for place in range(_VARINT_MAX_BYTES):
            part = self.byte()
            value |= (part & 0x7F) << (7 * place)
            if part < 0x80:
                if part == 0 and place > 0:
                    raise CodecError("a number is written longer than needed")
                if value > limit:
                    raise CodecError(f"a number is {value}, at most {limit} is possible here")
                return value
        raise CodecError("a number has more than 5 bytes")

    def end(self) -> None:
        """Raises CodecError unless everything was read."""
        if self.left:
            raise CodecError(f"{self.left} bytes are left over after the payload")
