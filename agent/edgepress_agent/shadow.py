"""Shadow mode: a model in trial answers live requests too, unseen, and is compared with the one that answers.

Rules
-----
1. The old model answers every request, as always. What it was asked and what it said goes into a short queue,
   by reference; where the queue is full the request is not compared. Nobody ever waits.
2. One thread of the lowest priority takes from the queue, runs the new model and compares. It rests after
   each comparison for three times as long as that took: it has at most a quarter of one core.
3. The same answer, output by output of those that were asked for: shapes are equal, and
     - floating point with at most two axes, the last of them longer than 1 (scores of classes, one row a
       sample): the largest score is at the same place in every row;
     - other floating point: ``|new - old| <= atol + rtol * |old|`` everywhere, with the tolerances of the new
       artifact's probe; NaN is like nothing;
     - integers and booleans: equal.
   A model that cannot run on the request does not give the same answer.
4. It is over after ``Shadow.seconds``, or when ``Shadow.requests`` were compared. Then ``verdict`` judges.
"""

import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgepress_agent.errors import ModelRefusedError
from edgepress_agent.runtime import Arrays, Model
from edgepress_devices.protocol import Shadow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Item = tuple[Mapping[str, NDArray[Any]], Arrays, int]  # asked, answered, bytes of both

QUEUE_REQUESTS: Final = 4
QUEUE_MAX_BYTES: Final = 32 << 20
REST: Final = 3.0  # times as long as a comparison took
_LOWEST_PRIORITY: Final = 19
_REST_MAX_S: Final = 60.0


@dataclass(frozen=True)
class Tally:
    """How far a shadow run is."""

    requests: int = 0  # compared
    agreed: int = 0  # of them, with the same answer
    dropped: int = 0  # not compared: the queue was full
    over: bool = False
    trouble: str | None = None  # the first request that the new model could not run on


def verdict(shadow: Shadow, tally: Tally) -> str | None:
    """None where the model passed, else why not, with the figures."""
    if tally.requests < shadow.min_requests:
        return (
            f"in shadow only {tally.requests} requests could be compared in {shadow.seconds} s, the rollout"
            f" asks for {shadow.min_requests}"
        )
    if tally.agreed * 1_000_000 < shadow.min_agreement_ppm * tally.requests:
        share = f"{tally.agreed} of {tally.requests} requests ({100 * tally.agreed / tally.requests:.4g} %)"
        why = f"; it failed with: {tally.trouble}" if tally.trouble else ""
        asked = f"{shadow.min_agreement_ppm / 10_000:.4g} %"
        return (
            f"in shadow it gave the same answer as the old model to {share}, the rollout asks for"
            f" {asked}{why}"
        )
    return None


class ShadowRun:
    """One run, from here to ``stop``; it starts at once. Not to be started again."""

    def __init__(self, old: Model, new: Model, shadow: Shadow, *, rtol: float, atol: float) -> None:
        self._old = old
        self._new = new
        self._shadow = shadow
        self._rtol, self._atol = rtol, atol
        self._queue: queue.Queue[_Item | None] = queue.Queue(QUEUE_REQUESTS)  # None = end
        self._lock = threading.Lock()
        self._queued_bytes = 0
        self._requests = self._agreed = self._dropped = 0
        self._trouble: str | None = None
        self._until_s = time.monotonic() + shadow.seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()
        old.add_tap(self._offer)

    def tally(self) -> Tally:
        with self._lock:
            counted = self._requests, self._agreed, self._dropped
            trouble = self._trouble
        over = counted[0] >= self._shadow.requests or time.monotonic() >= self._until_s
        return Tally(*counted, over=over, trouble=trouble)

    def stop(self) -> None:
        """No request goes to the new model from here on; one that is under way there is waited for."""
        self._old.remove_tap(self._offer)
        self._ended.set()
        try:
            self._queue.put_nowait(None)  # wakes the thread where it waits; a full queue does so too
        except queue.Full:
            pass
        self._thread.join()

    def _offer(self, feeds: "Mapping[str, NDArray[Any]]", results: Arrays) -> None:
        """On a request's thread: never waits."""
        size_bytes = sum(array.nbytes for array in (*feeds.values(), *results.values()))
        with self._lock:
            fits = self._queued_bytes + size_bytes <= QUEUE_MAX_BYTES
            try:
                if fits:
                    self._queue.put_nowait((feeds, results, size_bytes))
                    self._queued_bytes += size_bytes
                    return
            except queue.Full:
                pass  # it is slower than what comes: a sample of the requests is compared
            self._dropped += 1

    def _run(self) -> None:
        _lower_priority()
        while not self._ended.is_set():
            item = self._queue.get()
            if item is None or self._ended.is_set():
                return
            feeds, results, size_bytes = item
            began_s = time.monotonic()
            same, trouble = self._compare(feeds, results)
            with self._lock:
                self._queued_bytes -= size_bytes
                self._requests += 1
                self._agreed += same
                self._trouble = self._trouble or trouble
                enough = self._requests >= self._shadow.requests
            del item, feeds, results
            if enough:
                self._old.remove_tap(self._offer)
                return
            self._ended.wait(min(_REST_MAX_S, REST * (time.monotonic() - began_s)))

    def _compare(self, feeds: "Mapping[str, NDArray[Any]]", results: Arrays) -> tuple[bool, str | None]:
        try:
            answers = self._new.run_beside(feeds, list(results))
        except ModelRefusedError as error:
            return False, str(error)
        return same_answer(results, answers, rtol=self._rtol, atol=self._atol), None


def same_answer(old: Arrays, new: Arrays, *, rtol: float, atol: float) -> bool:
    """Whether two models' outputs, arrays by name, say the same: rule 3 of the module's head."""
    return all(name in new and _same(values, new[name], rtol=rtol, atol=atol) for name, values in old.items())


def _same(old: "NDArray[Any]", new: "NDArray[Any]", *, rtol: float, atol: float) -> bool:
    import numpy as np

    if old.shape != new.shape:
        return False
    if old.dtype.kind != "f" or new.dtype.kind != "f":
        return bool(np.array_equal(old, new))
    if 1 <= old.ndim <= 2 and old.shape[-1] > 1:
        if np.isnan(old).any() or np.isnan(new).any():
            return False
        return bool((old.argmax(axis=-1) == new.argmax(axis=-1)).all())
    wide_old, wide_new = old.astype(np.float64), new.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinities: their difference is no number, and not within
        near = np.abs(wide_new - wide_old) <= atol + rtol * np.abs(wide_old)
    return bool((near | (wide_old == wide_new)).all())


def _lower_priority() -> None:
    """Of this thread alone, where the system can (Linux): its model's own threads keep theirs."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    except OSError:
        pass  # then resting alone keeps it out of the way
