"""One compression by several processes that share every batch of its trainings:

    torchrun --standalone --nproc-per-node 2 -m edgepress_compression.parallel MODEL \\
        --recipe RECIPE --profile PROFILE --data DATA.toml --output OUT.epz --report REPORT.json

or, on one machine, `edgepress compress ... --processes 2`, which starts the same. On several machines
torchrun is given the same command on each (--nnodes 2 --rdzv-backend c10d --rdzv-endpoint HOST:PORT ...).
All processes run the same passes from the same seed (training/parallel.py); the first one measures, writes
and says how far it is. Backends: gloo between processors, NCCL between GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgepress_compression.compress import Progress, Result, compress
from edgepress_compression.errors import CompressionCancelledError, EdgepressError, TrainingError
from edgepress_compression.resume import Forget
from edgepress_compression.whole_file import write_whole
from edgepress_devices.profile import ProfileError, load_profile

_FAILED = 1
_SAID = 3  # the reason is in the file of --report
_LAST_LINES = 8  # of what the processes wrote before they ended


def compress_parallel(
    model: Path,
    *,
    processes: int,
    recipe: str,
    profile: str,
    data: Path | None,
    seed: int = 0,
    target_bytes: int | None = None,
    coding: str | None = None,
    checkpoint_dir: Path | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """`compress` by that many processes of this machine, which share its cores.

    The result is that of one process up to rounding. Raises an EdgepressError with a sentence for people.
    """
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        out, report = Path(folder) / "artifact", Path(folder) / "report.json"
        left = Path(folder) / "checkpoints"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", str(processes), "-m", "edgepress_compression.parallel", str(model),
            "--recipe", recipe, "--profile", profile, "--seed", str(seed),
            "--output", str(out), "--report", str(report), "--progress-lines",
            "--keep-checkpoints", str(left),
        ]  # fmt: skip
        for option, value in (
            ("--data", data),
            ("--target-bytes", target_bytes),
            ("--coding", coding),
            ("--resume", checkpoint_dir),
        ):
            if value is not None:
                command += [option, str(value)]
        wrote = _run(command, processes, progress)
        said: dict[str, Any] = json.loads(report.read_bytes()) if report.is_file() else {}
        if not out.is_file():
            ended = "A process of the training ended before its time"
            raise TrainingError(said.get("error") or (f"{ended}:\n{wrote}" if wrote else f"{ended}."))
        result = Result(out.read_bytes(), said)
        if left.is_file():
            result = replace(result, finished=Forget(Path(left.read_text(encoding="utf-8"))))
        return result


def _run(command: Sequence[str], processes: int, progress: Callable[[Progress], None]) -> str:
    """The last lines that the processes wrote to their standard error."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads leave the cores to others
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors) as child,
    ):
        try:
            assert child.stdout is not None  # noqa: S101 - it is a pipe
            for line in child.stdout:
                if line.startswith(b"{"):
                    progress(Progress(**json.loads(line)))
        except BaseException:
            child.terminate()  # torchrun ends its processes
            raise
        child.wait()
        errors.seek(0)
        return _last_lines(errors.read().decode(errors="replace"))


def _last_lines(text: str) -> str:
    """Up to the first process that failed: then torchrun says at length that one did."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    ends = (number for number, line in enumerate(lines) if "failed (exitcode" in line)
    return "\n".join(lines[: next(ends, len(lines)) + 1][-_LAST_LINES:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Of each process that torchrun started."""
    import torch

    options = _options().parse_args(arguments)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if size > 1:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if gpus:
            torch.cuda.set_device(local % gpus)
        # gradients are on the CPU unless there are GPUs; two processes cannot share one GPU in NCCL
        together = gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if together and gpus else "gloo")
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        return _compress(options, rank)
    finally:
        if size > 1:
            torch.distributed.destroy_process_group()


def _compress(options: argparse.Namespace, rank: int) -> int:
    passed = False

    def listen(progress: Progress) -> None:
        nonlocal passed
        if rank > 0:
            passed = progress.step == "write"
        elif options.progress_lines:
            line = {"step": progress.step, "fraction": progress.fraction, "message": progress.message}
            print(json.dumps(line), flush=True)

    try:
        result = compress(
            options.model,
            recipe=options.recipe,
            profile=load_profile(options.profile),
            dataset=options.data,
            progress=listen,
            cancelled=lambda: passed,  # what comes after the passes is for the first process alone
            seed=options.seed,
            target_bytes=options.target_bytes,
            coding=options.coding,
            checkpoint_dir=options.resume,
        )
    except CompressionCancelledError:
        return 0
    except (EdgepressError, ProfileError) as error:
        if rank == 0:
            print(f"error: {error}", file=sys.stderr)
            if options.report is not None:
                write_whole(options.report, json.dumps({"error": str(error)}).encode())
        return _SAID if rank == 0 else _FAILED
    write_whole(options.output, result.artifact)
    if options.report is not None:
        write_whole(options.report, (json.dumps(result.report, indent=2) + "\n").encode())
    if options.keep_checkpoints is None:
        result.finished()
    elif isinstance(result.finished, Forget):
        write_whole(options.keep_checkpoints, str(result.finished.folder.absolute()).encode())
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgepress_compression.parallel", description="See the module.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target-bytes", type=int)
    parser.add_argument("--coding")
    parser.add_argument(
        "--resume", type=Path, help="folder for checkpoints, which an interrupted run goes on from"
    )
    parser.add_argument(
        "--keep-checkpoints",
        type=Path,
        help="they stay, and this file says where: whoever started this removes them",
    )
    parser.add_argument("--progress-lines", action="store_true", help="how far it is, as JSON, a line each")
    return parser


if __name__ == "__main__":
    sys.exit(main())
