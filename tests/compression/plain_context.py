"""The codings `context` and `context-delta`, decoded as docs/artifact.md says: slow, one symbol at a time."""

import math

from plain_streams import Bytes


def quotient(a, b):
    return a // b if (a < 0) == (b < 0) else -(-a // b)


def clip(x, n):
    return max(-n, min(n, x))


def exponentials():
    x, out = 2**62, []
    for _ in range(256):
        out.append((x + 2**46) >> 47)
        x = (x >> 31) * 2153306067
    return out


E = exponentials()


def power(t):
    return E[t % 256] * 2 ** (4 + (t >> 8))


def fall(t):
    return E[255 - t % 256] * 2**15 >> (t >> 8) >> 1 if t < 7680 else 0


def squash(s):
    if s < 0:
        return 65536 - squash(-s)
    return min(65516, 65536 - 2**31 // (E[2 * s % 256] * 2 ** (2 * s >> 8) + 32768))


SQUASH = {s: squash(s) for s in range(-2047, 2048)}
STRETCH = [next((s for s in range(-2047, 2048) if SQUASH[s] >> 4 >= q), 2047) for q in range(4096)]


class Code:
    def __init__(self, data):
        self.data, self.seen, self.width, self.place = data, 0, 2**32 - 1, 0
        for _ in range(32):
            self.shift()

    def shift(self):
        byte = self.data[self.seen >> 3] if self.seen >> 3 < len(self.data) else 0
        self.place = 2 * self.place + (byte >> (7 - self.seen % 8) & 1)
        self.seen += 1

    def take(self, low, width):
        self.place, self.width = self.place - low, width
        assert 0 <= self.place < width
        while self.width < 2**31:
            self.width *= 2
            self.shift()

    def end(self):
        assert self.seen - 32 <= 8 * len(self.data) <= self.seen + 7

    def bit(self, opinions, weights, step):
        s = clip(sum(w * o for w, o in zip(weights, opinions, strict=True)) >> 14, 2047)
        one = (self.width >> 16) * SQUASH[s]
        bit = int(self.place < one)
        self.take(*((0, one) if bit else (one, self.width - one)))
        e = ((bit * 65536 - SQUASH[s]) * step) >> 6
        weights[:] = [
            clip(w + ((o * e + 8192) >> 14), 131000) for w, o in zip(weights, opinions, strict=True)
        ]
        return bit


class Chance:
    def __init__(self, p, n=0, limit=1000):
        self.p, self.n, self.limit = p, n, limit

    def opinion(self):
        return STRETCH[self.p >> 10]

    def learn(self, bit):
        d = 2**22 - 1 - self.p if bit else self.p
        move = (d >> 7) * (655360 // (10 * self.n + 16)) >> 9
        self.p += move if bit else -move
        self.n += self.n < self.limit


class Chances(dict):
    """Chances of one p at first, made where they are asked for."""

    def __init__(self, p):
        self.p = p

    def __missing__(self, at):
        self[at] = Chance(self.p)
        return self[at]


class Weights(dict):
    def __missing__(self, at):
        self[at] = [3600] * 8
        return self[at]


class Latent:
    def __init__(self, spike, family, n, b):
        self.edge = max(b, n - 1 - b) if spike else (n + 1) // 2
        self.half = 2**17 - self.edge
        densities = [self.density(a, family) for a in range(1, 256, 2)]
        total, tail, first = sum(densities), 0, []
        for i in range(128):
            first.append(tail * self.half // total)
            tail += densities[127 - i]
        self.f = [*first, self.half, *(2 * self.half - value for value in reversed(first))]

    def density(self, a, family):
        t = a * 10056 >> 10
        o = E[t % 256] * 2 ** (t >> 8)
        normal, laplace = fall(a * a * 11819 >> 16), fall(a * 44 // 3)
        logistic = 2**62 // (o + 2**30 // o) ** 2
        return 4096 + (normal, (normal + 2 * logistic) // 3, logistic, (2 * logistic + laplace) // 3)[family]

    def below(self, z):
        z = max(-32768, min(32767, z)) + 32768
        i = z >> 8
        return self.f[i] + ((self.f[i + 1] - self.f[i]) * (z % 256) >> 8)

    def quantile(self, u):
        i = max((i for i in range(256) if 16 * self.f[i] <= u), default=0)
        w = 16 * (self.f[i + 1] - self.f[i])
        return 256 * i - 32768 + (min(255, (u - 16 * self.f[i]) * 256 // w) if w else 0)


class Thresholds:
    def __init__(self, latent, spike, n, b, centre, spread):
        self.latent, self.spike, self.n, self.b = latent, spike, n, b
        self.counts, self.decoded, self.next = [0] * n, 0, 32
        self.prior = [
            latent.below(quotient((16 * k + 8 - centre) * 4096, spread))
            - latent.below(quotient((16 * k - 8 - centre) * 4096, spread))
            + 1
            for k in range(n)
        ]
        self.prior[b] = 0
        self.rebuild()

    def sizes(self):
        n, b, counts = self.n, self.b, self.counts
        m, v = sum(counts) - counts[b], sum(self.prior)
        g = [0] * n
        for k in range(n):
            if k == b:
                continue
            around = [(j, 3 - abs(j)) for j in range(-2, 3) if 0 <= k + j < n and k + j != b]
            near = sum(share * counts[k + j] for j, share in around)
            shares = sum(share for _, share in around)
            near = near * 2**16 // shares + 50 * 2**16 * self.prior[k] // v
            g[k] = counts[k] * 2**16 + 2000 * near // (m + 50) + 1
        if not self.spike:
            g[b] = (2 * counts[b] + 1) * 2**15 + 1
            if not any(counts) and n > 1:
                g[b] = g[b - 1] if b else g[1]
        return g

    def rebuild(self):
        if sum(self.counts) >= 2**26:
            self.counts = [count // 2 for count in self.counts]
        g = self.sizes()
        self.threshold, self.middle = [0] * self.n, [0] * self.n
        h = self.latent.half
        parts = [(0, self.n, 32 * h, 0)]
        if self.spike:
            parts = [(0, self.b, 16 * h, 0), (self.b + 1, self.n, 16 * h, 16 * h)]
        for first, stop, span, start in parts:
            total, s = sum(g[first:stop]), 0
            for k in range(first, stop):
                for out, sum_below in ((self.threshold, s), (self.middle, s + g[k] // 2)):
                    out[k] = self.latent.quantile(start + (sum_below * 2**18 // total * span >> 18))
                s += g[k]

    def count(self, k):
        self.counts[k] += 1
        self.decoded += 1
        if self.decoded >= self.next:
            self.next += min(self.next // 2, 32 * self.n)
            self.rebuild()


class Column:
    def __init__(self, density, taps):
        self.flags = self.signs = self.size = self.size_before = self.scale = self.mean = self.mark = 0
        self.nonzero, self.negative = Chance(density << 14, 4, 400), Chance(2**21, 0, 250)
        self.weights, self.history = [0] * taps, 0


class Row:
    def __init__(self, density):
        self.scale = self.flags = self.signs = self.inside = self.far = self.last = self.last_but_one = 0
        self.nonzero, self.negative = Chance(density << 14, 8, 250), Chance(2**21, 8, 200)


class Decoder:
    def __init__(self, payload, n, count, base=None):
        source = Bytes(payload)
        kind, taps, self.density = source.take(3)
        self.count, self.base, self.alphabet = count, base, n
        self.spike, self.transposed, family, self.rate = kind & 1, kind >> 1 & 1, kind >> 2 & 3, kind >> 4
        self.taps = 16 * taps
        self.c, self.k, self.g, self.background, centre, spread = (source.varint() for _ in range(6))
        self.n, self.b = (n, self.background) if base is None else (2 * n - 1, n - 1)
        self.code = Code(source.data[source.at :])
        self.latent = Latent(self.spike, family, self.n, self.b)
        self.thresholds = Thresholds(self.latent, self.spike, self.n, self.b, centre, spread)
        self.columns = [Column(self.density, self.taps) for _ in range(self.c + 1)]
        self.channels, self.whole = {}, 0
        self.flag_tables = [Chances(self.density << 14) for _ in range(6)]
        self.sign_tables = [Chances(2**21) for _ in range(5)]
        self.flag_weights, self.sign_weights = Weights(), Weights()

    def symbols(self):
        out, rows = [0] * self.count, -(-self.count // self.c)
        for r in range(rows):
            self.row = Row(self.density)
            for c in range(self.c):
                place = c * rows + r if self.transposed else r * self.c + c
                if place >= self.count:
                    break
                self.special = None
                if self.base is not None:
                    old = self.base[place]
                    self.special = 15 if old == self.background else old * 15 // self.alphabet
                out[place] = self.element(r, c)
                if self.base is not None:
                    out[place] += old - (self.alphabet - 1)
                    assert 0 <= out[place] < self.alphabet
                if (c + 1) % self.k == 0:
                    self.row.inside = 0
        self.code.end()
        return out

    def element(self, r, c):
        column = self.columns[c]
        first, stop = 0, self.n
        if self.spike:
            if not self.flag(c, column):
                column.history = 0
                return self.b
            e = self.expected(c, column)
            below = self.side(c, column, e)
            first, stop = (0, self.b) if below else (self.b + 1, self.n)
            assert first < stop
        else:
            e = self.expected(c, column)
        return self.which(r, c, column, e, first, stop)

    def mark(self, c, i):
        return self.columns[c - i].mark if 0 <= c - i < self.c else 0

    def flag(self, c, column):
        row, k, g, f = self.row, self.k, self.g, column.flags
        y, z = (column.nonzero.opinion() + 2048) >> 8, (row.nonzero.opinion() + 2048) >> 8
        before, after = self.columns[c - 1] if c else None, self.columns[c + 1]
        near = f % 4 + 4 * (after.flags % 4) + 64 * (row.flags % 4)
        if before:
            near += 16 * ((before.flags >> 1) % 4)
        if k > 1:
            u, place = 4 if k > 9 else 2, min(c % k, 9)
            local = 128 * place + 16 * min(row.inside, 7) + 8 * (row.flags >> u & 1) + f % 8
            lag, lags = 128 + 64 * place + 32 * (f % 2), (3, 1, 1 if k > 4096 else k, 2, 4)
        else:
            local = 256 * row.last + 64 * row.last_but_one + 16 * column.size + 4 * after.size
            local += before.size_before if before else 0
            lag, lags = 0, (1, 3, 2, g, g - 1, g + 1, 2 * g)
        lag += sum((self.mark(c, i) != 0) << bit for bit, i in enumerate(lags))
        rows = row.flags % 256 if self.special is None else 16 * self.special + z
        at = f, 16 * y + z, near, rows, local, lag
        chances = [column.nonzero, row.nonzero]
        chances += [table[place] for table, place in zip(self.flag_tables, at, strict=True)]
        bit = self.code.bit([chance.opinion() for chance in chances], self.flag_weights[z >> 1], 8)
        for chance in chances:
            chance.learn(bit)
        row.flags, column.flags = 2 * row.flags + bit, (2 * column.flags + bit) % 256
        row.inside += bit
        if before:
            before.size_before = row.last
        row.last_but_one = row.last
        if not bit:
            row.last = column.size = column.mark = 0
            row.far += 1
        return bit

    def side(self, c, column, e):
        row, t = self.row, clip(e >> 8, 8) + 8
        gap = sum(row.far >= least for least in (1, 3, 8))
        v = 5 if self.k > 9 else 3

        def m(i):
            return self.mark(c, i) + 1

        expected = t if self.special is None else 16 + self.special
        lag, near = 4 * m(self.g) + column.signs % 4, 9 * m(1) + 3 * m(v) + m(2)
        at = 4 * gap + row.signs % 4, column.signs, expected, lag, near
        chances = [column.negative, row.negative]
        chances += [table[place] for table, place in zip(self.sign_tables, at, strict=True)]
        opinions = [*(chance.opinion() for chance in chances), clip(-(e >> 2), 2047)]
        bit = self.code.bit(opinions, self.sign_weights[t], 10)
        for chance in chances:
            chance.learn(bit)
        column.signs = (4 * column.signs + (2 if bit else 1)) % 64
        row.signs = 2 * row.signs + bit
        column.mark, row.far = -1 if bit else 1, 0
        return bit

    def histories(self, c):
        a = min(-(-c // 16) * 16, self.taps)
        return [self.columns[c - a + i].history if c - a + i >= 0 else 0 for i in range(a)]

    def expected(self, c, column):
        return clip(sum(w * x for w, x in zip(column.weights, self.histories(c), strict=False)) >> 8, 16383)

    def which(self, r, c, column, e, first, stop):
        row, channel, code = self.row, c // self.k, self.code
        channel_scale = self.channels.get(channel, 0) if self.k > 1 else 0
        level = clip((row.scale + column.scale + self.whole + channel_scale) >> 8, 1000)
        up, down = power(level), power(-level)
        mean = 0 if self.spike else (column.mean >> 4) + (e * up >> 19)
        base, share = 0, 2**18
        if self.spike:
            base, share = 2**17 if first > self.b else 0, 2**17

        def bound(k):
            if k == first:
                return base
            if k == stop:
                return base + share
            more = 2 * self.latent.edge - self.n if self.spike and k > self.b else 0
            return self.latent.below((self.thresholds.threshold[k] - mean) * down >> 19) + k + more

        unit = code.width // share
        p = base + min(code.place // unit, share - 1)
        k = next(k for k in range(first, stop) if bound(k) <= p < bound(k + 1))
        code.take((bound(k) - base) * unit, (bound(k + 1) - bound(k)) * unit)
        middle = self.thresholds.middle[k]
        self.thresholds.count(k)
        off = middle - mean
        z = off * down >> 19
        gain = (5 * min(abs(z), 16384) >> 2) - 4096
        row.scale += (gain * (65536 // (min(c, 1023) + 16))) >> 12
        column.scale = clip(column.scale + ((gain * (65536 // min(r + 8, 400))) >> 12), 2**20)
        self.whole = clip(self.whole + (gain >> 6), 2**20)
        channel_scale += (gain * (65536 // min(r * self.k + 16, 1500))) >> 12
        self.channels[channel] = clip(channel_scale, 2**20)
        if self.spike:
            d = abs(middle)
            row.last = column.size = 1 if d < 1800 else 2 if d < 5200 else 3
            history = min(24 + (d >> 7), 127) * (-1 if k < self.b else 1)
            error = clip(history - (e >> 7), 127)
        else:
            column.mean = clip(column.mean + ((off * (65536 // min(r + 64, 400))) >> 12), 2**24)
            history, error = clip((z + e) >> 7, 127), clip(z >> 7, 127)
        if self.taps:
            for i, x in enumerate(self.histories(c)):
                grown = column.weights[i] + ((x * error + 2 ** (self.rate - 1)) >> self.rate)
                column.weights[i] = (grown + 2**15) % 2**16 - 2**15
        column.history = history
        return k


def decode(payload, alphabet, shape, base=None):
    """The symbols, C order; ``base`` are those of the base, for `context-delta`."""
    count = math.prod(shape)
    return Decoder(payload, alphabet, count, base).symbols() if count else []
