"""Ends an agent that hangs, so that whoever supervises it starts it again.

Rules
-----
1. A thread that is watched says now and then within how many seconds it will be heard of again (``Pulse``).
   The watchdog wakes those that wait for something, so silence means that they hang.
2. An inference that takes longer than ``INFERENCE_MAX_S`` hangs: native code cannot be interrupted, only
   ended with the process. A model in trial or probation has then caused a death of the agent, as if it had
   crashed.
3. Who hangs ends the process with a message and exit status 1, at once: nothing is closed in good order.
4. systemd is told that the agent is alive only while nothing hangs (``sd_notify``). And where native code
   keeps Python itself from running, Python's own timer thread, which needs no interpreter, ends the process.
5. A process that was stopped as a whole (SIGSTOP, a suspended machine) hangs nowhere: when the watchdog
   itself was not run for a while, everybody gets new time.
"""

import faulthandler
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Final

HANG_S: Final = 60.0
INFERENCE_MAX_S: Final = 120.0
LOOK_EVERY_S: Final = 5.0
WAKE_EVERY_S: Final = 15.0
STOPPED_S: Final = 10.0  # late by so much, the watchdog was kept from running: so was everybody else
LAST_RESORT_S: Final = 90.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hang:
    """What hangs; ``blameless``: nothing that a model does can be the reason."""

    reason: str
    blameless: bool


class Pulse:
    """When each watched thread must be heard of again. From any thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._due: dict[str, tuple[float, float]] = {}  # name -> (by when, heard of last)

    def beat(self, name: str, within_s: float = HANG_S) -> None:
        """This thread lives, and says so again within so many seconds."""
        now_s = self._clock_s()
        with self._lock:
            self._due[name] = now_s + within_s, now_s

    def forgive(self, seconds: float) -> None:
        """Everybody gets so much more time."""
        with self._lock:
            self._due = {name: (due + seconds, heard) for name, (due, heard) in self._due.items()}

    def overdue(self) -> tuple[str, float] | None:
        """A thread that is late, and for how many seconds nothing was heard of it."""
        now_s = self._clock_s()
        with self._lock:
            for name, (due_s, heard_s) in self._due.items():
                if now_s > due_s:
                    return name, now_s - heard_s
        return None


class Watchdog:
    """``wake()`` makes the threads that wait say that they live; ``longest_s()`` is how long the longest
    inference under way has run; ``end(hang)`` ends the process. ``may_infer``: threads in which a model may
    be what hangs.
    """

    def __init__(
        self,
        pulse: Pulse,
        *,
        longest_s: Callable[[], float],
        wake: Callable[[], None],
        end: Callable[[Hang], None],
        notifier: "Notifier | None" = None,
        may_infer: frozenset[str] = frozenset({"work"}),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulse = pulse
        self._longest_s = longest_s
        self._wake = wake
        self._end = end
        self._notifier = notifier
        self._may_infer = may_infer
        self._clock_s = clock_s
        self._looked_s = self._woken_s = clock_s()

    @property
    def every_s(self) -> float:
        """Seconds from look to look; half of what systemd allows is what it recommends."""
        asked_s = self._notifier.watchdog_s if self._notifier else None
        return LOOK_EVERY_S if asked_s is None else min(LOOK_EVERY_S, asked_s / 2)

    def run(self, stop: threading.Event) -> None:
        """Look until ``stop``."""
        try:
            while not stop.wait(self.every_s):
                faulthandler.dump_traceback_later(LAST_RESORT_S, exit=True)
                self.look()
        finally:
            faulthandler.cancel_dump_traceback_later()

    def look(self) -> None:
        now_s = self._clock_s()
        late_s = now_s - self._looked_s - self.every_s
        self._looked_s = now_s
        if late_s > STOPPED_S:
            self._pulse.forgive(late_s)
        if now_s - self._woken_s >= WAKE_EVERY_S:
            self._woken_s = now_s
            self._wake()
        hang = self._hang(late_s)
        if hang is not None:
            self._end(hang)
        elif self._notifier is not None:
            self._notifier.alive()

    def _hang(self, late_s: float) -> Hang | None:
        running_s = self._longest_s() - (late_s if late_s > STOPPED_S else 0.0)
        if running_s > INFERENCE_MAX_S:
            return Hang(f"an inference has not come back for {running_s:.0f} s", blameless=False)
        overdue = self._pulse.overdue()
        if overdue is None:
            return None
        name, silent_s = overdue
        reason = f"nothing was heard of the {name} thread for {silent_s:.0f} s"
        return Hang(reason, blameless=name not in self._may_infer)


class Notifier:
    """systemd's notification protocol, as sd_notify(3) and sd_watchdog_enabled(3) describe it: datagrams with
    lines ``NAME=value`` to the Unix socket ``$NOTIFY_SOCKET``, where a first @ stands for a zero byte.
    ``watchdog_s``: within how many seconds systemd wants to hear of this process; None = it does not watch.
    """

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        self.watchdog_s = watchdog_s
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def close(self) -> None:
        self._socket.close()

    def _send(self, line: str) -> None:
        try:
            self._socket.sendto(line.encode("ascii"), socket.MSG_DONTWAIT, self._address)
        except OSError as error:  # it would end us for silence: that is its decision
            log.debug("systemd cannot be told %s: %s", line, error)


def notifier_from(environment: MutableMapping[str, str]) -> Notifier | None:
    """None where systemd does not ask to be told. Its variables are taken out: they are not for children."""
    address = environment.pop("NOTIFY_SOCKET", "")
    microseconds = environment.pop("WATCHDOG_USEC", "")
    for_process = environment.pop("WATCHDOG_PID", "")
    if not address.startswith(("/", "@")):
        return None
    watched = microseconds.isdecimal() and int(microseconds) > 0 and for_process in ("", str(os.getpid()))
    return Notifier(address, int(microseconds) / 1_000_000 if watched else None)
