"""The messages of a profiling job: what a device is asked to measure, how far it is, and what it found.

A job travels in the device's want: desired state is "have done this job", so a device that was off for a
month does it once, and a job that was taken out of the want or replaced in it is stopped. Each id is done
once::

    waiting -> running -> done | failed (with the reason)
       ^----------'  an installation, or the end of the agent, interrupts; it begins again

The report goes through the outbox as telemetry does: numbered, on disk until acknowledged. ``what="device"``
times the calibration nets of ``microbench`` (plan ``plan``), ``what="model"`` the running artifact on its
probe's inputs. Times of kernels come from onnxruntime's own profile, which slows the net by a little; times
of nets come from runs without it.
"""

from typing import Annotated, Final, Literal

import msgspec

from edgepress_devices.wire_types import Count, Digest, Finite, Reading, Text

PROFILING_SECONDS_MIN: Final = 5
PROFILING_SECONDS_MAX: Final = 600
NETS_MAX: Final = 256
KERNELS_MAX: Final = 4096
REPORT_MAX_BYTES: Final = 120_000  # encoded; a batch holds one, and the smallest broker takes 128 KB
REPORTS_PER_BATCH_MAX: Final = 4

ProfilingId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
ProfilingWhat = Literal["device", "model"]
Plan = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
Microseconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
NetName = Annotated[str, msgspec.Meta(max_length=64)]
Form = Annotated[str, msgspec.Meta(max_length=16)]  # "fp32", "u8", "s8"; "" for an artifact


class ProfilingJob(msgspec.Struct, omit_defaults=True):
    """``Want.profiling``."""

    id: ProfilingId
    what: ProfilingWhat = "device"
    seconds: Annotated[int, msgspec.Meta(ge=PROFILING_SECONDS_MIN, le=PROFILING_SECONDS_MAX)] = 120
    digest: Digest | None = None  # what="model": the artifact it is about, which has to be the running one
    plan: Plan = 1  # version of the calibration nets (microbench.nets.PLAN_VERSION)


class ProfilingState(msgspec.Struct, omit_defaults=True):
    """``State.profiling``: the newest job."""

    id: ProfilingId
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    reason: Text | None = None  # why failed, or what it waits for


class KernelTime(msgspec.Struct, array_like=True):
    """One node of a net as the runtime executed it, over the runs that were kept."""

    net: NetName  # "" = the artifact itself
    form: Form
    name: Text  # of the node that runs, after the runtime's own optimizations
    op_type: Text
    mean_us: Microseconds
    ci95_us: Microseconds  # half width of the 95 % confidence interval of the mean
    runs: Count


class NetTime(msgspec.Struct, array_like=True):
    """One inference of a whole net, batch 1, not profiled."""

    net: NetName  # "" = the artifact itself
    form: Form
    p10_us: Microseconds
    p50_us: Microseconds
    mean_us: Microseconds
    ci95_us: Microseconds  # half width of the 95 % confidence interval of the mean
    runs: Count  # kept: neither throttled nor outliers
    outliers: Count = 0


class SkippedNet(msgspec.Struct, array_like=True):
    """A net of the plan that was not timed."""

    net: NetName
    form: Form
    reason: Text


class ProfilingReport(msgspec.Struct, array_like=True):
    """What one job found. None = this board cannot tell."""

    id: ProfilingId
    what: ProfilingWhat
    plan: Plan
    digest: Digest | None
    runtime: Text  # "onnxruntime 1.31.1"
    machine: Text  # platform.machine(): x86_64, aarch64
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    nets: Annotated[list[NetTime], msgspec.Meta(max_length=NETS_MAX)]
    kernels: Annotated[list[KernelTime], msgspec.Meta(max_length=KERNELS_MAX)]
    throttled_runs: Count = 0  # thrown out: the board was slowed down, or busy with something else
    outliers: Count = 0  # thrown out
    temp_c_before: Finite | None = None
    temp_c_after: Finite | None = None
    clock_mhz: Finite | None = None  # median while measuring
    idle_mw: Reading | None = None  # mean before the first run
    busy_mw: Reading | None = None  # mean while the nets ran
    rss_bytes: Count | None = (
        None  # what="model": most resident memory of the process that ran only this artifact
    )
    other_cpu_percent: Finite | None = None  # of the whole board, 0..100: what everybody else used meanwhile
    cut_short: bool = False  # time was up before every net was timed to within its confidence interval
    reason: Text | None = None  # what kept it from being complete, for people
    runtime_rss_bytes: Count | None = None  # resident memory of that process with the runtime and no net
    inferences: Count = 0  # requests that the device answered meanwhile: noise in these times
    skipped: Annotated[list[SkippedNet], msgspec.Meta(max_length=NETS_MAX)] = []
    at_ms: Count | None = None  # end, device clock, Unix milliseconds
    seconds: Finite | None = None  # wall time that it took
