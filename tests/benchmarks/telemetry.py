"""Telemetry, measured with the peer or the physical limit in the same run. `make bench-telemetry`.

`--case NAME` runs one case; `--seconds 20` shortens those that run over time (the targets ask for 600). The
server, the broker and the browser are real processes and the store is on the disk that `--folder` names.
Devices are simulated: packets made beforehand whose numbers and times are set as they are sent (ingest), or
the real outbox and post of the agent, hundreds in a process (outage). Exits with 1 when a target is missed.
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

from delivery import line
from telemetry_cases.case import Options, Row

CASES: Final = (
    "ingest",
    "store_bytes",
    "overview",
    "device_page",
    "query",
    "browser",
    "outage",
    "agent_cost",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be given again")
    parser.add_argument("--seconds", type=float, default=600.0, help="of ingest and browser")
    parser.add_argument("--outage-s", type=float, default=600.0, help="how long broker and server are away")
    parser.add_argument("--devices", type=int, help="instead of the case's own number")
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded", help="of ingest")
    parser.add_argument("--folder", type=Path, help="where stores are made: a disk (default: the system's)")
    parser.add_argument("--keep", type=Path, help="seeded stores are made here once, and used again")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="edgepress-bench-", dir=arguments.folder))
    options = Options(
        base, arguments.seconds, arguments.devices, arguments.broker, arguments.outage_s, arguments.keep
    )
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start; stores in {base.parent}")
    rows: list[Row] = []
    started = time.monotonic()
    try:
        for name in arguments.case or CASES:
            case = importlib.import_module(f"telemetry_cases.{name}")
            print(f"\n{case.TITLE}", flush=True)
            for row in case.measure(options):
                print(line(row), flush=True)
                rows.append(row)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(f"\n{sum(r.met is True for r in rows)} targets met, {sum(r.met is False for r in rows)} missed")
    if arguments.json:
        seconds = time.monotonic() - started
        print(json.dumps({"benchmark": "telemetry", "seconds": seconds, "rows": [r.as_json() for r in rows]}))
    return 1 if not rows or any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
