"""The catalogue of what a sample can tell: names, units, resolutions and plausible ranges.

One table for everybody: the agent that measures, the store that keeps, the query that asks, the chart that
draws. The order is the store's: new metrics go to the end, none is ever taken out or moved.

A value is kept as a whole number of ``resolution`` steps, which is at least as fine as any sensor we read.
Whole numbers add up to the same sum in every order, so a rollup equals brute force over its rows exactly.

``kind`` says how values of several intervals become one:

- ``count``: they are added; asked for as a rate they are divided by the time covered
- ``gauge``: mean, and the least and the most
- ``flag``: 0 or 1; the mean is the share of intervals
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["count", "gauge", "flag"]


@dataclass(frozen=True)
class Metric:
    name: str  # as the field of protocol.Sample, where there is one
    unit: str
    kind: Kind
    resolution: float  # in ``unit``
    low: float  # what is below is no measurement
    high: float  # what is above is none
    title: str

    def steps(self, value: float) -> int:
        """The whole number that is kept."""
        return round(value / self.resolution)


def _bytes(name: str, title: str) -> Metric:
    # 1024: the kernel counts memory in kB and disks in blocks; a fleet's sums of an hour stay within 64 bits
    return Metric(name, "B", "gauge", 1024.0, 0.0, 2.0**48, title)


def _count(name: str, title: str, unit: str = "") -> Metric:
    return Metric(name, unit, "count", 1.0, 0.0, 1e9, title)


def _traffic(name: str, title: str) -> Metric:
    return Metric(name, "B", "count", 1.0, 0.0, 1e13, title)


def _percent(name: str, title: str, high: float = 100.0) -> Metric:
    return Metric(name, "%", "gauge", 0.01, 0.0, high, title)


def _drift(name: str, title: str, high: float) -> Metric:
    return Metric(name, "", "gauge", 0.0001, 0.0, high, title)


METRICS: Final[tuple[Metric, ...]] = (
    Metric("covered_ms", "ms", "count", 1.0, 0.0, 86_400_000.0, "Time covered"),
    _count("inferences", "Inferences"),
    _count("errors", "Errors"),
    _bytes("rss_bytes", "Agent's memory"),
    _bytes("mem_used_bytes", "Board's memory in use"),
    _bytes("mem_total_bytes", "Board's memory"),
    _percent("cpu_percent", "CPU"),
    _percent("agent_cpu_percent", "Agent's CPU, 100 = one core", 100_000.0),
    Metric("temp_c", "°C", "gauge", 0.01, -100.0, 250.0, "Temperature"),
    Metric("throttled", "", "flag", 1.0, 0.0, 1.0, "Throttled"),
    Metric("power_mw", "mW", "gauge", 0.1, 0.0, 1e7, "Power"),
    Metric("energy_mj", "mJ", "gauge", 1e-6, 0.0, 1e6, "Energy of an inference"),
    _percent("battery_percent", "Battery"),
    _bytes("disk_free_bytes", "Free disk"),
    _count("errors_input", "Errors: input the model cannot take"),
    _count("errors_runtime", "Errors: the runtime failed"),
    _count("errors_timeout", "Errors: no answer in time"),
    _count("errors_busy", "Errors: turned away, too many waiting"),
    _bytes("swap_used_bytes", "Swap in use"),
    Metric("cpu_mhz", "MHz", "gauge", 1.0, 0.0, 100_000.0, "CPU clock"),
    _percent("gpu_percent", "GPU"),
    Metric("battery_charging", "", "flag", 1.0, 0.0, 1.0, "Charging"),
    _traffic("disk_read_bytes", "Read from disk"),
    _traffic("disk_written_bytes", "Written to disk"),
    _traffic("net_rx_bytes", "Received"),
    _traffic("net_tx_bytes", "Sent"),
    Metric("wifi_dbm", "dBm", "gauge", 1.0, -200.0, 100.0, "Wi-Fi signal"),
    _drift("input_psi", "Input drift, PSI of the worst feature", 1000.0),
    _drift("input_ks", "Input drift, KS of the worst feature", 1.0),
    _drift("output_psi", "Output drift, PSI of the classes", 1000.0),
    _drift("output_ks", "Output drift, KS of the confidence", 1.0),
    _drift("confidence", "Confidence, mean", 1.0),
    _count("compared", "Requests that both models answered"),
    _count("agreed", "Answers on which both agreed"),
)

HISTOGRAMS: Final[dict[str, str]] = {
    "latency_us": "Latency",
    "queue_us": "Waiting for the model",
    "pre_us": "Reading the request",
    "post_us": "Writing the answer",
}
"""Base-2 exponential histograms of a sample, microseconds: name -> title."""

INDEX: Final[dict[str, int]] = {metric.name: i for i, metric in enumerate(METRICS)}
BY_NAME: Final[dict[str, Metric]] = {metric.name: metric for metric in METRICS}
