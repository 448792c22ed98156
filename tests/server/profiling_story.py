"""Reports as devices send them and calibrations as fits make them, without measuring anything."""

from __future__ import annotations

from typing import Any

from fleet_story import Fleet

from edgepress_devices.calibration import Calibration, CrossValidation, KindFit
from edgepress_devices.microbench.nets import NAMES
from edgepress_devices.protocol import (
    KernelTime,
    NetTime,
    ProfilingReport,
    Reading,
    TelemetryBatch,
)
from edgepress_server.store.profiling import ProfilingJobRow
from edgepress_server.store.telemetry import Received


def report(job: ProfilingJobRow, *, first: int = len(NAMES), **more: Any) -> ProfilingReport:
    """Of the ``first`` nets in fp32, or of the artifact that the job is about."""
    names = NAMES[:first] if job.what == "device" else ("",)
    form = "fp32" if job.what == "device" else ""
    said: dict[str, Any] = {
        "id": job.id,
        "what": job.what,
        "plan": job.plan,
        "digest": job.digest,
        "runtime": "onnxruntime 1.31.1",
        "machine": "x86_64",
        "threads": 1,
        "nets": [NetTime(name, form, 90.0, 100.0, 101.0, 1.0, 50, 2) for name in names],
        "kernels": [KernelTime(name, form, "conv1", "Conv", 80.0, 1.0, 50) for name in names],
        "throttled_runs": 3,
        "outliers": 2,
        "idle_mw": Reading(2000.0, "ina3221", "board"),
        "busy_mw": Reading(5000.0, "ina3221", "board"),
        "seconds": 58.5,
    }
    return ProfilingReport(**(said | more))


def send(fleet: Fleet, device: str, *reports: ProfilingReport, number: int = 1, epoch: str = "e") -> None:
    """As telemetry that came in one batch."""
    batch = TelemetryBatch(v=1, epoch=epoch, number=number, samples=[], reports=list(reports))
    fleet.store.telemetry.store([Received(device, fleet.store.now_ms(), batch)])


def calibration(error: float = 0.08, devices: tuple[str, ...] = ("one",), **more: Any) -> Calibration:
    said: dict[str, Any] = {
        "runtime": "onnxruntime 1.31.1",
        "threads": 1,
        "plan": 1,
        "at_ms": 1_800_000_000_000,
        "devices": list(devices),
        "samples": 400,
        "node_overhead_us": 0.5,
        "run_overhead_us": 3.0,
        "kinds": {
            "pointwise fp32": KindFit(
                operations_per_us=9e4, bytes_per_us=2e4, overhead_us=1.0, samples=60, error=0.05
            ),
            "MaxPool fp32": KindFit(bytes_per_us=8e3, overhead_us=0.7, samples=9),
        },
        "error": CrossValidation(operator_median=0.12, model_median=error, model_worst=3 * error, n=48),
    }
    return Calibration(**(said | more))
