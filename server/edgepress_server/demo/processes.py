"""The processes of the demo: each started in its own session, all ended together, none outliving the demo."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

STOP_SECONDS = 12.0  # the server needs up to 10 s for an orderly stop
PR_SET_PDEATHSIG = 1  # prctl(2)


class DemoFailure(Exception):
    """A step of the demo did not happen; the text says which and shows the end of the log concerned."""


def _die_with_parent() -> None:
    """In the child: end when the demo is killed. Linux only; elsewhere Ctrl-C and SIGTERM still end all."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Processes:
    """Starts processes with a log file each; ``stop`` ends them in reverse order."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        log_dir.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str]) -> None:
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends them in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads run yet in the demo's process
            )
        self._running.append((name, process))

    def log(self, name: str) -> Path:
        return self._log_dir / f"{name}.log"

    def check(self) -> None:
        """Raises DemoFailure when one has ended by itself."""
        for name, process in self._running:
            code = process.poll()
            if code is not None:
                raise DemoFailure(f"{name} ended with code {code}. The end of its log:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 15) -> str:
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except OSError as error:
            return f"(no log: {error})"

    def wait_for(self, what: str, ready: Callable[[], Value | None], seconds: float) -> Value:
        """Poll ``ready`` until it gives a value. Raises DemoFailure in the end, or when a process ended."""
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            value = ready()
            if value is not None:
                return value
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.tail(name)}" for name, _ in self._running)
                raise DemoFailure(f"{what} did not happen within {seconds:.0f} s. The logs end so:\n{logs}")
            time.sleep(0.1)

    def stop(self) -> None:
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for _, process in reversed(self._running):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
