"""A telemetry sample as JSON, with the quantiles of its latency histogram."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from edgepress_devices.protocol import Histogram, Sample
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
    queue_p95_us: float | None = Field(description="Waiting for the model; p95_us is of the inference alone")
    pre_p95_us: float | None = Field(description="Reading the request into tensors")
    post_p95_us: float | None = Field(description="Writing the answer")
    errors_input: int | None = Field(description="Of `errors`: the request does not fit the model")
    errors_runtime: int | None
    errors_timeout: int | None
    errors_busy: int | None = Field(description="Turned away: too many were waiting")
    swap_used_bytes: int | None
    cpu_mhz: float | None
    gpu_percent: float | None
    battery_charging: bool | None
    disk_read_bytes: int | None = Field(description="Of the whole board, in this interval, as the next three")
    disk_written_bytes: int | None
    net_rx_bytes: int | None
    net_tx_bytes: int | None
    wifi_dbm: float | None
    input_psi: float | None = Field(description="Drift against the artifact's baseline, of the worst feature")
    input_ks: float | None
    output_psi: float | None
    output_ks: float | None
    confidence: float | None = Field(description="Mean of the largest class probability")
    compared: int | None = Field(description="Requests that both models answered in shadow mode")
    agreed: int | None

    @classmethod
    def of(cls, sample: Sample) -> SampleAnswer:
        p50_us, p95_us, p99_us = _quantiles(sample.latency_us, (0.50, 0.95, 0.99))
        kinds, model = sample.error_kinds, sample.model
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
            queue_p95_us=_quantiles(sample.queue_us, (0.95,))[0],
            pre_p95_us=_quantiles(sample.pre_us, (0.95,))[0],
            post_p95_us=_quantiles(sample.post_us, (0.95,))[0],
            errors_input=None if kinds is None else kinds.input,
            errors_runtime=None if kinds is None else kinds.runtime,
            errors_timeout=None if kinds is None else kinds.timeout,
            errors_busy=None if kinds is None else kinds.busy,
            swap_used_bytes=sample.swap_used_bytes,
            cpu_mhz=sample.cpu_mhz,
            gpu_percent=sample.gpu_percent,
            battery_charging=sample.battery_charging,
            disk_read_bytes=sample.disk_read_bytes,
            disk_written_bytes=sample.disk_written_bytes,
            net_rx_bytes=sample.net_rx_bytes,
            net_tx_bytes=sample.net_tx_bytes,
            wifi_dbm=sample.wifi_dbm,
            input_psi=None if model is None else model.input_psi,
            input_ks=None if model is None else model.input_ks,
            output_psi=None if model is None else model.output_psi,
            output_ks=None if model is None else model.output_ks,
            confidence=None if model is None else model.confidence,
            compared=None if model is None else model.compared,
            agreed=None if model is None else model.agreed,
        )


def _quantiles(histogram: Histogram | None, qs: Sequence[float]) -> list[float | None]:
    return quantiles_us([] if histogram is None else [histogram], qs)
