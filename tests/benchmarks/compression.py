"""Every published method and our own, on real models: one table, measured on decoded artifacts.

A case is a file of cases/. Cases on CIFAR-10 train on all 50,000 images where EDGEPRESS_CIFAR10 names the
data set that cifar10_full.py makes, else on the 5,000 of the data folder. Long: the whole table takes hours
on 2 cores; `--case NAME` runs one. The case torch_pruning needs `.venv/bin/pip install torch-pruning==1.6.1`.

Needs the data folder (EDGEPRESS_DATA, default ../shared/data). Exits with 1 when a target is missed or a case
could not run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

# read by torch: waiting threads leave the cores to others
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from cases.case import MissingPeer, Row, Settings  # noqa: E402

from edgepress_compression.data.spec import data_folder  # noqa: E402

CASES = tuple(sorted(path.stem for path in (HERE / "cases").glob("*.py") if path.stem != "case"))
HEAD = (
    f"{'case':<26}{'method':<24}{'before':>8}{'after':>8}{'points':>8}{'artifact B':>12}{'ratio':>9}"
    f"{'FLOPs':>8}{'faster':>8}{'seconds':>9}  target"
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing a pair of models")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one")
    arguments = parser.parse_args()
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        print(f"There is no data folder {folder}; set EDGEPRESS_DATA to it.", file=sys.stderr)
        return 2
    os.environ["EDGEPRESS_DATA"] = str(folder.resolve())  # EDGEPRESS_CIFAR10 may lie elsewhere
    settings = Settings(folder.resolve(), arguments.seed, arguments.seconds)
    rows: list[Row] = []
    complete = True
    started = time.monotonic()
    for name in arguments.case or CASES:
        case = importlib.import_module(f"cases.{name}")
        print(f"\n{case.TITLE}\n{HEAD}")
        try:
            for row in case.measure(settings):
                print(line(row), flush=True)
                rows.append(row)
        except MissingPeer as missing:
            print(missing, file=sys.stderr)
            complete = False
    print(f"\n{sum(r.met is True for r in rows)} targets met, {sum(r.met is False for r in rows)} missed")
    if arguments.json:
        seconds = time.monotonic() - started
        print(
            json.dumps(
                {"benchmark": "compression", "seconds": seconds, "rows": [row.as_json() for row in rows]}
            )
        )
    return 1 if not complete or any(row.met is False for row in rows) else 0


def line(row: Row) -> str:
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    cells = [
        f"{row.case:<26}{row.method:<24}",
        _cell(row.before, "{:.2%}", 8),
        _cell(row.after, "{:.2%}", 8),
        _cell(None if row.lost_points is None else -row.lost_points, "{:+.2f}", 8),
        _cell(row.artifact_bytes, "{:,}", 12),
        _cell(row.ratio, "{:.1f}x", 9),
        _cell(row.flops_ratio, "{:.2f}x", 8),
        _cell(row.speedup, "{:.2f}x", 8),
        _cell(row.seconds, "{:.0f}", 9),
        f"  {verdict}{': ' if verdict and row.target else ''}{row.target}",
    ]
    return "".join(cells) + (f"\n{'':<26}{row.note}" if row.note else "")


def _cell(value: float | None, form: str, width: int) -> str:
    return f"{'-' if value is None else form.format(value):>{width}}"


if __name__ == "__main__":
    sys.exit(main())
