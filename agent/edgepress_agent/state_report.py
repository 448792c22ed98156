"""When this device's state goes out: at once where it is news, seldom where it is only progress.

Rules
-----
1. News go out as soon as ``STATES_PER_SECOND`` allows. Steps that are passed within moments (``PASSING``) are
   no news of their own: the job thread tells them once it comes to rest on one.
2. Progress of a download goes out at most every ``PROGRESS_S``.
3. Every ``REFRESH_S`` the state goes out anyway: a broker that is late to publish our old will must not leave
   us offline for ever.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from edgepress_agent.download import Broker
from edgepress_devices.protocol import State, to_json

STATES_PER_SECOND: Final = 4
PROGRESS_S: Final = 1.0
REFRESH_S: Final = 60.0
PASSING: Final = ("idle", "verified", "staged")


class StateReport:
    """``read()`` makes the state. Any thread may call."""

    def __init__(self, read: Callable[[], State]) -> None:
        self.link: Broker | None = None
        self._read = read
        self._lock = threading.Lock()
        self._told_s: deque[float] = deque(maxlen=STATES_PER_SECOND)  # when states went out
        self._news = True
        self._progress = False
        self._later: threading.Timer | None = None

    def news(self) -> None:
        self._news = True

    def progress(self) -> None:
        self._progress = True

    def tell(self) -> None:
        """Publish what is due."""
        with self._lock:
            now_s = time.monotonic()
            if self.link is None or now_s < self._due_s():
                return
            self._news = self._progress = False
            self._told_s.append(now_s)
            self.link.publish_state(to_json(self._read()))

    def tell_even_if_busy(self) -> None:
        """As ``tell``, and a little later from another thread where it may not be told yet: the job thread
        may be in a trial by then, and people should see that it is.
        """
        self.tell()
        with self._lock:
            if self.link is not None and self._news and (self._later is None or not self._later.is_alive()):
                self._later = threading.Timer(max(0.0, self._due_s() - time.monotonic()) + 0.01, self.tell)
                self._later.daemon = True
                self._later.start()

    def due_s(self) -> float:
        """When ``tell`` has something to say, by the monotonic clock."""
        with self._lock:
            return self._due_s()

    def _due_s(self) -> float:
        if not self._told_s:
            return 0.0
        last_s = self._told_s[-1]
        due_s = last_s + REFRESH_S
        if self._progress:
            due_s = min(due_s, last_s + PROGRESS_S)
        if self._news:
            due_s = self._told_s[0] + 1.0 if len(self._told_s) == STATES_PER_SECOND else 0.0
        return due_s
