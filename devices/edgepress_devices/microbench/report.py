"""From a device's or a model's timing to the report that travels, small enough for one telemetry batch."""

import platform
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from edgepress_devices.microbench.nets import NAMES, PLAN_VERSION, Form, write_net
from edgepress_devices.microbench.timed import Timed
from edgepress_devices.microbench.timing import Candidate, Runner, Session
from edgepress_devices.profiling_messages import KERNELS_MAX, REPORT_MAX_BYTES, ProfilingWhat
from edgepress_devices.protocol import ProfilingReport

REFERENCE_NET: Final = "residual-32"  # half a millisecond on a PC, some ten on the smallest boards
MODEL_NET: Final = ""  # the artifact itself


def calibration_nets(
    session: Session, forms: Sequence[Form], names: Sequence[str] = NAMES
) -> list[Candidate]:
    """The nets of this plan: all in the first form, then all in the second."""
    return [Candidate(name, form, _opening(session, name, form)) for form in forms for name in names]


def reference_net(session: Session) -> Callable[[bool], Runner]:
    """What tells a slowed-down board."""
    return _opening(session, REFERENCE_NET, "fp32")


def _opening(session: Session, name: str, form: Form) -> Callable[[bool], Runner]:
    return lambda profile: session(write_net(name, form), profile)


def make_report(
    timed: Timed,
    *,
    job_id: str,
    what: ProfilingWhat,
    runtime: str,
    threads: int,
    digest: str | None = None,
    rss_bytes: int | None = None,
    runtime_rss_bytes: int | None = None,
) -> ProfilingReport:
    """``runtime``: name and version, "onnxruntime 1.31.1". Of more kernels than a report can carry the
    slowest are kept, and the report says so.
    """
    report = ProfilingReport(
        id=job_id,
        what=what,
        plan=PLAN_VERSION,
        digest=digest,
        runtime=runtime,
        machine=platform.machine(),
        threads=threads,
        nets=timed.nets,
        kernels=timed.kernels,
        throttled_runs=timed.throttled_runs,
        outliers=timed.outliers,
        temp_c_before=timed.temp_c_before,
        temp_c_after=timed.temp_c_after,
        clock_mhz=timed.clock_mhz,
        idle_mw=timed.idle_mw,
        busy_mw=timed.busy_mw,
        rss_bytes=rss_bytes,
        other_cpu_percent=timed.other_cpu_percent,
        cut_short=timed.cut_short,
        reason=timed.reason,
        runtime_rss_bytes=runtime_rss_bytes,
        skipped=timed.skipped,
        at_ms=time.time_ns() // 1_000_000,
        seconds=timed.seconds,
    )
    return _small_enough(report)


def _small_enough(report: ProfilingReport) -> ProfilingReport:
    total = keep = len(report.kernels)
    while keep > KERNELS_MAX or len(msgspec.msgpack.encode(report)) > REPORT_MAX_BYTES:
        keep = min(KERNELS_MAX, keep * 3 // 4)
        slowest = sorted(range(len(report.kernels)), key=lambda i: -report.kernels[i].mean_us)[:keep]
        said = f"of {total} kernels the {keep} slowest are told"
        report = msgspec.structs.replace(
            report,
            kernels=[report.kernels[i] for i in sorted(slowest)],
            reason=said if report.reason is None else f"{report.reason.split('; of ')[0]}; {said}"[:500],
        )
    return report
