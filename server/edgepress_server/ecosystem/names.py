"""What a metric of the catalogue is called elsewhere, and in which unit.

Prometheus wants base units in names (seconds, bytes, watts, ratios of 1); OpenTelemetry wants the unit beside
the name, as UCUM writes it. Both come from the catalogue: a new metric of it is exported without a line here.
Histograms stay in microseconds: a bucket's bounds in seconds would no longer be powers of the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgepress_devices.metrics import Metric

PREFIX: Final = "edgepress"


@dataclass(frozen=True)
class _Unit:
    suffix: str  # of the catalogue's name
    word: str  # Prometheus
    factor: float  # of the catalogue's unit in Prometheus' one
    ucum: str  # OpenTelemetry, in the catalogue's unit


_UNITS: Final = {
    "B": _Unit("_bytes", "bytes", 1.0, "By"),
    "%": _Unit("_percent", "ratio", 0.01, "%"),
    "°C": _Unit("_c", "celsius", 1.0, "Cel"),
    "mW": _Unit("_mw", "watts", 0.001, "mW"),
    "mJ": _Unit("_mj", "joules", 0.001, "mJ"),
    "ms": _Unit("_ms", "seconds", 0.001, "ms"),
    "MHz": _Unit("_mhz", "hertz", 1e6, "MHz"),
    "dBm": _Unit("_dbm", "dbm", 1.0, "dB[mW]"),
}
_NONE: Final = _Unit("", "", 1.0, "1")
_CLEARER: Final = {  # by the catalogue's name
    "energy_mj": "inference_energy",
    "rss_bytes": "agent_memory",
    "mem_used_bytes": "memory_used",
    "mem_total_bytes": "memory_size",
    "cpu_percent": "cpu_used",
    "cpu_mhz": "cpu_clock",
    "gpu_percent": "gpu_used",
}


def _unit(metric: Metric) -> _Unit:
    return _UNITS.get(metric.unit, _NONE)


def plain_name(metric: Metric) -> str:
    """Without the unit: ``temp_c`` -> ``temp``."""
    return _CLEARER.get(metric.name) or metric.name.removesuffix(_unit(metric).suffix)


def factor(metric: Metric) -> float:
    """What a value in the catalogue's unit is multiplied with for Prometheus."""
    return _unit(metric).factor


def prometheus_name(metric: Metric, *, scope: str = "", statistic: str = "") -> str:
    """``edgepress_device_temp_celsius``, ``edgepress_temp_max_celsius``, ``edgepress_inferences``.

    Of a flag, which is 0 or 1, the mean is a share: ``edgepress_throttled_ratio``.
    """
    plain = plain_name(metric)
    word = _unit(metric).word
    if metric.kind == "flag" and statistic:
        word, statistic = "ratio", ""
    return "_".join(filter(None, (PREFIX, scope, plain, statistic, word)))


def otlp_name(metric: Metric) -> str:
    return f"{PREFIX}.{plain_name(metric)}"


def ucum(metric: Metric) -> str:
    return _unit(metric).ucum


def histogram_plain(name: str) -> str:
    """``latency_us`` -> ``latency``."""
    return name.removesuffix("_us")
