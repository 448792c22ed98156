"""`edgepress-agent run` on a board that loads a model for as long as the test wants: held_trial.py FOLDER.

The process sits inside the load, as it would in onnxruntime, until the file FOLDER/../go exists.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from edgepress_agent import engine
from edgepress_agent.cli import cli


def hold(go: Path) -> None:
    load = engine.open_session

    def held(*arguments: Any) -> Any:
        while not go.exists():
            threading.Event().wait(0.02)
        return load(*arguments)

    engine.open_session = held


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    hold(folder.parent / "go")
    cli(["run", "--http-port", "0", "--state", str(folder)])
