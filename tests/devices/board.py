"""A board for tests: one of the trees under tests/fixtures/sys, copied so that a test may change it."""

import shutil
from pathlib import Path

from edgepress_devices.profile import load_profile
from edgepress_devices.sensors import Sensors
from edgepress_devices.sensors.commands import Argv, CommandError

TREES = Path(__file__).parents[1] / "fixtures" / "sys"


class Board:
    """Files to change, a clock to move on, and the commands that the tree recorded."""

    def __init__(self, name: str, folder: Path) -> None:
        self.root = folder / name
        self.now_s = 1000.0
        self.ran: list[Argv] = []
        shutil.copytree(TREES / name, self.root)

    def write(self, path: str, text: str | int) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def break_file(self, path: str) -> None:
        """Reading fails with an OSError from now on, as of a sensor that went away: a folder stands there."""
        file = self.root / path
        file.unlink()
        file.mkdir()

    def clock(self) -> float:
        return self.now_s

    def run(self, argv: Argv) -> str:
        self.ran.append(argv)
        output = self.root / "commands" / " ".join(argv)
        if output.is_file():
            return output.read_text(errors="replace")
        raise CommandError(f"{argv} does not work on this board")

    def sensors(self, profile: str | None = None) -> Sensors:
        return Sensors(
            self.root,
            profile=None if profile is None else load_profile(profile),
            runner=self.run,
            clock=self.clock,
        )
