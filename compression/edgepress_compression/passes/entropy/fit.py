"""The last few bytes: integers that hardly are not zero become zero until the artifact fits."""

from __future__ import annotations

from collections.abc import Callable

from edgepress_compression.errors import RecipeError

_WIDEST = 20.0  # steps: nothing is left beyond it, but for weights that matter most
_QUESTIONS = 12


def narrowest(bytes_at: Callable[[float], int], target_bytes: int) -> float:
    """The least widening of the zero interval, in steps, at which the artifact has at most `target_bytes`.

    `bytes_at(widening)` falls as the interval is widened. Raises RecipeError, with what can be reached, where
    nothing fits.
    """
    if bytes_at(0.0) <= target_bytes:
        return 0.0
    low, high = 0.0, 0.25
    least = bytes_at(high)
    while least > target_bytes:
        low, high = high, 2 * high
        if high > _WIDEST:
            raise RecipeError(
                f"target_bytes = {target_bytes:,} cannot be reached: without nearly all of its weights "
                f"this model still takes {least:,} bytes. Ask for more than that."
            )
        least = bytes_at(high)
    for _ in range(_QUESTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if bytes_at(middle) <= target_bytes else (middle, high)
    return high
