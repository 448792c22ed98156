"""A decoder of artifacts written from docs/artifact.md alone, slow and obvious: the oracle for the fast ones.

A file for each coding stands beside it: plain_streams, plain_floats, plain_text, plain_rans, plain_bloomier,
plain_context, and plain_delta.
"""

import hashlib
import json
import math
import struct
import zlib

import plain_bloomier
import plain_context
import plain_floats
import plain_rans
import plain_text
from plain_delta import base_of, difference, nearest_integer, nearest_value, ordered, size_of, values
from plain_streams import Bytes, gaps, planes, stream

BLOCK = 2**20


def inflate(data):
    inflater = zlib.decompressobj(-15)
    out = inflater.decompress(data)
    assert inflater.eof
    assert not inflater.unused_data
    return out


def symbols(coding, payload, alphabet, shape, base=None):
    if coding == "rans":
        return plain_rans.decode(payload, alphabet, shape)
    if coding == "bloomier":
        return plain_bloomier.decode(payload, alphabet, shape)
    if coding in ("context", "context-delta"):
        return plain_context.decode(payload, alphabet, shape, base)
    source, count = Bytes(payload), math.prod(shape)
    out = {"huffman": lambda: stream(source, count), "gaps": lambda: gaps(source, alphabet, shape)}[coding]()
    assert source.at == len(payload)
    return out


def heads(coder, payload, alphabet, count):
    """The heads of the blocks of `floats`."""
    return symbols(coder, payload, alphabet, (count,))


def elements(coding, payload, dtype, count):
    """The bytes of so many elements, from a payload of a coding of bytes."""
    if coding == "raw":
        return payload
    if coding == "deflate":
        return inflate(payload)
    if coding == "text":
        return plain_text.decode(payload, count * size_of(dtype))
    if coding == "floats":
        return plain_floats.floats(payload, count, dtype, heads)
    assert coding == "planes"
    source = Bytes(payload)
    out = planes(source, count, size_of(dtype))
    assert source.at == len(payload)
    return out


def side_information(source, dtype, count, before):
    length, coding = divmod(source.varint(), 8)
    payload = source.take(length)
    if coding == 7:
        found = ordered(before, dtype)
        assert (length, len(found)) == (0, count)
        return b"".join(found)
    return elements(("raw", "deflate", "planes", "floats")[coding], payload, dtype, count)


def rest(source):
    return source.take(len(source.data) - source.at)


def of_bytes(body, dtype, shape, coding, before):
    if coding == "raw":
        return body
    size = math.prod(shape) * size_of(dtype)
    source, out = Bytes(body), b""
    while len(out) < size:
        block = min(BLOCK, size - len(out))
        payload = source.take(source.varint()) if size > BLOCK else rest(source)
        if coding == "difference":
            part = Bytes(payload)
            out += difference(part, before[len(out) : len(out) + block], dtype)
            assert part.at == len(payload)
        else:
            out += elements(coding, payload, dtype, block // size_of(dtype))
    assert source.at == len(body)
    return out


def of_single_bytes(body, dtype, shape, coding, before):
    """Elements of a byte that are symbols themselves."""
    turn = 128 if dtype == "int8" else 0
    base = [byte ^ turn for byte in before] if before is not None else None
    return bytes(symbol ^ turn for symbol in symbols(coding, body, 256, shape, base))


def of_codebook(body, dtype, shape, coding, before, count):
    source = Bytes(body)
    stored = side_information(source, dtype, count, before)
    size, base = size_of(dtype), None
    if coding == "context-delta":
        codebook = values(stored, dtype)
        base = [nearest_value(element, codebook) for element in values(before, dtype)]
    found = symbols(coding, rest(source), count, shape, base)
    return b"".join(stored[symbol * size : symbol * size + size] for symbol in found)


def trellis(numbers, row_of, rows):
    states, out = [0] * rows, []
    for place, k in enumerate(numbers):
        row = row_of(place)
        s2, s1, s0 = states[row] >> 2 & 1, states[row] >> 1 & 1, states[row] & 1
        sign, p = (k > 0) - (k < 0), k % 2
        out.append(2 * k - sign * s0)
        states[row] = s0 << 2 | (s2 ^ p) << 1 | s1 ^ s0
    return out


def of_integers(body, dtype, shape, coding, before, grid):
    lowest, count, axis, flags = grid
    source, side, inner = Bytes(body), shape[axis], math.prod(shape[axis + 1 :])

    def row_of(place):
        return place // inner % side

    scales = values(side_information(source, dtype, side if flags & 1 else 1, None), dtype)
    if not flags & 1:
        scales *= side
    base = None
    if coding == "context-delta":
        base = [
            nearest_integer(element, scales[row_of(place)] * (2 if flags & 2 else 1), lowest, count)
            for place, element in enumerate(values(before, dtype))
        ]
    numbers = [lowest + symbol for symbol in symbols(coding, rest(source), count, shape, base)]
    if flags & 2:
        numbers = trellis(numbers, row_of, side)
    # A product of two float32 is exact in double precision: it is rounded once.
    return struct.pack(f"<{len(numbers)}f", *(v * scales[row_of(place)] for place, v in enumerate(numbers)))


def tensor(entry, section, base):
    name, dtype, shape, coding, meaning, stored_bytes, _ = entry
    assert len(section) == stored_bytes, name
    before = None
    if base is not None and name in base.tensors and base.tensors[name][:2] == (dtype, shape):
        before = base.tensors[name][2]
    if coding == "same":
        assert not section
        return before
    body = section[:-2]
    assert struct.pack("<H", zlib.crc32(body) & 65535) == section[-2:], name
    if isinstance(meaning, list):
        return of_integers(body, dtype, shape, coding, before, meaning)
    if meaning:
        return of_codebook(body, dtype, shape, coding, before, meaning)
    if coding in ("huffman", "gaps", "rans", "context", "bloomier", "context-delta"):
        return of_single_bytes(body, dtype, shape, coding, before if coding == "context-delta" else None)
    return of_bytes(body, dtype, shape, coding, before)


def tensor_of_version_1(entry, section, _):
    name, dtype, shape, coding, count, stored_bytes, crc32, _ = entry
    assert len(section) == stored_bytes
    assert zlib.crc32(section) == crc32, name
    if count:
        source = Bytes(section)
        stored = elements("planes", source.take(source.varint()), dtype, count)
        size, found = size_of(dtype), symbols(coding, rest(source), count, shape)
        return b"".join(stored[symbol * size : symbol * size + size] for symbol in found)
    if coding in ("huffman", "gaps"):
        return of_single_bytes(section, dtype, shape, coding, None)
    return elements(coding, section, dtype, math.prod(shape))


def head_of_version_1(data, _):
    head_bytes, header_bytes, crc32 = struct.unpack_from("<III", data, 8)
    head = data[20 : 20 + head_bytes]
    assert not any(data[5:8])
    assert zlib.crc32(data[:16] + head) == crc32
    plain = inflate(head)
    return json.loads(plain[:header_bytes]), plain[header_bytes:], 20 + head_bytes


def head_of_version_2(data, base):
    source = Bytes(data)
    source.at = 10
    head_bytes, header_bytes, skeleton_bytes = source.varint(), source.varint(), source.varint()
    head = source.take(head_bytes)
    assert struct.unpack_from("<I", data, 6)[0] == zlib.crc32(data[:6] + data[10 : source.at])
    if data[5] == 0:
        plain = inflate(head)
        assert len(plain) == header_bytes + skeleton_bytes
        return json.loads(plain[:header_bytes]), plain[header_bytes:], source.at
    assert data[5] == 1
    text = plain_text.Text(head)
    header = json.loads(text.read(header_bytes))
    if "base" in header:
        text.learn(base_of(base).skeleton)
    skeleton = text.read(skeleton_bytes)
    text.end()
    return header, skeleton, source.at


def decode(data, base=None):
    assert data[:4] == b"\x89EPA"
    read_head, read_tensor = {1: (head_of_version_1, tensor_of_version_1), 2: (head_of_version_2, tensor)}[
        data[4]
    ]
    header, skeleton, at = read_head(data, base)
    if "base" in header:
        named = header["base"]["onnx_bytes"], header["base"]["onnx_sha256"]
        assert named == (len(base), hashlib.sha256(base).hexdigest())
    before = base_of(base) if "base" in header else None
    out, copied = bytearray(), 0
    for entry in header["tensors"]:
        stored_bytes, skip = entry[5], entry[-1]
        out += skeleton[copied : copied + skip]
        copied += skip
        out += read_tensor(entry, data[at : at + stored_bytes], before)
        at += stored_bytes
    assert at == len(data)
    whole = bytes(out + skeleton[copied:])
    assert (len(whole), hashlib.sha256(whole).hexdigest()) == (header["onnx_bytes"], header["onnx_sha256"])
    return whole
