"""A process and its children as a board of their own: first in line for a core, then with a share of one.

    cgroup v1   /sys/fs/cgroup/cpu/NAME   cpu.shares; then cpu.cfs_quota_us in each cpu.cfs_period_us
    cgroup v2   /sys/fs/cgroup/NAME       cpu.weight; then cpu.max, where the controller is delegated to us
    otherwise   SIGSTOP and SIGCONT in turns, as a board would feel it that is busy with something else

First in line: what else runs on the machine, a search for example, is not to slow the board down. The period
is short, so that an inference of some milliseconds meets several: its latency is then that of a slower
processor, and not that of a quick one which sometimes stands still.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import psutil

PERIOD_US = 5000
QUOTA_MIN_US = 1000  # of the kernel
FAMILY_S = 1.0  # between two looks for new children
V1 = Path("/sys/fs/cgroup/cpu")
V2 = Path("/sys/fs/cgroup")


class CpuShare:
    """``with CpuShare(pid) as cpu: ...; cpu.limit(0.3)``: 0.3 cores for the process and what it starts."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._group: Path | None = None
        self._undo = ExitStack()
        self.how = "signals"

    def __enter__(self) -> CpuShare:
        name = f"edgepress-test-{os.getpid()}-{self._pid}"
        if self._enter(V1 / name, "cpu.shares", 262_144):
            self.how = "cgroup v1"
        elif "cpu" in _words(V2 / "cgroup.subtree_control") and self._enter(V2 / name, "cpu.weight", 10_000):
            self.how = "cgroup v2"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._undo.close()

    def limit(self, cores: float) -> None:
        quota_us = max(QUOTA_MIN_US, round(cores * PERIOD_US))
        if self.how == "cgroup v1" and self._group is not None:
            (self._group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self._group / "cpu.cfs_quota_us").write_text(str(quota_us))
        elif self._group is not None:
            (self._group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        else:
            self._take_turns(cores)

    def _enter(self, group: Path, share: str, most: int) -> bool:
        try:
            group.mkdir()
        except OSError:  # no such hierarchy, or not ours to change
            return False
        self._undo.callback(_remove, group)
        try:
            (group / share).write_text(str(most))
            for pid in self._family():
                (group / "cgroup.procs").write_text(str(pid))
        except OSError:
            self._undo.close()
            return False
        self._group = group
        return True

    def _family(self) -> list[int]:
        process = psutil.Process(self._pid)
        return [process.pid, *(child.pid for child in process.children(recursive=True))]

    def _take_turns(self, cores: float) -> None:
        over = threading.Event()
        run_s = PERIOD_US / 1e6 * cores

        def turns() -> None:
            looked_s, family = 0.0, self._family()
            while not over.is_set():
                if time.monotonic() - looked_s > FAMILY_S:  # takes longer than a turn
                    looked_s, family = time.monotonic(), self._family()
                _tell(family, signal.SIGSTOP)
                over.wait(PERIOD_US / 1e6 - run_s)
                _tell(family, signal.SIGCONT)
                over.wait(run_s)

        thread = threading.Thread(target=turns, daemon=True)

        def end() -> None:
            over.set()
            thread.join(5)
            _tell(self._family(), signal.SIGCONT)

        self._undo.callback(end)
        thread.start()


def _tell(pids: list[int], what: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:  # it has ended meanwhile
            continue


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _remove(group: Path) -> None:
    """A group can be removed when nobody is in it: whoever is goes up by one."""
    for pid in _words(group / "cgroup.procs"):
        try:
            (group.parent / "cgroup.procs").write_text(pid)
        except OSError:  # it has ended meanwhile
            continue
    group.rmdir()
