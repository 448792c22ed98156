"""Raw DEFLATE (RFC 1951), bounded on the way out."""

import zlib

from edgepress_compression.codec.bytestream import CodecError

_RAW = -15  # zlib's window bits: 32 KiB, no zlib wrapper, for our sections carry their own checksum


def deflate(data: bytes) -> bytes:
    """``data`` as one raw DEFLATE stream at the highest level."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _RAW, 9)
    return packer.compress(data) + packer.flush()


class Inflater:
    """Reads one raw DEFLATE stream in pieces of known length, never allocating more than was asked for."""

    def __init__(self, stream: memoryview) -> None:
        self._unpacker = zlib.decompressobj(_RAW)
        self._stream: bytes | memoryview = stream

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes. Raises CodecError when the stream is damaged or ends before."""
        parts: list[bytes] = []
        while count > 0:
            try:
                part = self._unpacker.decompress(self._stream, count)
            except zlib.error as error:
                raise CodecError(f"damaged DEFLATE stream ({error})") from error
            self._stream = self._unpacker.unconsumed_tail
            if not part:
                raise CodecError(f"the DEFLATE stream ends {count} bytes early")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def end(self) -> None:
        """Raises CodecError unless the stream and its bytes end here."""
        try:
            extra = self._unpacker.decompress(self._stream, 1)
        except zlib.error as error:
            raise CodecError(f"damaged DEFLATE stream ({error})") from error
        if extra or not self._unpacker.eof or self._unpacker.unused_data:
            raise CodecError("bytes are left over after the DEFLATE stream")


class Deflate:
    """payload = one raw DEFLATE stream of the tensor's bytes."""

    def encode(self, data: bytes, itemsize: int, is_float: bool) -> bytes:
        return deflate(data)

    def decode(self, payload: memoryview, size_bytes: int, itemsize: int, is_float: bool) -> bytes:
        inflater = Inflater(payload)
        data = inflater.read(size_bytes)
        inflater.end()
        return data
