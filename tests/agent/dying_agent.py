"""`edgepress-agent run` on a disk that kills the process at a named moment: dying_agent.py MOMENT FOLDER.

MOMENT is ``before:NAME`` or ``after:NAME``; NAME is a journal step ("verified") or ``pointer``.
"""

import sys
from pathlib import Path

import msgspec
from power_cut import kill_process

from edgepress_agent.agent import Agent
from edgepress_agent.durable import Disk
from edgepress_agent.state_folder import StateFolder


class DiesAt(Disk):
    def __init__(self, moment: str) -> None:
        self._when, _, self._name = moment.partition(":")

    def write_whole(self, path: Path, data: bytes) -> None:
        is_it = path.name == "current" if self._name == "pointer" else self._is_step(path, data)
        if is_it and self._when == "before":
            kill_process()
        super().write_whole(path, data)
        if is_it:
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
