"""The alerts of the worker role: one thread that looks, one that sends. A compression job delays neither."""

from __future__ import annotations

import threading
from typing import Final

from edgepress_server.alerts.engine import AlertEngine
from edgepress_server.alerts.sender import Sender
from edgepress_server.settings import Settings
from edgepress_server.store import Store

END_S: Final = 15.0  # a receiver that is being spoken to has this long


class AlertThreads:
    """``with AlertThreads(...)``: they run inside."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._stop = threading.Event()
        self._engine = AlertEngine(store, settings)
        self._threads = [
            threading.Thread(target=self._engine.run, args=(self._stop,), name="alerts", daemon=True),
            threading.Thread(
                target=Sender(store, settings).run,
                args=(self._stop, self._engine.leading),
                name="alert-notices",
                daemon=True,
            ),
        ]

    def __enter__(self) -> AlertThreads:
        for thread in self._threads:
            thread.start()
        return self

    def check(self) -> None:
        """Raises RuntimeError when one of them has ended: the worker is then started anew."""
        if not all(thread.is_alive() for thread in self._threads):
            raise RuntimeError("a thread of the alerts ended; see the log above")

    def __exit__(self, *_raised: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(END_S)
