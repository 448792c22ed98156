"""A search for a budget: whether it meets it, and how few trials it needs. `make bench-search` runs it.

`--part NAME` runs one part: prediction (predicted against measured latency; ten minutes), budget (real
models; 15 minutes each, and the single recipes it is compared with), efficiency (an exhaustive grid of 200
points is made once, minutes, and kept in a file). Needs the data folder for prediction and budget
(EDGEPRESS_DATA, default ../shared/data). Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# read by torch: waiting threads leave the cores to others
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from search_cases.case import Row

from edgepress_compression.data.spec import data_folder

PARTS = ("prediction", "budget", "efficiency")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--timing-seconds", type=float, default=600.0, help="prediction: of timing nets and models"
    )
    parser.add_argument("--model", action="append", help="budget: only this one")
    parser.add_argument("--seconds", type=float, default=900.0, help="budget: of a search")
    parser.add_argument("--workers", type=int, help="budget: processes; default 2")
    parser.add_argument("--recipe", action="append", help="budget: single recipes to compare with")
    parser.add_argument("--resume", type=Path, help="budget: where searches go on")
    parser.add_argument("--grid", type=Path, help="efficiency: the file of the exhaustive grid")
    arguments = parser.parse_args()
    rows: list[Row] = []
    started = time.monotonic()
    for part in arguments.part or PARTS:
        for row in _measure(part, arguments):
            print(line(row), flush=True)
            rows.append(row)
    print(f"\n{sum(r.met is True for r in rows)} targets met, {sum(r.met is False for r in rows)} missed")
    if arguments.json:
        seconds = time.monotonic() - started
        print(json.dumps({"benchmark": "search", "seconds": seconds, "rows": [r.as_json() for r in rows]}))
    return 1 if not rows or any(row.met is False for row in rows) else 0


def _measure(part: str, arguments: argparse.Namespace) -> Iterator[Row]:
    if part == "efficiency":
        from search_cases import efficiency

        print(f"\n{efficiency.TITLE}")
        yield from efficiency.measure(arguments.grid)
        return
    from search_cases import budget, prediction

    print(f"\n{prediction.TITLE if part == 'prediction' else budget.TITLE}")
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        print(f"There is no data folder {folder}; set EDGEPRESS_DATA to it.", file=sys.stderr)
        return
    os.environ["EDGEPRESS_DATA"] = str(folder.resolve())
    if part == "prediction":
        yield from prediction.measure(folder.resolve(), seconds=arguments.timing_seconds)
        return
    yield from budget.measure(
        folder.resolve(),
        models=arguments.model or budget.MODELS,
        seconds=arguments.seconds,
        workers=arguments.workers,
        recipes=arguments.recipe or budget.RECIPES,
        seed=arguments.seed,
        resume=arguments.resume,
    )


def line(row: Row) -> str:
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    said = f"  {verdict}: {row.target}" if verdict else ""
    return f"{row.case:<28}{row.what:<18}{row.figures}{said}"


if __name__ == "__main__":
    sys.exit(main())
