"""One process's part in a search that several may share: trials until nothing is left, then the last of them
makes the best one.

This imports torch: for child processes only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edgepress_compression.compress import Progress
from edgepress_compression.data.dataset import Dataset
from edgepress_compression.errors import BudgetError, CompressionCancelledError
from edgepress_compression.search.budget import Budget
from edgepress_compression.search.evaluate import Evaluator
from edgepress_compression.search.log import TrialLog
from edgepress_compression.search.search import Limits, MeasureOnDevice, search, work
from edgepress_compression.search.trial import SearchResult
from edgepress_devices.profile import DeviceProfile


def take_part(
    source: Path,
    profile: DeviceProfile,
    dataset: Dataset | None,
    budget: Budget,
    *,
    log: TrialLog,
    seconds: float,
    trials: int | None,
    seed: int,
    shared: bool,
    is_last: Callable[[], bool],
    progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
    measure_on_device: MeasureOnDevice | None,
) -> SearchResult | None:
    """The search's result; None where others are at it still. Raises as `search`."""
    if shared:
        if dataset is None and budget.max_drop is not None:
            raise BudgetError(
                "max_drop", "How much accuracy is lost can only be said on data: give a data set."
            )
        bench = Evaluator(source, profile, dataset, budget, seed=seed)
        limits = Limits(time.monotonic() + seconds, seconds, trials, cancelled)
        work(bench, log, limits, seconds=seconds, progress=progress)
        if cancelled():
            raise CompressionCancelledError()
        if not is_last():
            return None
        seconds = 0.0  # nothing is begun any more: what is known is weighed, and the best one made
    return search(
        source,
        profile,
        dataset,
        budget,
        log=log,
        seconds=seconds,
        trials=trials,
        seed=seed,
        progress=progress,
        cancelled=cancelled,
        measure_on_device=measure_on_device,
    )
