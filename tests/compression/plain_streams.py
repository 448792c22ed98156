"""Bits, bytes and streams, and the codings made of streams, as docs/artifact.md says, bit by bit."""

import math
import struct


class Bits:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bit(self):
        value = self.data[self.at >> 3] >> (7 - (self.at & 7)) & 1
        self.at += 1
        return value

    def number(self, width):
        value = 0
        for _ in range(width):
            value = value << 1 | self.bit()
        return value

    def unary(self):
        value = 0
        while not self.bit():
            value += 1
        return value


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def varint(self):
        value = shift = 0
        while True:
            part = self.take(1)[0]
            value |= (part & 127) << shift
            shift += 7
            if part < 128:
                return value

    def bits(self):
        return Bits(self.data[self.at :])


def code_table(source):
    """Symbols by (length, code), as a stream begins."""
    low, span = source.varint(), source.varint() + 1
    if span == 1:
        return {(0, 0): low}
    bits, length, lengths = source.bits(), (span - 1).bit_length(), []
    for symbol in range(low, low + span):
        number = bits.unary()
        if number != 1:
            length += -(number // 2) if number % 2 else number // 2
            lengths.append((length, symbol))
    source.take((bits.at + 7) // 8)
    codes, code, before = {}, 0, 0
    for length, symbol in sorted(lengths):
        code <<= length - before
        codes[length, code] = symbol
        code, before = code + 1, length
    return codes


def stream(source, count):
    if count == 0:
        return []
    codes = code_table(source)
    if len(codes) == 1:
        return list(codes.values()) * count
    lane_symbols, total_bits = source.varint(), source.varint()
    lanes = -(-count // lane_symbols)
    if lanes > 1:
        source.varint()
        width = source.take(1)[0]
        source.take(((lanes - 1) * width + 7) // 8)
    bits, symbols = Bits(source.take((total_bits + 7) // 8)), []
    for _ in range(count):
        length = code = 0
        while (length, code) not in codes:
            length, code = length + 1, code << 1 | bits.bit()
        symbols.append(codes[length, code])
    assert bits.at == total_bits
    return symbols


def planes(source, count, itemsize):
    form = source.take(1)[0]
    width = 2 if form == 2 else itemsize
    parts = [stream(source, count) if source.take(1)[0] else list(source.take(count)) for _ in range(width)]
    out = bytearray()
    for element in zip(*parts, strict=True):
        value = int.from_bytes(bytes(element), "little")
        if form:
            value = value >> 1 | (value & 1) << (8 * width - 1)
        stored = value.to_bytes(width, "little")
        out += struct.pack("<f", struct.unpack("<e", stored)[0]) if form == 2 else stored
    return bytes(out)


def gaps(source, alphabet, shape):
    size = math.prod(shape)
    flags, background, skip, count = source.take(1)[0], source.varint(), source.varint(), source.varint()
    tokens = stream(source, count)
    places, gap = [], 0
    for token in tokens:
        gap += token
        if token < skip:
            places.append(gap)
            gap = 0
    if flags & 2:
        groups = [iter(stream(source, sum(min(gap, 2) == group for gap in places))) for group in range(3)]
        values, sign = [], 1
        for gap in places:
            step = (next(groups[min(gap, 2)]) - (alphabet - 1)) * sign
            sign = 1 if step > 0 else -1
            values.append(background + step)
    else:
        values = stream(source, len(places))
    symbols = []
    for gap, value in zip(places, values, strict=True):
        symbols += [background] * gap + [value]
    symbols += [background] * (size - len(symbols))
    if flags & 1:
        first = shape[0]
        others = size // first
        symbols = [symbols[other * first + row] for row in range(first) for other in range(others)]
    return symbols
