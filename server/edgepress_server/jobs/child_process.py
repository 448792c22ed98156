"""How the server starts and ends processes for heavy work: they yield to everything else and die with their
parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

NICE = 10
SEAT_LOST = 4  # exit status of a search's process: the search is not ours any more
YIELDED = 5  # a compression waits for this worker
_PR_SET_PDEATHSIG = 1
TERMINATE_S = 5.0  # between SIGTERM and SIGKILL
LOGS_KEPT = 200  # of a kind, the newest
LOG_MAX_BYTES = 1 << 20  # of a log, before a new attempt starts it afresh
_OOM_SCORE = "500"  # of -1000..1000: when memory runs out, the kernel ends a compression and not the server


def child_environment(threads: int | None = None) -> dict[str, str]:
    """The environment of a child; ``threads`` limits what numerical libraries take."""
    # Threads of torch that spin while they wait made a busy machine up to ten times slower.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONUNBUFFERED": "1"}
    if threads is not None:
        environment |= dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)
        )
    return environment


def settle_in() -> None:
    """First thing in a child: low priority, first choice of the OOM killer, killed when its parent dies."""
    os.nice(NICE)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
        except OSError:
            pass  # no /proc: the kernel chooses by itself


def die_with_pipe() -> None:
    """End this process when its standard input closes: only the parent holds the other end."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(3)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def log_file(folder: Path, name: str) -> Path:
    """FOLDER/<name>.log, to be appended to: begun anew where it has grown large; the oldest are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.log"
    for old in sorted(folder.glob("*.log"), key=lambda one: one.stat().st_mtime)[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)
    if path.exists() and path.stat().st_size > LOG_MAX_BYTES:
        path.unlink()
    return path


def end_child(child: subprocess.Popen[bytes]) -> None:
    """Ask, wait, kill; nothing of it is left afterwards."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def exit_words(status: int, log: Path) -> str:
    if status == -signal.SIGKILL:
        return "Its process was killed, most likely because the server ran out of memory."
    if status < 0:
        return f"Its process was ended by {signal.Signals(-status).name}; {log} may say why."
    return f"Its process ended with status {status}; {log} says why."
