"""Delivery to fleets, measured with the peer or the physical limit in the same run. `make bench-delivery`.

`--case NAME` runs one case. Agents are simulated: the real job, journal, slots, fetch folder, window,
trust and seal of the agent on real state folders, hundreds in a process on one event loop, with a small MQTT
client and a model engine that passes every trial. The server and mosquitto are real processes. Everything
lies in memory (/dev/shm; --folder puts it elsewhere), so disks are not measured. Exits with 1 when a target
is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from delivery_cases.case import Options, Row

CASES: Final = ("fan_out", "loss", "latency", "sleepers", "delta", "state_ingest", "switch")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one")
    parser.add_argument("--devices", type=int, default=1000, help="fan_out: agents")
    parser.add_argument("--enrolled", type=int, default=10_000, help="sleepers: devices, 1 in 10 online")
    parser.add_argument(
        "--repeat", type=int, default=3, help="rollouts and runs of the peer; the median counts"
    )
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where state folders are made")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="edgepress-bench-", dir=arguments.folder))
    options = Options(base, arguments.devices, arguments.enrolled, arguments.repeat)
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start; "
        f"state folders in {arguments.folder}"
    )
    rows: list[Row] = []
    started = time.monotonic()
    try:
        for name in arguments.case or CASES:
            case = importlib.import_module(f"delivery_cases.{name}")
            print(f"\n{case.TITLE}", flush=True)
            for row in case.measure(options):
                print(line(row), flush=True)
                rows.append(row)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(f"\n{sum(r.met is True for r in rows)} targets met, {sum(r.met is False for r in rows)} missed")
    if arguments.json:
        seconds = time.monotonic() - started
        print(json.dumps({"benchmark": "delivery", "seconds": seconds, "rows": [r.as_json() for r in rows]}))
    return 1 if not rows or any(row.met is False for row in rows) else 0


def line(row: Row) -> str:
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    parts = [f"  {row.what:<44}{row.measured:<38}"]
    if row.peer:
        parts.append(f"[{row.peer}]")
    if row.target:
        parts.append(f"{verdict}: {row.target}" if verdict else row.target)
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
