"""Symbols as intervals of a latent value: the part of the coder `context` that says which symbol comes.

Latent values are in 1/4096 standard deviations, -32768 .. 32767. Cumulative frequencies go up to 2^18; each
symbol adds 1 to them, the distribution shares the rest. In a spike walk the symbols below the background
share the lower half, those above it the upper half, and the background has no part.
"""

from typing import Final

from edgepress_compression.codec.context_tables import EXP2

SCALE: Final = 18  # bits of a cumulative frequency
_HALF: Final = 1 << (SCALE - 1)
_SMOOTH: Final = 2000  # symbols that the neighbours' counts stand for
_FIRST: Final = 50  # symbols that the head's centre and spread stand for
_MANY: Final = 1 << 26  # counts are halved here


def _fall(t: int) -> int:
    """2^(30 - t / 256), a little less at its steps."""
    return EXP2[255 - (t & 255)] << 15 >> (t >> 8) >> 1 if t < 7680 else 0


def _density(a: int, family: int) -> int:
    """Of a latent value a / 32 from 0."""
    normal = _fall(a * a * 11819 >> 16)  # exp(-z^2 / 2)
    t = a * 10056 >> 10
    o = EXP2[t & 255] << (t >> 8)
    logistic = (1 << 62) // (o + (1 << 30) // o) ** 2
    laplace = _fall(a * 44 // 3)
    mixed = (normal, (normal + 2 * logistic) // 3, logistic, (2 * logistic + laplace) // 3)
    return 4096 + mixed[family]


class Latent:
    """Where each symbol lies, as learned so far."""

    def __init__(
        self, symbols: int, background: int, centre: int, spread: int, family: int, *, spike: bool
    ) -> None:
        self.symbols, self.background, self.spike = symbols, background, spike
        self.reserve = max(background, symbols - 1 - background) if spike else (symbols + 1) // 2
        self.counts = [0] * symbols
        self._half = _HALF - self.reserve
        self._cumulate(family)
        self._prior = [0] * symbols
        for k in range(symbols):
            if k != background:
                upper, lower = (
                    self.below(_toward_zero((16 * k + d - centre) * 4096, spread)) for d in (8, -8)
                )
                self._prior[k] = upper - lower + 1
        self.threshold = [0] * symbols + [32768]
        self.middle = [0] * symbols
        self.rebuild()

    def _cumulate(self, family: int) -> None:
        density = [_density(2 * j + 1, family) for j in range(127, -1, -1)]
        lower, running = [], 0
        for d in density:
            lower.append(running * self._half // sum(density))
            running += d
        upper = [2 * self._half - p for p in reversed(lower)]
        self._below = [*lower, self._half, *upper, upper[-1]]  # at -8, -8 + 1/16, ..

    def below(self, z: int) -> int:
        """The cumulative frequency of latent values below z / 4096, without the symbols' own."""
        at = min(max(z, -32768), 32767) + 32768
        a, b = self._below[at >> 8], self._below[(at >> 8) + 1]
        return a + ((b - a) * (at & 255) >> 8)

    def rebuild(self) -> None:
        """Learns thresholds and middles from the counts, smoothed over neighbours while there are few."""
        if sum(self.counts) >= _MANY:
            self.counts = [count >> 1 for count in self.counts]
        background, symbols = self.background, self.symbols
        weight = self._weights()
        if self.spike:
            sides = (range(background), range(background + 1, symbols))
            parts = [(sides[0], 0, self._half << 4), (sides[1], self._half << 4, self._half << 4)]
            self.threshold[background] = self.middle[background] = 0
        else:
            weight[background] = ((2 * self.counts[background] + 1) << 15) + 1
            if not any(self.counts) and symbols > 1:
                weight[background] = weight[background - 1 if background else 1]
            parts = [(range(symbols), 0, self._half << 5)]
        for part, base, share in parts:
            running, whole = 0, sum(weight[k] for k in part)
            for k in part:
                middle = running + weight[k] // 2
                self.threshold[k] = self._quantile(base + ((running << 18) // whole * share >> 18))
                self.middle[k] = self._quantile(base + ((middle << 18) // whole * share >> 18))
                running += weight[k]

    def _weights(self) -> list[int]:
        """Each symbol's share, the background's 0."""
        counts, others = self.counts, sum(self.counts) - self.counts[self.background]
        prior_sum = sum(self._prior)
        weight = [0] * self.symbols
        for k in range(self.symbols):
            if k == self.background:
                continue
            near = shares = 0
            for j in range(max(k - 2, 0), min(k + 3, self.symbols)):
                if j != self.background:
                    near += (3 - abs(j - k)) * counts[j]
                    shares += 3 - abs(j - k)
            smooth = (near << 16) // shares + (_FIRST << 16) * self._prior[k] // prior_sum
            weight[k] = (counts[k] << 16) + _SMOOTH * smooth // (others + _FIRST) + 1
        return weight

    def _quantile(self, part: int) -> int:
        """The latent value below which ``part`` / 16 of the cumulative frequencies lie."""
        low, high = 0, 255  # the last of the table at or below the part
        while low < high:
            between = (low + high + 1) // 2
            if self._below[between] << 4 <= part:
                low = between
            else:
                high = between - 1
        start, width = self._below[low] << 4, (self._below[low + 1] - self._below[low]) << 4
        inside = ((part - start) << 8) // width if part > start and width else 0
        return low * 256 + min(inside, 255) - 32768


def _toward_zero(value: int, by: int) -> int:
    return value // by if value >= 0 else -(-value // by)
