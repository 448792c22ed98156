"""A telemetry sample as JSON, with the quantiles of its latency histogram."""

from __future__ import annotations

from pydantic import Field

from edgepress_devices.protocol import Sample
from edgepress_server.api.answers import Answer
from edgepress_server.store.telemetry_read import quantiles_us


class ReadingAnswer(Answer):
    """A number with where it came from: an estimate never wears a measurement's name."""

    value: float
    method: str = Field(description="ina3221, rapl, pmic, battery, estimate:... ")
    scope: str = Field(description="board, package, core, process ...")


class SampleAnswer(Answer):
    """What one device saw during one interval; null = this board cannot tell."""

    at_ms: int = Field(description="End of the interval, device clock")
    interval_ms: int
    artifact: str | None
    inferences: int
    errors: int
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    rss_bytes: int | None
    mem_used_bytes: int | None
    mem_total_bytes: int | None
    cpu_percent: float | None
    temp_c: float | None
    throttled: bool | None
    power_mw: ReadingAnswer | None
    energy_mj: ReadingAnswer | None = Field(description="Per inference")
    battery_percent: float | None
    agent_cpu_percent: float | None
    disk_free_bytes: int | None

    @classmethod
    def of(cls, sample: Sample) -> SampleAnswer:
        latencies = [] if sample.latency_us is None else [sample.latency_us]
        p50_us, p95_us, p99_us = quantiles_us(latencies, (0.50, 0.95, 0.99))
        return cls(
            at_ms=sample.at_ms,
            interval_ms=sample.interval_ms,
            artifact=sample.artifact,
            inferences=sample.inferences,
            errors=sample.errors,
            p50_us=p50_us,
            p95_us=p95_us,
            p99_us=p99_us,
            rss_bytes=sample.rss_bytes,
            mem_used_bytes=sample.mem_used_bytes,
            mem_total_bytes=sample.mem_total_bytes,
            cpu_percent=sample.cpu_percent,
            temp_c=sample.temp_c,
            throttled=sample.throttled,
            power_mw=ReadingAnswer.model_validate(sample.power_mw) if sample.power_mw is not None else None,
            energy_mj=ReadingAnswer.model_validate(sample.energy_mj)
            if sample.energy_mj is not None
            else None,
            battery_percent=sample.battery_percent,
            agent_cpu_percent=sample.agent_cpu_percent,
            disk_free_bytes=sample.disk_free_bytes,
        )
