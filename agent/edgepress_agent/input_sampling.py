"""Chooses a few inputs to send, where the privacy policy lets this device: by default none ever leaves it.

Rules
-----
1. The policy comes in the signed want and ends with it. Whoever owns the device can forbid sampling for good
   (`edgepress-agent limits --inputs never`), which no server can undo; a file of limits that cannot be read
   forbids, too.
2. The hour is cut into slots: as many as inputs are allowed, at most 60. Of the requests of a slot each is
   chosen with the same chance (reservoir sampling: Vitter 1985, Algorithm R), and sent when the slot is over.
   So at most ``per_hour`` leave in an hour of the clock; the slot in which the agent started, or the policy
   changed, is left out.
3. With a limit on confidence only requests below it take part. That needs an artifact with a baseline.
4. Of a request one sample of the model's first input is sent, whole or not at all: what has more than 24,000
   bytes after zlib is not.
5. When the policy ends, what waits is dropped.
"""

import logging
import random
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgepress_agent.runtime import Arrays
from edgepress_devices.model_messages import INPUT_MAX_BYTES
from edgepress_devices.protocol import InputSample, Sampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress_agent.sketch import Said, Sketch

SLOTS_MAX: Final = 60
HOUR_MS: Final = 3_600_000
HELD_MAX_BYTES: Final = 4 << 20  # of all that a slot keeps until it is over
_ZLIB_LEVEL: Final = 6
_NAME_MAX_CHARS: Final = 500  # the wire's
NOTHING: Final = Sampling()
_RANDOM: Final = random.SystemRandom()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    at_ms: int
    name: str
    array: "NDArray[Any]"
    said: "Said | None"


class InputSampler:
    """From any thread. ``allowed()``: whether the owner of this device lets inputs out; ``withdrawn()`` is
    called once when they may not leave any more; ``clock_ms`` is Unix time.
    """

    def __init__(
        self,
        allowed: Callable[[], bool],
        withdrawn: Callable[[], None] = lambda: None,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        draw: Callable[[int], int] = _RANDOM.randrange,
    ) -> None:
        self._allowed = allowed
        self._withdrawn = withdrawn
        self._said_withdrawn = False
        self._clock_ms = clock_ms
        self._draw = draw
        self._lock = threading.Lock()
        self._policy = NOTHING
        self._until_ms = 0
        self._artifact: str | None = None
        self._first_slot = 0  # number of the first slot that is sampled, counted from 1970
        self._slot = 0
        self._seen = 0
        self._kept: list[_Kept] = []
        self._ready: list[_Kept] = []
        self._said_large = False

    def set_policy(self, policy: Sampling, until_ms: int) -> None:
        """What the newest want says, good until then (Unix ms)."""
        with self._lock:
            if policy != self._policy:
                self._policy = policy
                self._drop()
            self._until_ms = until_ms
        self._tell()

    def follow(self, artifact: str | None) -> None:
        """Requests from here on are answered by this artifact."""
        with self._lock:
            self._artifact = artifact
            self._said_large = False
            self._drop()

    def offer(
        self,
        artifact: str,
        feeds: "Mapping[str, NDArray[Any]]",
        results: Arrays,
        sketch: "Sketch | None",
    ) -> None:
        """A request that this artifact answered."""
        if not self._policy.per_hour:  # without the lock: nearly always, and it costs nothing
            return
        with self._lock:
            policy, now_ms = self._policy, self._clock_ms()
            if artifact != self._artifact or not self._is_allowed(now_ms) or not self._turn_slot(now_ms):
                return
            name = next(iter(feeds))
            array = feeds[name]
            if not array.ndim or not len(array):
                return
            row = self._seen % len(array)
            said = None if sketch is None else sketch.said(results, row)
            below = policy.low_confidence_percent
            if below and (said is None or said.confidence * 100 >= below):
                return
            self._seen += 1
            place = self._seen - 1
            room = self._size()
            if place >= room:
                place = self._draw(self._seen)
                if place >= room:
                    return
            one = array[row : row + 1]
            if one.nbytes > HELD_MAX_BYTES // room:
                self._too_large(one.nbytes)
                return
            kept = _Kept(now_ms, name, one.copy(), said)
            if place < len(self._kept):
                self._kept[place] = kept
            else:
                self._kept.append(kept)

    def take(self) -> list[InputSample]:
        """What is to be sent now; each is given once."""
        self._tell()
        with self._lock:
            now_ms = self._clock_ms()
            if not self._is_allowed(now_ms):
                return []
            self._turn_slot(now_ms)
            ready, self._ready = self._ready, []
            artifact, policy = self._artifact, self._policy
        if not ready or artifact is None:
            return []
        why = "low confidence" if policy.low_confidence_percent else "random"
        samples = [_message(kept, artifact, why) for kept in ready]
        for sample in samples:
            if len(sample.data) > INPUT_MAX_BYTES:
                self._too_large(len(sample.data))
        return [sample for sample in samples if len(sample.data) <= INPUT_MAX_BYTES]

    def _tell(self) -> None:
        """Nothing may leave now: that is said once, so that what waits to be sent is dropped, too."""
        with self._lock:
            allowed = self._is_allowed(self._clock_ms())
            news = not allowed and not self._said_withdrawn
            self._said_withdrawn = not allowed
        if news:
            self._withdrawn()

    def _is_allowed(self, now_ms: int) -> bool:
        """With the lock."""
        if self._policy.per_hour and now_ms < self._until_ms and self._allowed():
            return True
        self._drop()
        return False

    def _turn_slot(self, now_ms: int) -> bool:
        """Whether the slot of this moment is sampled; one that is over gives what it kept. With the lock."""
        slots = min(self._policy.per_hour, SLOTS_MAX)
        number = now_ms * slots // HOUR_MS
        if not self._first_slot:
            self._first_slot = number + 1
        if number > self._slot:  # a clock that went back does not open a slot again
            self._ready += self._kept
            self._slot, self._seen, self._kept = number, 0, []
        return number >= self._first_slot and number == self._slot

    def _size(self) -> int:
        """How many the slot may give: all slots of an hour together ``per_hour``."""
        slots = min(self._policy.per_hour, SLOTS_MAX)
        number, per_hour = self._slot % slots, self._policy.per_hour
        return (number + 1) * per_hour // slots - number * per_hour // slots

    def _drop(self) -> None:
        self._kept, self._ready = [], []
        self._seen = self._slot = self._first_slot = 0

    def _too_large(self, size_bytes: int) -> None:
        if not self._said_large:
            log.warning(
                "an input of %s bytes is too large to be sampled (at most %s after zlib)",
                size_bytes,
                INPUT_MAX_BYTES,
            )
        self._said_large = True


def _message(kept: _Kept, artifact: str, why: str) -> InputSample:
    import numpy as np

    array = np.ascontiguousarray(kept.array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return InputSample(
        at_ms=kept.at_ms,
        artifact=artifact,
        why=why,
        name=kept.name[:_NAME_MAX_CHARS],
        dtype=array.dtype.name,
        shape=list(array.shape),
        data=zlib.compress(little.tobytes(), _ZLIB_LEVEL),
        label=None if kept.said is None else kept.said.label,
        confidence=None if kept.said is None else kept.said.confidence,
    )
