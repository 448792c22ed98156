"""The binary range coder around the model of text, in plain Python: the specification (text.py has the twin).

Low and range have 32 bits; range is at first 2**32 - 1, low 0. For a bit, with p of 4096 the probability of a
one that the model says, bound = (range >> 12) * p. A one sets range to bound, a zero adds bound to low and
takes it from range. While range < 2**24, the high byte of low is written and both are shifted left by eight
bits; a carry out of low goes into the bytes written. At the end comes the number in low .. low + range - 1
with the most low bytes of zeros; it is written, and zero bytes at the end are left out. The reader goes on
with zeros there, and begins with the first four bytes as its code; a bit is a one when code < bound.
"""

from functools import cache

from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.text_dictionary import DICTIONARY
from edgepress_compression.codec.text_model import TextModel


@cache
def _primed() -> TextModel:
    model = TextModel()
    model.learn(DICTIONARY)
    return model


class ReferenceEncoder:
    """See text.TextEncoder."""

    def __init__(self) -> None:
        self._model = _primed().copy()
        self._low, self._range = 0, 0xFFFFFFFF
        self._out = bytearray()

    def learn(self, data: bytes) -> None:
        self._model.learn(data)

    def encode(self, data: bytes) -> None:
        for byte in data:
            for place in range(7, -1, -1):
                self._bit(byte >> place & 1)

    def finish(self) -> bytes:
        value = self._low
        for zeros in (32, 24, 16, 8):
            up = -(-self._low >> zeros) << zeros
            if up <= self._low + self._range - 1:
                value = up
                break
        self._carry(value)
        self._out += (value & 0xFFFFFFFF).to_bytes(4, "big")
        return bytes(self._out).rstrip(b"\0")

    def _bit(self, bit: int) -> None:
        bound = (self._range >> 12) * self._model.predict()
        if bit:
            self._range = bound
        else:
            self._low += bound
            self._range -= bound
        self._carry(self._low)
        self._low &= 0xFFFFFFFF
        while self._range < 1 << 24:
            self._out.append(self._low >> 24)
            self._low = self._low << 8 & 0xFFFFFFFF
            self._range <<= 8
        self._model.update(bit)

    def _carry(self, value: int) -> None:
        at = len(self._out)
        while value >> 32 and at:
            at -= 1
            self._out[at] = (self._out[at] + 1) & 255
            if self._out[at]:
                break


class ReferenceDecoder:
    """See text.TextDecoder."""

    def __init__(self, payload: bytes | memoryview) -> None:
        self._model = _primed().copy()
        self._payload = bytes(payload)
        self._at = 0
        self._code = 0
        for _ in range(4):
            self._shift()
        self._range = 0xFFFFFFFF

    def learn(self, data: bytes) -> None:
        self._model.learn(data)

    def decode(self, count: int) -> bytes:
        return bytes(self._byte() for _ in range(count))

    def end(self) -> None:
        if self._at < len(self._payload) or self._payload.endswith(b"\0"):
            raise CodecError("bytes are left over after the text")

    def _byte(self) -> int:
        byte = 1
        while byte < 256:
            bound = (self._range >> 12) * self._model.predict()
            bit = int(self._code < bound)
            if bit:
                self._range = bound
            else:
                self._code -= bound
                self._range -= bound
            while self._range < 1 << 24:
                self._shift()
                self._range <<= 8
            self._model.update(bit)
            byte = byte << 1 | bit
        return byte & 255

    def _shift(self) -> None:
        following = self._payload[self._at] if self._at < len(self._payload) else 0
        self._code = (self._code << 8 | following) & 0xFFFFFFFF
        self._at += 1
