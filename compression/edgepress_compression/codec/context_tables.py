"""The number tables of the coder `context`, made by whole numbers only."""

from typing import Final


def _exp2() -> tuple[int, ...]:
    values, x = [], 1 << 62
    for _ in range(256):
        values.append((x + (1 << 46)) >> 47)
        x = (x >> 31) * 2153306067  # 2^31 * 2^(1/256)
    return tuple(values)


EXP2: Final = _exp2()  # 2^15 * 2^(i / 256)


def power(t: int) -> int:
    """2^(19 + t / 256), for |t| <= 1024."""
    return EXP2[t & 255] << (4 + (t >> 8))


def _squash() -> tuple[int, ...]:
    upper = []
    for s in range(2048):
        odds = EXP2[2 * s & 255] << (2 * s >> 8)
        upper.append(min(65536 - (1 << 31) // (odds + 32768), 65516))
    lower = [65536 - p for p in upper[:0:-1]]
    return (lower[0], *lower, *upper)


SQUASH: Final = _squash()  # [2048 + s]: the chance, of 65536, whose log2 odds are s / 128; -2047 <= s < 2048


def _stretch() -> tuple[int, ...]:
    values: list[int] = []
    for s in range(-2047, 2048):
        values += [s] * ((SQUASH[2048 + s] >> 4) + 1 - len(values))
    return tuple(values + [2047] * (4096 - len(values)))


STRETCH: Final = _stretch()  # of a chance of 4096: the log2 odds / 128
LEARN: Final = tuple(655360 // (10 * n + 16) for n in range(1024))  # 2^16 / (n + 1.6)
ROW_RATE: Final = tuple(65536 // (n + 16) for n in range(1024))
