"""What a model did: requests answered and failed, and how long each stage of them took."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import ErrorKinds, Histogram

ErrorKind = Literal["input", "runtime", "timeout", "busy"]  # the fields of ErrorKinds, which explains them


@dataclass(frozen=True)
class Counted:
    """Of one model, since it was last asked. Histograms in microseconds; None = nothing of the kind."""

    artifact: str
    inferences: int = 0
    error_kinds: ErrorKinds | None = None  # None: nothing failed
    latency_us: Histogram | None = None  # the inference alone
    queue_us: Histogram | None = None
    pre_us: Histogram | None = None
    post_us: Histogram | None = None

    @property
    def errors(self) -> int:
        kinds = self.error_kinds
        return 0 if kinds is None else kinds.input + kinds.runtime + kinds.timeout + kinds.busy

    @property
    def nothing(self) -> bool:
        return not (self.inferences or self.error_kinds or self.pre_us or self.queue_us or self.post_us)


class Meter:
    """From any thread."""

    def __init__(self) -> None:
        self.ever = 0  # inferences that no ``take`` resets
        self.errors_ever = 0  # failures of requests that reached the runtime
        self.kinds_ever = ErrorKinds()
        self.pending = 0  # requests that are under way: in the queue, running, being written
        self.last_us = 0.0  # of the newest inference
        self.pre_us = LatencyRecorder()
        self.queue_us = LatencyRecorder()
        self.post_us = LatencyRecorder()
        self._latency_us = LatencyRecorder()
        self._inferences = 0
        self._kinds = ErrorKinds()
        self.lock = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around a request: a model that was switched away from is asked as long as some are under way."""
        with self.lock:
            self.pending += 1
        try:
            yield
        finally:
            with self.lock:
                self.pending -= 1

    def answered(self, latency_us: float) -> None:
        """One more inference."""
        with self.lock:
            self._inferences += 1
            self.ever += 1
            self.last_us = latency_us
            self._latency_us.record(latency_us)

    def failed(self, kind: ErrorKind, *, reached_runtime: bool = False) -> None:
        """One request got no answer; it is counted under one kind only."""
        with self.lock:
            for kinds in (self._kinds, self.kinds_ever):
                setattr(kinds, kind, getattr(kinds, kind) + 1)
            self.errors_ever += reached_runtime

    def take(self, artifact: str) -> Counted:
        """What was counted since the last time; it begins again."""
        with self.lock:
            counted = Counted(
                artifact,
                self._inferences,
                self._kinds if self._kinds != ErrorKinds() else None,
                self._latency_us.take(),
                self.queue_us.take(),
                self.pre_us.take(),
                self.post_us.take(),
            )
            self._inferences, self._kinds = 0, ErrorKinds()
            return counted
