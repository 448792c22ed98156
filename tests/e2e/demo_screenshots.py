"""Pictures of every page while the demo runs, and the README's: `make screenshots`."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from edgepress_server.demo.run import Demo

REPOSITORY = Path(__file__).parents[2]
CHARTS_SECONDS = 90  # of live telemetry, so that the charts show something


def main(folder: str) -> None:
    console = Console(stderr=True)
    take = [sys.executable, str(REPOSITORY / "tests" / "e2e" / "screenshots.py")]
    with tempfile.TemporaryDirectory() as work, Demo(Path(work), 0, console) as demo:
        demo.run()
        with console.status(f"Letting the fleet run for {CHARTS_SECONDS} s ..."):
            time.sleep(CHARTS_SECONDS)
        where = [demo.url, folder, "--password", demo.password]
        subprocess.run([*take, *where, "--dashboard", str(REPOSITORY / "docs" / "dashboard.png")], check=True)
        subprocess.run([*take, *where], check=True)
        subprocess.run([*take, *where, "--dark"], check=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "screenshots")
