"""How far a child process is, written into the store now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepress_server.errors import StoreError

if TYPE_CHECKING:
    from edgepress_compression.compress import Progress

log = logging.getLogger("edgepress_server.jobs")

EVERY_S = 0.25


class ProgressRows:
    """Calls ``write`` at most four times a second, and for a new step at once.

    ``lost`` is what ``write`` raises when the work is not this process's any more: it is cancelled then.
    """

    def __init__(
        self, write: Callable[[Progress], object], lost: type[Exception], cancelled: threading.Event
    ) -> None:
        self._write = write
        self._lost = lost
        self._cancelled = cancelled
        self._step = ""
        self._due_s = 0.0

    def __call__(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if progress.step == self._step and now_s < self._due_s:
            return
        self._step, self._due_s = progress.step, now_s + EVERY_S
        try:
            self._write(progress)
        except self._lost:
            self._cancelled.set()  # the pass stops at its next look
        except StoreError as error:
            log.warning("progress was not written: %s", error)  # the next one will be
