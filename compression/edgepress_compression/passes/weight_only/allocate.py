"""Bits for each tensor: the least loss in all for the bits in all.

With one price of a bit every tensor takes the width whose loss and price are least together; the price is
found by halving (Shoham and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers"). That
leaves out divisions that no price finds, so then single tensors, and pairs of which one gives what the other
takes, change their widths as long as this saves something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_CHANGES = 200


def allocate(
    bits: Mapping[str, Sequence[float]], losses: Mapping[str, Sequence[float]], budget_bits: float
) -> dict[str, int]:
    """By tensor the number of the candidate to take; its bits and losses stand in the sequences.

    The least bits of every tensor are taken where even they exceed the budget.
    """
    low, high = 1e-30, 1e30
    chosen = _at(bits, losses, high)
    for _ in range(120):
        middle = (low * high) ** 0.5
        tried = _at(bits, losses, middle)
        if _total(bits, tried) <= budget_bits:
            high, chosen = middle, tried
        else:
            low = middle
    for _ in range(_CHANGES):
        change = _best_change(bits, losses, chosen, budget_bits - _total(bits, chosen))
        if not change:
            break
        chosen.update(change)
    return chosen


def _best_change(
    bits: Mapping[str, Sequence[float]],
    losses: Mapping[str, Sequence[float]],
    chosen: Mapping[str, int],
    left: float,
) -> dict[str, int]:
    """The new widths of one tensor or two that lower the loss most with `left` more bits; {} for none."""
    moves = [
        (losses[name][other] - losses[name][now], bits[name][other] - bits[name][now], name, other)
        for name, now in chosen.items()
        for other in range(len(bits[name]))
        if other != now
    ]
    least, best = -1e-12, {}
    lowering = [move for move in moves if move[0] < 0]
    paying = sorted((move for move in moves if move[1] < 0), key=lambda move: move[:2])
    for loss, more, name, other in lowering:
        if more <= left and loss < least:
            least, best = loss, {name: other}
        for price, given, payer, narrower in paying:
            if loss + price >= least:
                break  # those that follow cost more
            if payer != name and more + given <= left:
                least, best = loss + price, {name: other, payer: narrower}
                break
    return best


def _at(
    bits: Mapping[str, Sequence[float]], losses: Mapping[str, Sequence[float]], price: float
) -> dict[str, int]:
    return {
        name: min(
            range(len(bits[name])), key=lambda i: (losses[name][i] + price * bits[name][i], bits[name][i])
        )
        for name in bits
    }


def _total(bits: Mapping[str, Sequence[float]], chosen: Mapping[str, int]) -> float:
    return sum(bits[name][i] for name, i in chosen.items())
