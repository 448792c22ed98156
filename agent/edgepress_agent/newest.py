"""The newest sample for people and programs on the device: what was measured, by name."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from edgepress_devices.histogram import quantile
from edgepress_devices.metrics import HISTOGRAMS
from edgepress_devices.protocol import Sample

_LEFT_OUT: Final = frozenset({"at_ms", "interval_ms", "artifact", "model", *HISTOGRAMS})


def newest_figures(sample: Sample | None) -> dict[str, Any] | None:
    """A sample as JSON: what is absent is left out, histograms are their p50 and p95 in microseconds. None
    before the first sample.
    """
    if sample is None:
        return None
    figures: dict[str, Any] = {"at_ms": sample.at_ms, "interval_ms": sample.interval_ms}
    for name in sample.__struct_fields__:
        value = getattr(sample, name)
        if value is not None and name not in _LEFT_OUT:
            figures[name] = msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value
    for name in HISTOGRAMS:
        histogram = getattr(sample, name)
        if histogram is not None:
            figures[name] = {"p50": quantile(histogram, 0.5), "p95": quantile(histogram, 0.95)}
    return figures


def describe_board(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows for people: of the board, its traffic, the requests of the last interval, and the agent itself."""
    seconds = figures["interval_ms"] / 1000 or 1.0

    def rate(name: str) -> str | None:
        value = figures.get(name)
        return None if value is None else f"{value / seconds / 1000:.1f} kB/s"

    rows = [
        (
            "board",
            [
                _said(figures, "cpu_percent", "CPU {:.0f} %"),
                _said(figures, "cpu_mhz", "{:.0f} MHz"),
                _said(figures, "gpu_percent", "GPU {:.0f} %"),
                _said(figures, "temp_c", "{:.1f} °C"),
                "throttled" if figures.get("throttled") else None,
                _memory(figures),
                _said(figures, "swap_used_bytes", "swap {:.0f} MB", _megabytes),
                _said(figures, "disk_free_bytes", "{:.1f} GB of disk free", lambda size: size / 1e9),
            ],
        ),
        (
            "power",
            [
                _reading(figures, "power_mw", "{:.2f} W", 1000.0),
                _reading(figures, "energy_mj", "{:.3g} mJ an inference", 1.0),
                _said(figures, "battery_percent", "battery {:.0f} %"),
                "charging" if figures.get("battery_charging") else None,
            ],
        ),
        (
            "traffic",
            [
                _prefixed("received", rate("net_rx_bytes")),
                _prefixed("sent", rate("net_tx_bytes")),
                _prefixed("disk read", rate("disk_read_bytes")),
                _prefixed("written", rate("disk_written_bytes")),
                _said(figures, "wifi_dbm", "Wi-Fi {:.0f} dBm"),
            ],
        ),
        (
            "latency",
            [
                _quantiles(figures, "latency_us", "inference"),
                _quantiles(figures, "queue_us", "waiting"),
                _quantiles(figures, "pre_us", "reading"),
                _quantiles(figures, "post_us", "writing"),
            ],
        ),
        (
            "itself",
            [
                _said(figures, "rss_bytes", "{:.1f} MB", _megabytes),
                _said(figures, "agent_cpu_percent", "{:.1f} % of a core"),
            ],
        ),
    ]
    return [(name, ", ".join(filter(None, parts))) for name, parts in rows if any(parts)]


def _said(
    figures: dict[str, Any], name: str, form: str, made: Callable[[float], float] = float
) -> str | None:
    value = figures.get(name)
    return None if value is None else form.format(made(value))


def _memory(figures: dict[str, Any]) -> str | None:
    used, total = figures.get("mem_used_bytes"), figures.get("mem_total_bytes")
    if used is None or total is None:
        return None
    return f"{_megabytes(used):.0f} of {_megabytes(total):.0f} MB used"


def _reading(figures: dict[str, Any], name: str, form: str, per: float) -> str | None:
    reading = figures.get(name)
    if reading is None:
        return None
    return f"{form.format(reading['value'] / per)} ({reading['method']}, {reading['scope']})"


def _quantiles(figures: dict[str, Any], name: str, said: str) -> str | None:
    found = figures.get(name)
    if found is None:
        return None
    return f"{said} {_time(found['p50'])} (p95 {_time(found['p95'])})"


def _time(us: float) -> str:
    """Three digits: ``32.3 µs``, ``4.81 ms``, ``1.25 s``."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if us >= size:
            return f"{us / size:.3g} {unit}"
    return f"{us:.3g} µs"


def _prefixed(prefix: str, text: str | None) -> str | None:
    return None if text is None else f"{prefix} {text}"


def _megabytes(size_bytes: float) -> float:
    return size_bytes / 1e6
