"""Requests that wait for the collector: first come, first sent; bounded, the oldest goes when it is full.

Totals are cumulative, so a request that was dropped costs points in time and no counts.

    sent --taken or refused--> next, at once
         --to be tried again-> the same, after a pause: PAUSE_S, doubled each time up to PAUSE_MAX_S, with
                               jitter; or what the collector asked for
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Final

from edgepress_server.ecosystem.otlp_answer import Outcome

LINE_MAX_BYTES: Final = 32 << 20
PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0


@dataclass(frozen=True)
class Request:
    body: bytes  # compressed
    points: int


class Line:
    """Times are seconds of one clock that only grows. Not shared between threads."""

    def __init__(self, max_bytes: int = LINE_MAX_BYTES, draw: random.Random | None = None) -> None:
        self._waiting: deque[Request] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._pause_s = PAUSE_S
        self._draw = draw or random.Random()  # noqa: S311 - jitter
        self.due_s = 0.0  # not before
        self.sent_points = self.rejected_points = self.dropped_points = self.refused_points = 0
        self.trouble = ""  # of the newest try, for people

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def put(self, request: Request) -> None:
        self._waiting.append(request)
        self._bytes += len(request.body)
        while self._bytes > self._max_bytes and len(self._waiting) > 1:
            self.dropped_points += self._take().points

    def next(self, now_s: float) -> Request | None:
        """What is to be sent now; it stays in line until `settle`."""
        return self._waiting[0] if self._waiting and now_s >= self.due_s else None

    def settle(self, outcome: Outcome, now_s: float) -> None:
        """Of the request that `next` gave."""
        self.trouble = outcome.saying
        if outcome.try_again:
            wait_s = (
                self._pause_s * self._draw.uniform(0.5, 1.0) if outcome.after_s is None else outcome.after_s
            )
            self.due_s = now_s + wait_s
            self._pause_s = min(PAUSE_MAX_S, 2 * self._pause_s)
            return
        self._pause_s = PAUSE_S
        points = self._take().points
        if outcome.taken:
            self.rejected_points += min(points, outcome.rejected)
            self.sent_points += points - min(points, outcome.rejected)
        else:
            self.refused_points += points

    def _take(self) -> Request:
        request = self._waiting.popleft()
        self._bytes -= len(request.body)
        return request
