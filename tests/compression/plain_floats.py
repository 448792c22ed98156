"""The coding `floats`, decoded as docs/artifact.md says and no other way: the oracle for the fast decoders.

``symbols(coder, payload, alphabet, count)`` decodes a payload of the coder of symbols with that name.
"""

import struct

EXPONENT_BITS = {"float16": 5, "bfloat16": 5, "float32": 8, "float64": 11}


class Coder:
    def __init__(self, data):
        self.data, self.at, self.range, self.code = data, 0, 2**32 - 1, 0
        for _ in range(4):
            self.code = 256 * self.code + self.byte()

    def byte(self):
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def take(self, step, start, size):
        self.code -= step * start
        self.range = step * size
        while self.range < 2**24:
            self.code, self.range = 256 * self.code + self.byte(), 256 * self.range

    def plain(self, count):
        value = 0
        while count:
            part = min(count, 16)
            step = self.range >> part
            chunk = self.code // step
            assert chunk < 2**part
            self.take(step, chunk, 1)
            value, count = value * 2**part + chunk, count - part
        return value

    def step(self, c):
        if c < 7:
            return c + 1
        b = (c - 3) // 4
        return (4 + (c - 3) % 4) * 2**b + self.plain(b)


class Model:
    def __init__(self, sizes, kernel):
        self.sizes, self.kernel, self.read = list(sizes), kernel, 0

    def symbol(self, coder, first=0, count=None):
        stop = len(self.sizes) if count is None else first + count
        step = coder.range // sum(self.sizes[first:stop])
        share, start, s = coder.code // step, 0, first
        while start + self.sizes[s] <= share:
            start, s = start + self.sizes[s], s + 1
            assert s < stop
        coder.take(step, start, self.sizes[s])
        for d, gain in enumerate(self.kernel):
            for near in {s - d, s + d}:
                if 0 <= near < len(self.sizes):
                    self.sizes[near] += gain // 2 ** (self.read // 32) if d else gain
        self.read += 1
        if sum(self.sizes) > 32768:
            self.sizes = [(size + 1) // 2 for size in self.sizes]
        return s


def heads_model(e):
    bias = 2 ** (e - 1) - 1
    return Model([9 if bias - 15 <= s <= bias + 5 else 1 for s in range(2**e + 1)], [128, 64, 32, 16, 8, 4])


def read_list(coder, n, e, f):
    heads, signs = heads_model(e), Model([1, 1], [1])
    quarters, largest, out = [Model([64] * 4, [16]) for _ in range(3)], 0, []
    for _ in range(n):
        head = heads.symbol(coder)
        if head == 0:
            out.append(0)
            continue
        sign, largest, fraction, left = signs.symbol(coder), max(largest, head), 0, f
        if f >= 2:
            fraction, left = quarters[min(largest - head, 2)].symbol(coder), f - 2
        fraction = fraction * 2**left + coder.plain(left)
        out.append((sign * 2**e + head - 1) * 2**f + fraction)
    return out


def read_set(coder, n, e, f):
    classes = 4 * (e + f - 3) + 7
    sizes = [1 + 4096 // ((s - (classes - 1)) ** 2 + 4) for s in range(2 * classes - 1)]
    heads, distances = heads_model(e), [Model(sizes, [200, 100, 40]) for _ in range(3)]

    def magnitudes(count):
        out, spacings = [], []
        for _ in range(count):
            m = out[-1] if out else 0
            if m == 0:
                head = heads.symbol(coder)
                out.append((head - 1) * 2**f + coder.plain(f) if head else 0)
                continue
            foreseen, rough = 4 * (f - 3), 0
            if spacings:
                a, b, c = (spacings + [spacings[-1]] * 2)[:3]
                foreseen = (8 * a + 5 * b + 3 * c + 8) // 16 - 4 * (m // 2**f)
                if len(spacings) >= 3:
                    rough = abs(a - b) + abs(b - c)
            foreseen = min(max(foreseen, 0), classes - 1)
            model = distances[0 if rough < 4 else 1 if rough < 9 else 2]
            first = classes - 1 - foreseen
            c = model.symbol(coder, first, classes) - first
            spacings.insert(0, c + 4 * (m // 2**f))
            out.append(m + coder.step(c) - 1)
            assert out[-1] < 2 ** (e + f)
        return out

    minus_count = coder.plain(len(f"{n:b}"))
    minus = magnitudes(minus_count)
    more = n - 2 * minus_count
    plus = [0] * more + minus if minus and more in (0, 1) and coder.plain(1) else magnitudes(n - minus_count)
    return [2 ** (e + f) + m for m in reversed(minus)] + plus


def read_indexed(coder, n, e, f):
    k = coder.plain(8) + 1
    values, indices = read_set(coder, k, e, f), Model([1] * k, [32])
    return [values[indices.symbol(coder)] for _ in range(n)]


def read_grid(data, n):
    (step,), coder, classes = struct.unpack("<f", data[:4]), Coder(data[4:]), Model([1] * 99, [32])
    out, multiple = b"", 0
    for _ in range(n):
        j = coder.step(classes.symbol(coder)) - 1
        multiple += -(j + 1) // 2 if j % 2 else j // 2
        out += struct.pack("<f", multiple * step)  # exact in double precision, then rounded once
    assert coder.at >= len(coder.data)
    return out


def read_blocks(data, n, e, f, symbols):
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            at += 1
            value |= (data[at - 1] & 127) << shift
            shift += 7
            if data[at - 1] < 128:
                return value

    zeros, signs, out = varint(), varint(), []
    f -= zeros
    for block in range(0, n, 262_144):
        count = min(n - block, 262_144)
        coder, top = divmod(varint(), 4)
        low, span, size = varint(), varint(), varint()
        heads = symbols(("huffman", "rans")[coder], data[at : at + size], span + 1, count)
        at += size
        bits, number = f - top + (signs == 0), sum(head > 0 for head in heads)
        planes = []
        for _ in range(bits // 8):
            planes.append(data[at : at + number])
            at += number
        odd = (number * (bits % 8) + 7) // 8
        packed = int.from_bytes(data[at : at + odd], "big") >> (8 * odd - number * (bits % 8))
        at += odd
        tails = []
        for i in range(number):
            tail = packed >> (number - 1 - i) * (bits % 8) & (1 << bits % 8) - 1
            for plane in reversed(planes):
                tail = tail << 8 | plane[i]
            tails.append(tail)
        left = iter(tails)
        for head in heads:
            element = 0
            if head:
                tail, sign = next(left), signs == 2
                if signs == 0:
                    tail, sign = tail >> 1, tail & 1
                element = (sign << e + f | low + head - 1 << f - top | tail) << zeros
            out.append(element)
    assert at == len(data)
    return out


def floats(data, n, dtype, symbols):
    form, kind, rest = data[0] % 8, data[0] // 8 * 8, data[1:]
    if form == 0:
        return rest
    if form == 4:
        return read_grid(rest, n)
    e = {0: EXPONENT_BITS[dtype], 8: 8, 16: 5}[kind]
    itemsize = 2 if kind else int(dtype.lstrip("bfloat")) // 8
    f = 8 * itemsize - 1 - e
    if form == 5:
        elements = read_blocks(rest, n, e, f, symbols)
    else:
        coder = Coder(rest)
        zeros = coder.plain(6)
        read = {1: read_set, 2: read_list, 3: read_indexed}[form]
        elements = [element << zeros for element in read(coder, n, e, f - zeros)]
        assert coder.at >= len(rest)
    out = b"".join(element.to_bytes(itemsize, "little") for element in elements)
    if kind == 16:
        return struct.pack(f"<{n}f", *struct.unpack(f"<{n}e", out))
    return out
