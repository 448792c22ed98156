"""`edgepress-agent run` whose model hangs while the file FOLDER/../hang exists: hung_inference.py FOLDER.

The watchdog's patience is a second here; all else is as it is.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from edgepress_agent import engine, watchdog
from edgepress_agent.cli import cli


class Hanging:
    """A session that never comes back from a run."""

    def __init__(self, session: Any, hang: Path) -> None:
        self._session = session
        self._hang = hang

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *arguments: Any) -> Any:
        if self._hang.exists():
            threading.Event().wait()
        return self._session.run(*arguments)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    opened = engine.open_session
    engine.open_session = lambda *given: Hanging(opened(*given), folder.parent / "hang")
    watchdog.INFERENCE_MAX_S = 1.0
    watchdog.LOOK_EVERY_S = 0.2
    cli(["run", "--http-port", "0", "--state", str(folder)])
