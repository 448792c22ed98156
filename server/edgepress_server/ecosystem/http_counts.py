"""How many HTTP requests the web role answered, and how long they took. Since it started; in memory only."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

from flask import Flask, Response, g, request

from edgepress_devices.histogram import LatencyRecorder
from edgepress_server.ecosystem.families import Family

EXTENSION: Final = "edgepress_http"
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class HttpCounts:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._seconds = {"api": LatencyRecorder(), "page": LatencyRecorder()}

    def answered(self, kind: str, method: str, status: int, seconds: float) -> None:
        with self._lock:
            self._counts[kind, method if method in _METHODS else "other", f"{status // 100}xx"] += 1
        self._seconds[kind].record(max(0.0, seconds))

    def families(self) -> list[Family]:
        requests = Family("edgepress_http_requests", "counter", "HTTP requests answered since the start")
        with self._lock:
            counts = sorted(self._counts.items())
        for (kind, method, status), count in counts:
            requests.add(count, kind=kind, method=method, status=status)
        seconds = Family(
            "edgepress_http_request_duration_seconds", "histogram", "Until an answer began to be sent"
        )
        for kind, recorder in self._seconds.items():
            seconds.add_histogram(recorder.snapshot(), kind=kind)
        return [requests, seconds]


def install(app: Flask) -> None:
    counts = HttpCounts()
    app.extensions[EXTENSION] = counts

    @app.before_request
    def begin() -> None:
        g.began_s = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        began = g.get("began_s")
        if began is not None:
            kind = "api" if request.path.startswith("/api/") else "page"
            counts.answered(kind, request.method, response.status_code, time.perf_counter() - began)
        return response
