"""`edgepress-agent run` on a disk that kills the process at a named moment: dying_agent.py MOMENT FOLDER.

MOMENT is ``before:NAME`` or ``after:NAME``; NAME is a journal step ("verified"), ``pointer``, ``model``
(what a delta makes) or ``info`` (what marks a fetched artifact as checked).
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
from power_cut import kill_process

from edgepress_agent.agent import Agent
from edgepress_agent.durable import Disk
from edgepress_agent.state_folder import StateFolder


class DiesAt(Disk):
    def __init__(self, moment: str) -> None:
        self._when, _, self._name = moment.partition(":")

    def write_whole(self, path: Path, data: bytes) -> None:
        files = {"pointer": "current", "info": "info.json"}
        is_it = path.name == files[self._name] if self._name in files else self._is_step(path, data)
        if is_it and self._when == "before":
            kill_process()
        super().write_whole(path, data)
        if is_it:
            kill_process()

    def write_through(self, path: Path, fill: Callable[[BinaryIO], None]) -> None:
        if self._name == "model" and self._when == "before":
            kill_process()
        super().write_through(path, fill)
        if self._name == "model":
            kill_process()

    def _is_step(self, path: Path, data: bytes) -> bool:
        """A journal that comes to this step, and was not there before."""
        if path.name != "journal" or _step(data) != self._name:
            return False
        return not path.exists() or _step(path.read_bytes()) != self._name


def _step(journal: bytes) -> str | None:
    return msgspec.json.decode(journal.partition(b"\n")[0]).get("step")


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    with StateFolder(folder):
        Agent(folder, http_port=0, disk=DiesAt(sys.argv[1])).run()
