"""Sensors on a thread of their own: one that does not come back costs its readings, not the agent.

A read of /sys can hang in the kernel (a bus that is stuck, a disk that died) and nothing ends it, not even
SIGKILL. So the thread that sends telemetry asks, waits a moment, and goes on without: the board's readings
are absent until the sensor comes back, which is said once. What it then says is old, and is thrown away.
"""

import inspect
import logging
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgepress_devices.sensors import Readings, Sensors

PATIENCE_S: Final = 3.0
_SENSORS_FOLDER: Final = Path(inspect.getfile(Sensors)).parent
_COMMON: Final = frozenset({"kernel_file", "sensors"})

log = logging.getLogger(__name__)


class SensorReader:
    """``make`` looks for the board's sensors, which may hang as well; it is called on the thread."""

    def __init__(self, make: Callable[[], Sensors], *, patience_s: float = PATIENCE_S) -> None:
        self._make = make
        self._patience_s = patience_s
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()  # False = end
        self._answers: queue.SimpleQueue[Readings] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._overdue = False  # it was asked, and has not answered in time

    def read(self) -> Readings | None:
        """Every sensor now; None while one of them does not come back."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)
            self._thread.start()
        if self._overdue and not self._came_back():
            return None
        self._asked.put(True)
        try:
            return self._answers.get(timeout=self._patience_s)
        except queue.Empty:
            self._overdue = True
            log.warning(
                "a sensor of this board (%s) has not answered for %g s: readings are absent until it does",
                self._where(),
                self._patience_s,
            )
            return None

    def _came_back(self) -> bool:
        try:
            self._answers.get_nowait()
        except queue.Empty:
            return False
        self._overdue = False
        log.info("the board's sensors answer again")
        return True

    def close(self, wait_s: float = 1.0) -> None:
        """End the thread and what the sensors keep running, unless they hang."""
        if self._thread is not None:
            self._asked.put(False)
            self._thread.join(wait_s)

    def _run(self) -> None:
        with self._make() as sensors:
            while self._asked.get():
                self._answers.put(sensors.read())

    def _where(self) -> str:
        """The sensor whose code the thread is in."""
        frame = sys._current_frames().get(self._thread.ident or 0) if self._thread else None
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.parent == _SENSORS_FOLDER and path.stem not in _COMMON:
                return path.stem.replace("_", " ")
            frame = frame.f_back
        return "unknown which"
