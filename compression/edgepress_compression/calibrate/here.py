"""Times the calibration nets on this very machine: the same nets, order and statistics as on a device."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import psutil

from edgepress_compression.evaluate import ORT_ERRORS
from edgepress_devices.microbench.board_look import BoardLook
from edgepress_devices.microbench.plan import forms_of
from edgepress_devices.microbench.report import calibration_nets, make_report, reference_net
from edgepress_devices.microbench.session_runner import SessionRunner
from edgepress_devices.microbench.timed import Timed
from edgepress_devices.microbench.timing import Candidate, CannotRunError, Runner, Session, time_nets
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.protocol import ProfilingReport

RUNTIME = f"onnxruntime {onnxruntime.__version__}"
HERE = "this machine"  # the name of the device that such a report is of


def calibrate_here(
    profile: DeviceProfile,
    seconds: float,
    *,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda percent: None,
) -> ProfilingReport:
    """Measures for that long, on the profile's threads or as many cores as there are, if these are fewer.

    `progress` gets 0..99. Raises CannotRunError where nothing runs.
    """
    count = threads or min(profile.cpu.threads, os.cpu_count() or 1)
    before = int(psutil.Process().memory_info().rss)
    timed = time_here(
        lambda session: calibration_nets(session, forms_of(profile)),
        seconds,
        threads=count,
        progress=progress,
    )
    return report_here(timed, count, before)


def time_here(
    candidates: Callable[[Session], Sequence[Candidate]],
    seconds: float,
    *,
    threads: int,
    progress: Callable[[int], None] = lambda percent: None,
) -> Timed:
    """Times models in turns; `candidates` gets what opens their files. Raises CannotRunError where nothing
    runs."""
    look = BoardLook()
    try:
        with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
            session = _sessions(Path(folder), threads)
            timed = time_nets(
                candidates(session),
                seconds=seconds,
                reference=reference_net(session),
                look=look.look,
                progress=progress,
            )
    finally:
        look.close()
    if not timed.nets:
        reasons = "; ".join(sorted({one.reason for one in timed.skipped}))
        raise CannotRunError(f"nothing could be measured here: {reasons}")
    return timed


def report_here(timed: Timed, threads: int, rss_bytes: int | None = None) -> ProfilingReport:
    """As a device would send it. `rss_bytes`: resident memory before the first net."""
    return make_report(
        timed, job_id="here", what="device", runtime=RUNTIME, threads=threads, runtime_rss_bytes=rss_bytes
    )


class _OwnTime(SessionRunner):
    """On one thread, the time that the processor gave to it: the turns that other programs had in between are
    not this machine's speed. With nothing else running it is the time on the wall."""

    def run(self) -> float:
        began_ns = time.thread_time_ns()
        super().run()
        return (time.thread_time_ns() - began_ns) / 1000


def _sessions(folder: Path, threads: int) -> Session:
    def open_one(model: bytes, profile: bool) -> Runner:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.enable_profiling = profile
        options.profile_file_prefix = str(folder / "profile")
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except ORT_ERRORS as error:
            raise CannotRunError(f"onnxruntime refuses it: {str(error).splitlines()[0][:200]}") from error
        runner = _OwnTime if threads == 1 else SessionRunner
        return runner(session, _feeds(session), profiled=profile, errors=ORT_ERRORS)

    return open_one


def _feeds(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """Half in every float, 1 in every integer; free lengths 64, one sample."""
    feeds = {}
    for value in session.get_inputs():
        shape = [
            side if isinstance(side, int) else (1 if number == 0 else 64)
            for number, side in enumerate(value.shape)
        ]
        feeds[value.name] = (
            np.ones(shape, np.int64) if "int64" in value.type else np.full(shape, 0.5, np.float32)
        )
    return feeds
