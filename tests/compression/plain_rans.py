"""A decoder of ``rans`` payloads written from docs/artifact.md alone, token by token: the oracle."""

import math
import struct

from plain_streams import Bits, Bytes, stream

E = (1048576, 961548, 881744, 808563, 741455, 679917, 623487, 571740)


def exp_golomb(bits, order):
    zeros = bits.unary()
    return (1 << zeros + order | bits.number(zeros + order)) - (1 << order)


def table(bits, against, run_order, absent):
    levels, offset = [], 0
    while len(levels) < len(against):
        for _ in range(exp_golomb(bits, run_order)):
            levels.append(min(absent, against[len(levels)] + offset))
        if len(levels) < len(against):
            size = exp_golomb(bits, 0) + 1
            offset += -size if bits.bit() else size
            levels.append(min(absent, against[len(levels)] + offset))
    return levels


def frequencies(levels, resolution, precision):
    steps = 2**resolution
    weights = [0 if v >= 14 * steps else E[v % steps * 8 // steps] >> (v // steps) for v in levels]
    total = sum(weights)
    shares = [max(1, (w * 2**precision + total // 2) // total) if w else 0 for w in weights]
    while (missing := 2**precision - sum(shares)) != 0:
        first = shares.index(max(shares))
        shares[first] += missing if missing > 0 else -min(-missing, shares[first] // 2)
    return shares


def decode(payload, alphabet, shape):
    """The symbols of the tensor as a list, C order."""
    source, count, low_bits = Bytes(payload), math.prod(shape), 0
    while (alphabet - 1) >> low_bits > 255:
        low_bits += 1
    tokens = ((alphabet - 1) >> low_bits) + 1
    flags, classes, form = source.take(3)
    lanes, precision, resolution = 1 << (flags >> 2 & 7), 8 + (flags >> 5), form & 3
    row_classes, column_classes, before = (classes & 15) + 1, (classes >> 4) + 1, 3 if flags & 2 else 1
    contexts = row_classes * column_classes * before
    rows = shape[0] if shape else 1
    columns = count // rows
    if flags & 1:
        rows, columns = columns, rows
    if contexts == 1:
        rows, columns = count, 1
    pivot = source.varint() if flags & 2 else None
    row_class = stream(source, rows) if row_classes > 1 else [0] * rows
    column_class = stream(source, columns) if column_classes > 1 else [0] * columns
    bits, none = source.bits(), [14 << resolution] * tokens
    base = table(bits, none, form >> 2, none[0])
    tables = [base]
    if contexts > 1:
        tables = [table(bits, none if bits.bit() else base, form >> 2, none[0]) for _ in range(contexts)]
    source.take((bits.at + 7) // 8)
    shares = [frequencies(levels, resolution, precision) for levels in tables]
    states = list(struct.unpack(f"<{lanes}I", source.take(4 * lanes)))
    low_bytes = (count * low_bits + 7) // 8
    left = len(payload) - source.at - low_bytes
    words = iter(struct.unpack(f"<{left // 2}H", source.take(left)))
    out = [0] * count
    order = sorted(range(rows), key=lambda row: row_class[row])
    for first in range(0, rows, lanes):
        group = order[first : first + lanes]
        last = [pivot] * len(group)
        for column in range(columns):
            for lane, row in enumerate(group):
                context = row_class[row] * column_classes + column_class[column]
                if before == 3:
                    context = context * 3 + 1 + (last[lane] > pivot) - (last[lane] < pivot)
                x, token, start = states[lane], 0, 0
                slot = x % 2**precision
                while slot >= start + shares[context][token]:
                    start += shares[context][token]
                    token += 1
                x = shares[context][token] * (x >> precision) + slot - start
                states[lane] = x << 16 | next(words) if x < 2**16 else x
                last[lane] = token
                out[column * rows + row if flags & 1 else row * columns + column] = token
    assert next(words, None) is None
    assert states == [2**16] * lanes
    low = Bits(source.take(low_bytes))
    return [token << low_bits | low.number(low_bits) for token in out]
