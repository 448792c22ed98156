"""How fast a model is here beside the original, on a machine that does other things, too.

Both run in turns. Of each the fastest tenth counts: what takes longer is interrupted more often, so on a busy
machine medians make slow models look slower than they are, and fast ones faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from edgepress_compression.evaluate import open_session, run

FASTEST: Final = 0.1  # quantile
_WARM_UP: Final = 3
_LEAST_RUNS: Final = 20


def undisturbed_us(
    before: bytes,
    after: bytes,
    feed: Mapping[str, np.ndarray],
    *,
    threads: int,
    seconds: float,
    check: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """(the original's, the other's) microseconds of a run. `check` is called once a round and may raise."""
    sessions = [open_session(model, threads=threads) for model in (before, after)]
    for session in sessions:
        for _ in range(_WARM_UP):
            run(session, feed)
    times_ns: tuple[list[int], list[int]] = ([], [])
    end = time.monotonic() + seconds
    while len(times_ns[0]) < _LEAST_RUNS or time.monotonic() < end:
        check()
        for session, times in zip(sessions, times_ns, strict=True):
            start = time.perf_counter_ns()
            run(session, feed)
            times.append(time.perf_counter_ns() - start)
    first, second = (float(np.quantile(times, FASTEST)) / 1000 for times in times_ns)
    return first, second
