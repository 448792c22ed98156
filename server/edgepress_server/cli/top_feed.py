"""Asks the server for what `edgepress telemetry top` shows, on a thread of its own, once a second.

When the server cannot be reached it says so and asks again: after 1 s, then 2, 4 ... RETRY_MAX_S.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from .client import Api, ApiFailure
from .top_draw import SPARKS
from .top_view import Page, View

EVERY_S: Final = 1.0
RETRY_MAX_S: Final = 15.0
DETAIL_MS: Final = 3_600_000
STEP_MS: Final = 60_000

Told = Callable[[Page | None, dict[str, Any] | None, str], None]
"""Page, detail, trouble: what changed; trouble "" says that all is well."""


def read_page(client: Api, view: View, rows: int) -> Page:
    """Raises ApiFailure."""
    found = client.get("/devices/page", offset=view.offset, limit=rows, sort=view.sort, q=view.query)
    return Page(
        total=found["total"],
        matching=found["matching"],
        offset=found["offset"],
        rows=tuple(found["devices"]),
        statuses=found["statuses"],
    )


def read_detail(client: Api, device: str) -> dict[str, Any]:
    """Raises ApiFailure."""
    now_ms = int(time.time() * 1000)
    metrics = ",".join(metric for metric, _, _ in SPARKS)
    found: dict[str, Any] = client.get(
        "/telemetry/series",
        **{"device": device, "metric": metrics, "from": now_ms - DETAIL_MS, "to": now_ms, "step_ms": STEP_MS},
    )
    return found


class Feed(threading.Thread):
    """``ask`` says what is wanted now; ``told`` is called on this thread."""

    def __init__(self, client: Api, told: Told) -> None:
        super().__init__(name="top", daemon=True)
        self._client = client
        self._told = told
        self._wanted: tuple[View, int] | None = None
        self._changed = threading.Condition()
        self._stopping = False

    def ask(self, view: View, rows: int) -> None:
        with self._changed:
            self._wanted = (view, rows)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        pause_s = EVERY_S
        while True:
            with self._changed:
                if self._stopping:
                    return
                wanted = self._wanted
            if wanted is not None:
                pause_s = self._read(*wanted, pause_s)
            with self._changed:
                if not self._stopping and self._wanted is wanted:
                    self._changed.wait(pause_s)

    def _read(self, view: View, rows: int, pause_s: float) -> float:
        """How long to wait before the next time."""
        try:
            page = read_page(self._client, view, rows)
            detail = read_detail(self._client, view.device) if view.device is not None else None
        except ApiFailure as failure:
            if failure.status and failure.status < 500 and failure.status != 429:  # it will say so again
                self._told(None, None, failure.message)
                return RETRY_MAX_S
            self._told(None, None, f"Connection lost ({failure.message}) Trying again in {pause_s:.0f} s.")
            return min(RETRY_MAX_S, 2 * pause_s)
        self._told(page, detail, "")
        return EVERY_S
