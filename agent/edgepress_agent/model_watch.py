"""Watches the model that answers: what comes and what it says, for drift figures and for sampled inputs.

``follow`` is told which model answers; from there on every request passes by here (``Model.add_tap``). A
request is never changed, never waits for another one here (whoever finds the sketch in use goes by uncounted)
and never fails because of what is done here.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from edgepress_agent.drift import is_due, model_stats
from edgepress_agent.input_sampling import InputSampler
from edgepress_agent.model_engine import Beside
from edgepress_agent.runtime import Arrays, Model, Tap
from edgepress_agent.sketch import Sketch
from edgepress_devices.protocol import ModelStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress_compression.artifact.baseline import Baseline

log = logging.getLogger(__name__)


class ModelWatch:
    """``sampler`` None: no input is ever sampled. ``clock_ms`` is monotonic."""

    def __init__(
        self,
        sampler: InputSampler | None = None,
        *,
        clock_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        cost_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """``cost_ns`` measures what looking at requests costs; see Sketch."""
        self._sampler = sampler
        self._clock_ms = clock_ms
        self._cost_ns = cost_ns
        self._turn = threading.Lock()  # of the sketch
        self._lock = threading.Lock()  # of the fields below
        self._model: Model | None = None
        self._sketch: Sketch | None = None
        self._tap: Tap = partial(self._look, None, None)
        self._since_ms = clock_ms()
        self._shadow: Beside | None = None
        self._told = (0, 0)  # compared and agreed of this shadow run, already told
        self._failed = False

    def follow(self, model: Model | None, baseline: "Baseline | None" = None) -> None:
        """``model`` answers from here on. What was counted of the one before is dropped: it has no sample to
        go with any more."""
        sketch = None if baseline is None else Sketch(baseline, clock_ns=self._cost_ns)
        tap = partial(self._look, model, sketch)  # a late request of the model before goes to its own sketch
        if model is not None and baseline is None:
            log.info("the artifact of %s has no baseline: its drift cannot be told", model.name)
        with self._lock:
            before, self._model = self._model, model
            old_tap, self._tap = self._tap, tap
            self._shadow, self._failed = None, False
            self._since_ms = self._clock_ms()
            with self._turn:
                self._sketch = sketch
        if before is not None:
            before.remove_tap(old_tap)
        if self._sampler is not None:
            self._sampler.follow(None if model is None else model.digest)
        if model is not None and (sketch is not None or self._sampler is not None):
            model.add_tap(tap)

    def shadow(self, run: Beside | None) -> None:
        """A model in trial answers beside the one that is watched."""
        with self._lock:
            self._shadow, self._told = run, (0, 0)

    def model_stats(self) -> ModelStats | None:
        """What there is to tell since the last time; None: nothing, or not enough yet."""
        with self._lock:
            now_ms = self._clock_ms()
            window_ms = now_ms - self._since_ms
            stats = self._counted(window_ms)
            compared, agreed = self._compared()
            if compared:
                stats = stats or ModelStats(window_ms, 0)
                stats.compared, stats.agreed = compared, agreed
            return stats

    def _counted(self, window_ms: int) -> ModelStats | None:
        with self._turn:
            sketch = self._sketch
            if sketch is None or not is_due(sketch.window, window_ms):
                return None
            window = sketch.take()
        self._since_ms += window_ms
        return model_stats(sketch.baseline, window, window_ms)

    def _compared(self) -> tuple[int, int]:
        """(compared, agreed) since the last time."""
        if self._shadow is None:
            return 0, 0
        tally = self._shadow.tally()
        before, self._told = self._told, (tally.requests, tally.agreed)
        return self._told[0] - before[0], self._told[1] - before[1]

    def _look(
        self,
        model: Model | None,
        sketch: Sketch | None,
        feeds: "Mapping[str, NDArray[Any]]",
        results: Arrays,
    ) -> None:
        """On a request's thread."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            if sketch is not None and model is not None:
                sketch.offer(feeds, results, model.meter.last_us)
            if self._sampler is not None and model is not None:
                self._sampler.offer(model.digest, feeds, results, sketch)
        except (
            ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError,
        ) as error:  # fmt: skip
            # The baseline is of another input than this one: the answer is given all the same.
            if not self._failed:
                log.warning("a request cannot be looked at for drift: %s", error)
            self._failed = True
        finally:
            self._turn.release()
