"""The child process that measures, seen from the agent: start it, listen to it, end it.

Measuring happens outside the agent, so that its memory, a crash in the runtime, a hang or the kernel's
out-of-memory killer cannot take the agent down. The child gets one line on standard input, its task, and
answers in lines on standard output::

    {"percent": 40}            now and then
    {"report": [...]}          once, the end: a protocol.ProfilingReport
    {"failed": "why"}          once, the end

Standard input stays open while the agent lives: when it closes, the child ends itself.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from edgepress_agent.errors import ProfilingError
from edgepress_devices.profiling_messages import ProfilingWhat
from edgepress_devices.protocol import ProfilingReport

LINE_MAX_BYTES: Final = 8 << 20
START_S: Final = 60.0  # for Python and the runtime to load from an SD card
END_S: Final = 5.0
SIGKILL: Final = 9


class ProfileTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the child is to measure. ``scratch``: a folder of its own, which exists."""

    id: str
    what: ProfilingWhat
    seconds: float
    threads: int
    scratch: str
    forms: tuple[str, ...] = ("fp32",)
    nets: tuple[str, ...] | None = None  # None: all of the plan
    artifact: str | None = None  # path, of what="model"
    digest: str | None = None


class ProfileLine(msgspec.Struct, omit_defaults=True):
    """One line of the child; exactly one field is there."""

    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    report: ProfilingReport | None = None
    failed: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class ProfileProcess:
    """One measurement. ``wait`` is for one thread, ``kill`` for any. Raises OSError where it cannot start."""

    def __init__(self, task: ProfileTask) -> None:
        self._limit_s = 1.1 * task.seconds + START_S
        self._errors = Path(task.scratch) / "stderr.log"
        self._timed_out = False
        with self._errors.open("wb") as errors:
            # -P: what lies in the current folder is not imported.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edgepress_agent.profile_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=task.scratch,
            )
        try:
            if self._process.stdin is not None:  # past Python's buffer: closing must have nothing to write
                os.write(self._process.stdin.fileno(), msgspec.json.encode(task) + b"\n")
        except BrokenPipeError:
            pass  # it died at once: ``wait`` says how

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, progress: Callable[[int], None]) -> ProfilingReport:
        """Listen until the end. Raises ProfilingError with the reason where there is no report."""
        timer = threading.Timer(self._limit_s, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            report = self._listen(progress)
        finally:
            timer.cancel()
            self.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        if report is None:
            raise ProfilingError(self._epitaph())
        return report

    def kill(self) -> None:
        """End it now, if it has not ended; returns when it is gone and its memory is free."""
        self._process.kill()
        self._process.wait()

    def _listen(self, progress: Callable[[int], None]) -> ProfilingReport | None:
        """The report, or None where the child ended without a last word. Raises ProfilingError."""
        stdout = self._process.stdout
        while stdout is not None and (line := stdout.readline(LINE_MAX_BYTES)):
            try:
                said = msgspec.json.decode(line, type=ProfileLine)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ProfilingError(f"the measuring process said what it must not: {error}") from error
            if said.report is not None:
                return said.report
            if said.failed is not None:
                raise ProfilingError(said.failed)
            if said.percent is not None:
                progress(said.percent)
        try:
            self._process.wait(END_S)  # it closed its output: how it ends is the reason to tell
        except subprocess.TimeoutExpired:
            pass
        return None

    def _time_out(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _epitaph(self) -> str:
        if self._timed_out:
            return f"the measuring process hung: it was ended after {self._limit_s:.0f} s"
        code = self._process.returncode
        if code == -SIGKILL:
            return "the measuring process was killed, most likely because the board ran out of memory"
        how = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        return f"the measuring process died ({how}){self._last_words()}"

    def _last_words(self) -> str:
        try:
            lines = self._errors.read_bytes()[-2000:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return f": {lines[-1][:200]}" if lines else ""
