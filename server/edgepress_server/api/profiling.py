"""Profiling jobs: ask a device to measure itself or what it runs, follow, read the report."""

from __future__ import annotations

from typing import Annotated, Final

from flask import Response
from pydantic import Field, RootModel

from edgepress_devices.protocol import ProfilingReport
from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.api.samples import ReadingAnswer
from edgepress_server.store.devices import Device
from edgepress_server.store.profiling import (
    EXPIRES_MAX_MS,
    EXPIRES_MIN_MS,
    EXPIRES_MS,
    SECONDS_MAX,
    SECONDS_MIN,
    ProfilingJobRow,
    ProfilingJobState,
    What,
)
from edgepress_server.store.profiling_reports import StoredReport

api = section("profiling", "Measurements that devices are asked for: of themselves, or of what they run.")

DeviceName = Annotated[str, Field(max_length=80)]


class DevicePath(Asked):
    name: DeviceName


class ProfilingPath(Asked):
    id: Annotated[str, Field(max_length=64)]


class ProfilingQuery(Asked):
    device: DeviceName | None = None
    profile: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="Of the devices that have this profile now"
    )


class ReportQuery(Asked):
    kernels: bool = Field(False, description="Answer the times of single kernels too: thousands")


class ProfilingAsked(Asked):
    what: What = Field("device", description="device: calibration nets. model: the artifact that it runs now")
    seconds: Annotated[int, Field(ge=SECONDS_MIN, le=SECONDS_MAX, description="Of measuring")] = 60
    digest: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="what = model: refuse when it runs another artifact than this"
    )
    expires_s: Annotated[
        int,
        Field(
            ge=EXPIRES_MIN_MS // 1000,
            le=EXPIRES_MAX_MS // 1000,
            description="How long the job waits for a device that is off",
        ),
    ] = EXPIRES_MS // 1000


class ProfilingJobAnswer(Answer):
    id: str
    device: str
    profile: str = Field(description="That the device has now")
    what: What
    digest: str | None
    seconds: int
    state: ProfilingJobState
    percent: int = Field(description="0 to 100")
    message: str = Field(description="What it waits for, or why it ended")
    created_at: int
    expires_at: int
    sent_at: int | None
    started_at: int | None
    finished_at: int | None
    actor: str | None


class ProfilingJobs(RootModel[list[ProfilingJobAnswer]]):
    pass


class NetAnswer(Answer):
    """One inference of a calibration net, or of the artifact (`net` and `form` empty), not profiled."""

    net: str
    form: str
    p10_us: float
    p50_us: float
    mean_us: float
    ci95_us: float = Field(description="Half width of the 95 % confidence interval of the mean")
    runs: int
    outliers: int


class KernelAnswer(Answer):
    net: str
    form: str
    name: str
    op_type: str
    mean_us: float
    ci95_us: float
    runs: int


class SkippedAnswer(Answer):
    net: str
    form: str
    reason: str


class ReportAnswer(Answer):
    """What the device found. null: it cannot tell."""

    at: int = Field(description="When it was stored")
    usable: bool
    unusable_reason: str
    runtime: str
    machine: str
    threads: int
    plan: int = Field(description="Version of the calibration nets")
    nets: list[NetAnswer]
    kernels: list[KernelAnswer] | None = Field(description="null: not asked for (?kernels=true)")
    kernel_count: int
    skipped: list[SkippedAnswer] = Field(description="Nets that were not timed")
    throttled_runs: int = Field(description="Thrown out: the device was slowed down or busy")
    outliers: int = Field(description="Thrown out")
    temp_c_before: float | None
    temp_c_after: float | None
    clock_mhz: float | None
    idle_mw: ReadingAnswer | None
    busy_mw: ReadingAnswer | None
    rss_bytes: int | None
    runtime_rss_bytes: int | None
    other_cpu_percent: float | None
    inferences: int = Field(description="Requests that it answered meanwhile: noise in these times")
    cut_short: bool
    reason: str | None
    seconds: float | None


class ProfilingDetail(ProfilingJobAnswer):
    report: ReportAnswer | None


@api.get("/profiling", responses={200: ProfilingJobs})
@needs("viewer")
def list_profiling(query: ProfilingQuery) -> Response:
    """The newest 200 profiling jobs, of one device or profile if asked"""
    store = context().store
    with store.database.snapshot():
        jobs = store.profiling.list(device=query.device, profile=query.profile)
        devices = {name: store.devices.get(name) for name in {job.device for job in jobs}}
        return answers([_answer(job, devices[job.device]) for job in jobs])


@api.post("/devices/<name>/profiling", responses={201: ProfilingJobAnswer})
@needs("operator")
def start_profiling(path: DevicePath, body: ProfilingAsked) -> Response:
    """Ask a device to measure itself, or the artifact it runs

    The order waits for a device that is off. The report comes as telemetry; a report of the device itself
    leads to a new calibration of its profile. A job that asks for the same and is open is answered instead
    of a second one.
    """
    store = context().store
    job = store.profiling.request(
        path.name,
        body.what,
        body.seconds,
        person().name,
        digest=body.digest,
        expires_ms=1000 * body.expires_s,
    )
    return answer(_answer(job, store.devices.get(path.name)), 201)


@api.get("/profiling/<id>", responses={200: ProfilingDetail})
@needs("viewer")
def get_profiling(path: ProfilingPath, query: ReportQuery) -> Response:
    """One profiling job with its report"""
    store = context().store
    with store.database.snapshot():
        job = store.profiling.get(path.id)
        stored = store.profiling.reports.of_job(job.id)
        plain = _answer(job, store.devices.get(job.device))
    report = None if stored is None else _report(stored, kernels=query.kernels)
    return answer(ProfilingDetail(**plain.model_dump(), report=report))


@api.post("/profiling/<id>/cancel", responses={200: ProfilingJobAnswer})
@needs("operator")
def cancel_profiling(path: ProfilingPath) -> Response:
    """Cancel a profiling job; a device that is measuring stops when it hears of it"""
    store = context().store
    job = store.profiling.cancel(path.id, actor=person().name)
    return answer(_answer(job, store.devices.get(job.device)))


def _answer(job: ProfilingJobRow, device: Device) -> ProfilingJobAnswer:
    fields = {name: getattr(job, name) for name in ProfilingJobAnswer.model_fields if name != "profile"}
    return ProfilingJobAnswer(**{**fields, "message": _message(job, device)}, profile=device.profile)


def _message(job: ProfilingJobRow, device: Device) -> str:
    if job.state in ("queued", "sent", "running") and not device.online:
        went = f"went away at {job.percent} %" if job.state == "running" else "is offline"
        return f"{device.name} {went}; the job waits for it."
    return job.message


def _report(stored: StoredReport, *, kernels: bool) -> ReportAnswer:
    row, report = stored.row, stored.report
    return ReportAnswer(
        **{name: getattr(report, name) for name in _AS_THEY_ARE},
        at=row.at,
        usable=row.usable,
        unusable_reason=row.unusable_reason,
        nets=[NetAnswer.model_validate(net) for net in report.nets],
        kernels=_kernels(report) if kernels else None,
        kernel_count=len(report.kernels),
        skipped=[SkippedAnswer.model_validate(net) for net in report.skipped],
        idle_mw=None if report.idle_mw is None else ReadingAnswer.model_validate(report.idle_mw),
        busy_mw=None if report.busy_mw is None else ReadingAnswer.model_validate(report.busy_mw),
    )


_AS_THEY_ARE: Final = (
    "runtime",
    "machine",
    "threads",
    "plan",
    "throttled_runs",
    "outliers",
    "temp_c_before",
    "temp_c_after",
    "clock_mhz",
    "rss_bytes",
    "runtime_rss_bytes",
    "other_cpu_percent",
    "inferences",
    "cut_short",
    "reason",
    "seconds",
)


def _kernels(report: ProfilingReport) -> list[KernelAnswer]:
    return [KernelAnswer.model_validate(kernel) for kernel in report.kernels]
