"""Fuzz the codec's compiled decoders: the command behind `make fuzz`, and the bounded run in the tests.

    python compression/native/fuzz/campaign.py [--runs N] [--seed S] [--on guided,wasm,...] [--only TARGET]
                                               [--json] [--keep FOLDER [--again]]

Builds the driver for each machine (builds.py), writes the seeds, runs every target N times on each, prints
executions, seconds, ways found and checksums. Exit status 1 when a decoder crashes, breaks a promise or
hangs, when a seed is refused, or when two machines disagree; the input is kept beside the seeds.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import builds
import seeds

# Decoders that first make a large model: so many times fewer mutations, or they would take all of the time.
_SLOWER = {"text": 40, "context": 4, "floats_few": 2}


def campaign(
    machines: list[str], runs: int, seed: int, only: list[str] | None, folder: Path, *, again: bool = False
) -> list[dict[str, Any]]:
    """A row for each target and machine. Raises BrokenError, MissingError."""
    if again:
        targets = sorted({path.stem for path in folder.glob("*.bin")} - {seeds.PLANTED})
    else:
        builds.build_library()  # seeds are what it is given: an old one would be given something else
        targets = seeds.write(folder)
    with ThreadPoolExecutor(2) as pool:
        wanted = [name for name in machines if not (again and (folder / f"codec_fuzz_{name}").is_file())]
        list(pool.map(lambda machine: builds.build(machine, folder), wanted))
    rows = []
    for target in only or targets:
        sums = set()
        for machine in machines:
            row = builds.fuzz(machine, target, folder, seed, runs // _SLOWER.get(target, 1))
            rows.append({"machine": machine, "target": target, **row})
            if row["refused_seeds"]:
                raise builds.BrokenError(f"{target} refuses {row['refused_seeds']} of its seeds on {machine}")
            if machine in builds.EXACT:
                sums.add(row["checksum"])
        if len(sums) > 1:
            raise builds.BrokenError(
                f"{target}: {', '.join(machines)} do not agree: {rows[-len(machines) :]}"
            )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["machine    target               executions    1000/s  accepted  edges  kept  checksum"]
    for row in rows:
        rate = row["executions"] / max(row["seconds"], 1e-3) / 1000
        ways = f"{row['edges']:6} {row['grown']:5}" if row["machine"] == "guided" else "     -     -"
        lines.append(
            f"{row['machine']:10} {row['target']:20} {row['executions']:10,} {rate:9,.0f}"
            f" {row['accepted'] / row['executions']:8.1%} {ways}  {row['checksum']}"
        )
    executions = sum(row["executions"] for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    return "\n".join(
        [*lines, f"{executions:,} executions in {seconds:.0f} s: no crash, no hang, no disagreement"]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the codec's compiled decoders.")
    parser.add_argument("--runs", type=int, default=200_000, help="mutations for each target and machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--on", help="machines, with commas: " + ", ".join(builds.MACHINES))
    parser.add_argument("--only", action="append", help="this target (may be given again)")
    parser.add_argument("--json", action="store_true", help="the rows as one line of JSON")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    parser.add_argument("--again", action="store_true", help="with the seeds and programs that --keep left")
    arguments = parser.parse_args()
    if arguments.on:
        machines = arguments.on.split(",")
        unknown = set(machines) - set(builds.MACHINES)
        if unknown:
            parser.error(f"no machine {', '.join(unknown)}; there are {', '.join(builds.MACHINES)}")
    else:
        lacking = {machine: builds.missing(machine) for machine in builds.MACHINES}
        for machine, reason in lacking.items():
            if reason is not None:
                print(f"not on {machine}: {reason}", file=sys.stderr)
        machines = [machine for machine, reason in lacking.items() if reason is None]
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="edgepress-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        rows = campaign(
            machines, arguments.runs, arguments.seed, arguments.only, folder.resolve(), again=arguments.again
        )
    except (builds.BrokenError, builds.MissingError) as error:
        print(f"{error}\nThe work is in {folder}", file=sys.stderr)
        return 1
    print(json.dumps(rows) if arguments.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
