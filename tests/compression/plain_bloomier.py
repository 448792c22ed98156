"""A decoder of `bloomier` payloads written from docs/artifact.md alone, by position: the oracle."""

import math

from plain_streams import Bytes, code_table, gaps, stream

WORD = 2**32 - 1


def mix(z):
    z = (z ^ z >> 16) * 0x21F0AAAD & WORD
    z = (z ^ z >> 15) * 0x735A2D97 & WORD
    return z ^ z >> 15


def group(source):
    cells = source.varint()
    if cells == 0:
        return None
    seed = source.take(1)[0]
    return cells, seed, int.from_bytes(source.take((cells + 7) // 8), "little")


def bit(groups, number, position):
    if groups[number] is None:
        return 1
    cells, seed, packed = groups[number]
    a = mix(position ^ mix(seed * 256 + number))
    b = mix(a + 0x9E3779B9 & WORD)
    c = mix(b + 0x9E3779B9 & WORD)
    start = a * (cells - 63) >> 32
    mask = c << 32 | b | 1
    return (b & 1) ^ ((packed >> start & mask).bit_count() & 1)


def decode(payload, alphabet, shape):
    source = Bytes(payload)
    rows, columns = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
    form, background = source.take(1)[0], source.varint()
    row_class, column_class = stream(source, rows), stream(source, columns)
    live = [one for one in row_class if one < 16], [one for one in column_class if one < 16]
    checks = max(live[0]) + max(live[1]) if live[0] and live[1] else 0
    codes = code_table(source) if form == 0 and live[0] and live[1] else {(0, 0): background}
    longest = max(length for length, _ in codes)
    groups = [group(source) for _ in range(checks + longest)]
    symbols = [background] * (rows * columns)
    passing = []
    for position in range(rows * columns):
        row, column = row_class[position // columns], column_class[position % columns]
        if 16 in (row, column) or any(bit(groups, one, position) for one in range(row + column)):
            continue
        passing.append(position)
        length = code = 0
        while (length, code) not in codes:
            code = code << 1 | bit(groups, checks + length, position)
            length += 1
        symbols[position] = codes[length, code]
    if form:
        inner = stream(source, len(passing)) if form == 1 else gaps(source, alphabet, (len(passing),))
        for position, symbol in zip(passing, inner, strict=True):
            symbols[position] = symbol
    assert source.at == len(payload)
    return symbols
