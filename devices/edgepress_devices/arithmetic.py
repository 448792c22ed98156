"""The arithmetic beside a derived number of a profile, computed again so that the two cannot drift apart."""

import re

_FACTOR = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)")


def evaluate_arithmetic(text: str) -> float:
    """``"4 cores x 1.5 GHz x 8 FLOP/cycle"`` -> 48.0.

    Products (`` x ``) and quotients (`` / ``) bind before sums (`` + ``), as usual; what follows a number up
    to the next sign is its unit.

    Raises ValueError where a factor does not start with a number, or divides by zero.
    """
    total = 0.0
    for term in text.split(" + "):
        product = 1.0
        for part in re.split(r"(?= x | / )", term):
            divide = part.startswith(" / ")
            match = _FACTOR.match(part[3:] if part.startswith((" x ", " / ")) else part)
            if match is None:
                raise ValueError(f"{part.strip()!r} does not start with a number")
            factor = float(match[1])
            if divide and factor == 0.0:
                raise ValueError(f"{part.strip()!r} divides by zero")
            product = product / factor if divide else product * factor
        total += product
    return total
