"""Text: headers, skeletons and other bytes that look like what was seen before, in the fewest bytes.

A model of contexts (text_model.py) and a range coder (text_reference.py) that has seen a fixed dictionary
before the first byte. Whoever calls may let it see more that the reader has, too. A few hundred kilobytes a
second compiled, a few kilobytes without: for what is small.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.text_dictionary import DICTIONARY
from edgepress_compression.codec.text_reference import ReferenceDecoder, ReferenceEncoder

_Work = NDArray[np.uint64]
TEXT_MAX_BYTES: Final = 256 << 10  # of text, and of what is seen beside the dictionary
_ROOM_BYTES: Final = 64  # a text that cannot be predicted grows by less than an eighth


class TextEncoder:
    """Codes one text; ``encode`` may be called several times, and ``learn`` between."""

    def __init__(self, work: _Work | None = None) -> None:
        """``work``: a model that knows the dictionary already, which this encoder goes on with."""
        self._reference = None if native.available() else ReferenceEncoder()
        self._work: _Work = np.zeros(0, np.uint64)
        self._out = np.zeros(0, np.uint8)
        self._size = 0
        if self._reference is None:
            self._work = _start() if work is None else work

    def learn(self, data: bytes) -> None:
        """Let the model see ``data``, which is not coded: the reader has it."""
        if self._reference is not None:
            self._reference.learn(data)
        else:
            native.call("ep_text_learn", self._work, data, len(data))

    def encode(self, data: bytes) -> None:
        """Code ``data``, the next part of the text."""
        if self._reference is not None:
            self._reference.encode(data)
            return
        room = np.empty(self._size + len(data) + (len(data) >> 3) + _ROOM_BYTES, np.uint8)
        room[: self._size] = self._out[: self._size]
        self._out = room
        self._size = native.call("ep_text_encode", self._work, data, len(data), room, len(room))

    def finish(self) -> bytes:
        """The payload. Nothing may be coded afterwards."""
        if self._reference is not None:
            return self._reference.finish()
        size = native.call("ep_text_finish", self._work, self._out, len(self._out))
        return self._out[:size].tobytes()


class TextDecoder:
    """Reads one text back: the same calls as were made of the encoder, with counts for the parts."""

    def __init__(self, payload: bytes | memoryview) -> None:
        self._reference = None if native.available() else ReferenceDecoder(payload)
        self._payload = payload
        self._work = np.zeros(0, np.uint64)
        self._read = 0
        if self._reference is None:
            self._work = _start()

    def learn(self, data: bytes) -> None:
        """See TextEncoder."""
        if self._reference is not None:
            self._reference.learn(data)
        else:
            native.call("ep_text_learn", self._work, data, len(data))

    def decode(self, count: int) -> bytes:
        """The next ``count`` bytes of the text. A damaged payload gives other bytes, or CodecError."""
        if self._reference is not None:
            return self._reference.decode(count)
        out = np.empty(count, np.uint8)
        payload = self._payload
        self._read = native.call("ep_text_decode", self._work, payload, len(payload), out, count)
        return out.tobytes()

    def end(self) -> None:
        """The text ends here. Raises CodecError when there is more in the payload."""
        if self._reference is not None:
            self._reference.end()
        elif self._read < len(self._payload) or (len(self._payload) and self._payload[-1] == 0):
            raise CodecError("bytes are left over after the text")


def text_bytes(data: bytes) -> int:
    """How many bytes ``data`` takes as a text."""
    encoder = TextEncoder(_primed().copy() if native.available() else None)
    encoder.encode(data)
    return len(encoder.finish())


class Text:
    """A coder of bytes: payload = one text of the tensor's bytes, at most 256 KiB of them."""

    def encode(self, data: bytes, itemsize: int, is_float: bool) -> bytes:
        encoder = TextEncoder()
        encoder.encode(data)
        return encoder.finish()

    def decode(self, payload: memoryview, size_bytes: int, itemsize: int, is_float: bool) -> bytes:
        if size_bytes > TEXT_MAX_BYTES:
            raise CodecError(f"a text of {size_bytes} bytes, at most {TEXT_MAX_BYTES} are possible")
        decoder = TextDecoder(payload)
        data = decoder.decode(size_bytes)
        decoder.end()
        return data


@cache
def _primed() -> _Work:
    """For those who code many texts: it stays in memory."""
    return _start()


def _start() -> _Work:
    """Work memory with a model that knows the dictionary."""
    work = np.zeros(-(-native.call("ep_text_work_bytes") // 8), np.uint64)
    native.call("ep_text_start", work, work.nbytes)
    native.call("ep_text_learn", work, DICTIONARY, len(DICTIONARY))
    return work
