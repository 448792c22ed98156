"""How fast a model is here beside the original, on a machine that does other things, too.

Both run in turns, on one thread, and the processor time of that thread counts: on a busy machine the wall
time of a run is mostly how often it was interrupted, which hits slow models more than fast ones (with 8
busy processes on 2 cores the same pair gave 0.29 to 0.50 of the original's wall time, and 0.44 to 0.45 of its
processor time). On an idle one both are the same. With several threads it is wall time, of which the fastest
tenth counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from edgepress_compression.evaluate import open_session, run

MIDDLE: Final = 0.5  # quantile of processor times
FASTEST: Final = 0.1  # and of wall times
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
    clock = time.thread_time_ns if threads == 1 else time.perf_counter_ns
    times_ns: tuple[list[int], list[int]] = ([], [])
    end = time.monotonic() + seconds
    while len(times_ns[0]) < _LEAST_RUNS or time.monotonic() < end:
        check()
        for session, times in zip(sessions, times_ns, strict=True):
            start = clock()
            run(session, feed)
            times.append(clock() - start)
    share = MIDDLE if threads == 1 else FASTEST
    first, second = (float(np.quantile(times, share)) / 1000 for times in times_ns)
    return first, second
