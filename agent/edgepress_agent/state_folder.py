"""The folder that holds all of a device's state, and the lock that keeps a second agent out of it."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from edgepress_agent.errors import StateFolderError, StateFolderInUseError

ENVIRONMENT: Final = "EDGEPRESS_AGENT_STATE"


def default_folder() -> Path:
    """``$EDGEPRESS_AGENT_STATE``, else ``edgepress-agent`` in the user's state folder (XDG)."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edgepress-agent"


class StateFolder:
    """Made (mode 0700) and locked while it lives: ``with StateFolder(path) as folder``. Raises
    StateFolderError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _open_lock(path / "lock")
        except OSError as error:
            raise StateFolderError(
                f"the state folder {path} cannot be written ({error.strerror}): give another one with"
                " --state, or run as the user that owns it"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StateFolderInUseError(
                f"another agent uses {path}: stop it first, or give this one its own folder with --state"
            ) from error

    def close(self) -> None:
        os.close(self._lock)

    def __enter__(self) -> "StateFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_lock(path: Path) -> int:
    """A disk that turned read-only (worn-out SD cards do) must not keep its model from running."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
