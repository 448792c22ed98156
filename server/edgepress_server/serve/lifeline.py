"""A role ends when its supervisor does, however that ended: the pipe on standard input closes.

Each role leads a process group of its own, so that ending the group ends what the role has started too.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def watch(on_lost: Callable[[], None]) -> None:
    """Call ``on_lost`` on a thread when nobody holds the other end of standard input any more."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        on_lost()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def end_group() -> None:
    """End this process and everything in its group at once. The state on disk is whole at any moment."""
    os.killpg(os.getpgid(0), signal.SIGKILL)
