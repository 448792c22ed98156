"""Answers that are kept for a moment: ten people who look at one page ask one question."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from edgepress_server.errors import StoreError
from edgepress_server.telemetry_query.engine import Engine
from edgepress_server.telemetry_query.query import Query, Result

KEPT_S: Final = 10.0
KEPT_MAX: Final = 64
SLOW_S: Final = 0.1  # what is answered faster is not kept: it is read anew each time
AT_ONCE: Final = 2  # questions that read the store at a time; more would only take each other's memory
WAIT_S: Final = 30.0


@dataclass(frozen=True)
class Answered:
    result: Result
    age_s: float


class Answers:
    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Query, tuple[float, Result]] = OrderedDict()
        self._seats = threading.BoundedSemaphore(AT_ONCE)

    def ask(self, query: Query) -> Answered:
        """Raises InvalidInputError, and StoreError when too many ask at once."""
        made = self._engine.plan(query)
        key = replace(query, from_ms=made.from_ms, to_ms=made.to_ms, step_ms=made.step_ms)
        if (kept := self._find(key)) is not None:
            return kept
        if not self._seats.acquire(timeout=WAIT_S):
            raise StoreError(
                "query_busy",
                "Too many questions are being worked out. Try again in a moment, or ask for less.",
            )
        try:
            if (kept := self._find(key)) is not None:  # somebody asked the same while this one waited
                return kept
            begun = self._clock()
            result = self._engine.ask(query)
            now = self._clock()
        finally:
            self._seats.release()
        if now - begun >= SLOW_S:
            with self._lock:
                self._kept[key] = (now, result)
                self._kept.move_to_end(key)
                while len(self._kept) > KEPT_MAX:
                    self._kept.popitem(last=False)
        return Answered(result, 0.0)

    def _find(self, key: Query) -> Answered | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            age_s = self._clock() - kept[0]
            if age_s > KEPT_S:
                del self._kept[key]
                return None
            return Answered(kept[1], age_s)
