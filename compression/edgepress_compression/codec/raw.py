"""Bytes as they are."""

from edgepress_compression.codec.bytestream import CodecError


class Raw:
    """payload = the tensor's bytes."""

    def encode(self, data: bytes, itemsize: int, is_float: bool) -> bytes:
        return data

    def decode(self, payload: memoryview, size_bytes: int, itemsize: int, is_float: bool) -> bytes:
        if len(payload) != size_bytes:
            raise CodecError(f"{len(payload)} bytes stored for a tensor of {size_bytes}")
        return bytes(payload)
