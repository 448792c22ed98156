"""`edgepress-agent profile`: measure this board without a server, and show what a report would say."""

import platform
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edgepress_agent.durable import Disk
from edgepress_agent.engine import runtime_threads
from edgepress_agent.enrolment import read_enrolment
from edgepress_agent.errors import EnrolmentError, ProfilingError
from edgepress_agent.profile_process import ProfileProcess, ProfileTask
from edgepress_agent.slots import Slots
from edgepress_devices.microbench.plan import forms_of
from edgepress_devices.profile import DeviceProfile, ProfileError, load_profile
from edgepress_devices.protocol import ProfilingReport

KERNELS_SHOWN: Final = 12
SKIPPED_SHOWN: Final = 6


def measure_by_hand(
    state: Path,
    *,
    seconds: int,
    model: bool,
    profile_id: str | None,
    progress: Callable[[int], None] = lambda percent: None,
) -> ProfilingReport:
    """Measure the calibration nets, or the model that this device runs, in a child process.

    ``profile_id``: whose integers are timed; by default the enrolled profile's, else those that are usual on
    this kind of processor. Raises ProfilingError, OSError.
    """
    profile = _profile(state, profile_id)
    integers = "u8" if platform.machine() in ("x86_64", "AMD64") else "s8"
    artifact, digest = _running(state) if model else (None, None)
    with tempfile.TemporaryDirectory(prefix="edgepress-profile-") as scratch:
        task = ProfileTask(
            id="by-hand",
            what="model" if model else "device",
            seconds=seconds,
            threads=runtime_threads(profile),
            scratch=scratch,
            forms=("fp32", integers) if profile is None else forms_of(profile),
            artifact=artifact,
            digest=digest,
        )
        process = ProfileProcess(task)
        try:
            return process.wait(progress)
        finally:
            process.kill()


def _profile(state: Path, profile_id: str | None) -> DeviceProfile | None:
    try:
        if profile_id is not None:
            return load_profile(profile_id)
    except ProfileError as error:
        raise ProfilingError(str(error)) from error
    try:
        return read_enrolment(state).device_profile()
    except EnrolmentError:
        return None  # a board without a server: it is measured all the same


def _running(state: Path) -> tuple[str, str]:
    """(path, digest) of the artifact that this device runs."""
    slots = Slots(state, Disk())
    slot = slots.current()
    info = None if slot is None else slots.info(slot)
    if slot is None or info is None:
        raise ProfilingError(f"no model is installed in {state}: leave out --model to measure the board")
    return str(slots.artifact(slot)), info.digest


def describe_report(report: ProfilingReport) -> str:
    """For people: the nets, the slowest kernels, and how far the figures can be trusted."""
    head = ("net", "form", "median", "mean", "95 % within", "runs", "outliers")
    rows = [
        (
            row.net or "model",
            row.form,
            _time(row.p50_us),
            _time(row.mean_us),
            f"{row.ci95_us / row.mean_us:.1%}" if row.mean_us else "",
            str(row.runs),
            str(row.outliers),
        )
        for row in report.nets
    ]
    slowest = sorted(report.kernels, key=lambda kernel: -kernel.mean_us)[:KERNELS_SHOWN]
    kernels = [
        (kernel.net or "model", kernel.form, kernel.op_type, kernel.name[:40], _time(kernel.mean_us))
        for kernel in slowest
    ]
    parts = [
        _table(head, rows),
        "slowest kernels",
        _table(("net", "form", "operator", "node", "mean"), kernels),
    ]
    return "\n\n".join([*parts, "\n".join(_remarks(report))])


def _remarks(report: ProfilingReport) -> list[str]:
    said = [f"{report.runtime}, {report.threads} threads, {report.machine}, {report.seconds or 0:.0f} s"]
    if report.rss_bytes is not None:
        said.append(f"memory: {report.rss_bytes / 2**20:.0f} MiB resident with the model")
    if report.runtime_rss_bytes is not None:
        said.append(f"memory: {report.runtime_rss_bytes / 2**20:.0f} MiB resident with the runtime alone")
    if report.idle_mw is not None and report.busy_mw is not None:
        idle, busy = report.idle_mw, report.busy_mw
        said.append(
            f"power: {idle.value:.0f} mW idle, {busy.value:.0f} mW busy ({busy.method}, {busy.scope})"
        )
    if report.temp_c_after is not None and report.temp_c_before is not None:
        said.append(f"temperature: {report.temp_c_before:.0f} to {report.temp_c_after:.0f} C")
    if report.other_cpu_percent is not None:
        said.append(f"other programs used {report.other_cpu_percent:.0f} % of the processor meanwhile")
    if report.throttled_runs:
        said.append(f"thrown out: {report.throttled_runs} runs in which the board was slowed down")
    skipped: dict[str, list[str]] = defaultdict(list)
    for row in report.skipped:
        skipped[row.reason].append(f"{row.net} {row.form}")
    for reason, nets in skipped.items():
        more = f" and {len(nets) - SKIPPED_SHOWN} more" if len(nets) > SKIPPED_SHOWN else ""
        said.append(f"not measured ({reason}): {', '.join(nets[:SKIPPED_SHOWN])}{more}")
    if report.reason:
        said.append(report.reason)
    return said


def _time(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f} ms" if microseconds >= 1000 else f"{microseconds:.0f} us"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join(lines)
