"""Commands that answer what no file does (``vcgencmd``): run beside the reader, never in its way.

A command costs milliseconds, a reading may not: it is run once when it is first watched, then again about
once a second on a thread of its own, and ``latest`` answers what came last. The firmware's figures change at
most ten times a second and are read once a second, so nothing is lost.
"""

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Final

from edgepress_devices.say_once import say_once

Argv = tuple[str, ...]
Runner = Callable[[Argv], str]

TIMEOUT_S: Final = 2.0
OUTPUT_MAX_CHARS: Final = 65_536


class CommandError(Exception):
    """The command is not there, failed or did not end in time; the text says which."""


def run_command(argv: Argv) -> str:
    """Standard output of a command. Raises CommandError."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"`{' '.join(argv)}` did not end within {TIMEOUT_S:g} s") from error
    except OSError as error:
        raise CommandError(f"`{' '.join(argv)}` cannot be run: {error.strerror}") from error
    text = done.stdout[:OUTPUT_MAX_CHARS].decode("utf-8", "replace")
    if done.returncode != 0:
        raise CommandError(f"`{' '.join(argv)}` failed with status {done.returncode}: {text[:200].strip()}")
    return text


class CommandPoller:
    """Keeps the newest output of the commands it watches."""

    def __init__(
        self,
        runner: Runner = run_command,
        period_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._period_s = period_s
        self._clock = clock
        self._outputs: dict[Argv, tuple[float, str]] = {}
        self._watched: list[Argv] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, argv: Argv) -> str | None:
        """Run it now and, if that worked, again every period. None: it does not work here."""
        self._poll(argv)
        entry = self._outputs.get(argv)
        if entry is None:
            return None
        self._watched.append(argv)
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="sensor-commands", daemon=True)
            self._thread.start()
        return entry[1]

    def latest(self, argv: Argv) -> str | None:
        """What it said last; None where that was more than five periods ago."""
        entry = self._outputs.get(argv)
        if entry is None or self._clock() - entry[0] > 5 * self._period_s:
            return None
        return entry[1]

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(self._period_s):
            for argv in tuple(self._watched):
                self._poll(argv)

    def _poll(self, argv: Argv) -> None:
        try:
            self._outputs[argv] = (self._clock(), self._runner(argv))
        except CommandError as error:
            say_once(str(error), key=" ".join(argv))
