"""The last few bytes: the weights that matter least become zero until the artifact fits."""

from __future__ import annotations

from collections.abc import Callable

from edgepress_compression.errors import RecipeError

_FIRST = 0.005  # of the weights that are not zero
_QUESTIONS = 12


def fewest_zeroed(bytes_at: Callable[[float], int], target_bytes: int) -> float:
    """The least fraction of the nonzero weights, 0..1, without which the artifact has at most `target_bytes`.

    `bytes_at(fraction)` falls as more are zeroed. Raises RecipeError, with what can be reached, where
    nothing fits.
    """
    if bytes_at(0.0) <= target_bytes:
        return 0.0
    low, high = 0.0, _FIRST
    least = bytes_at(high)
    while least > target_bytes:
        if high >= 1.0:
            raise RecipeError(
                f"target_bytes = {target_bytes:,} cannot be reached: without any of its weights this model "
                f"still takes {least:,} bytes. Ask for more than that."
            )
        low, high = high, min(2 * high, 1.0)
        least = bytes_at(high)
    for _ in range(_QUESTIONS):
        if high - low < _FIRST / 10:
            break
        middle = (low + high) / 2
        low, high = (low, middle) if bytes_at(middle) <= target_bytes else (middle, high)
    return high
