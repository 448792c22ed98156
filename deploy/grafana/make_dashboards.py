"""Writes the dashboards of this folder: ``python deploy/grafana/make_dashboards.py``.

One table of panels for each dashboard; everything that repeats is here once. A test compares the files with
what this writes, and every expression with what /metrics prints.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "dashboards"
WIDTH: Final = 24  # of Grafana's grid
RANGE: Final = "$__rate_interval"
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
TAG: Final = "edgepress"


@dataclass(frozen=True)
class Panel:
    title: str
    queries: tuple[tuple[str, str], ...]  # (PromQL, legend)
    unit: str = "short"  # Grafana's name
    kind: str = "timeseries"  # or stat, heatmap, table
    width: int = 8
    about: str = ""
    stacked: bool = False


@dataclass(frozen=True)
class Variable:
    name: str
    label: str
    metric: str
    of: str  # label of the metric
    multiple: bool = True


def quantiles(histogram: str, selector: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"histogram_quantile({q}, sum(rate({histogram}{{{selector}}}[{RANGE}])))", f"p{round(q * 100)}")
        for q in (0.5, 0.95, 0.99)
    )


def p95_by(histogram: str, selector: str, label: str) -> tuple[tuple[str, str], ...]:
    return (
        (
            f"histogram_quantile(0.95, sum by ({label}) (rate({histogram}{{{selector}}}[{RANGE}])))",
            "{{" + label + "}}",
        ),
    )


def rate_by(counter: str, selector: str, label: str) -> tuple[tuple[str, str], ...]:
    return ((f"sum by ({label}) (rate({counter}{{{selector}}}[{RANGE}]))", "{{" + label + "}}"),)


def share(part: str, whole: str, selector: str) -> str:
    """Failed of all requests: ``whole`` counts those that went well."""
    failed, well = (f"sum(rate({each}{{{selector}}}[{RANGE}]))" for each in (part, whole))
    return f"{failed} / ({failed} + {well})"


def fleet() -> tuple[list[Variable], list[Panel]]:
    of = 'profile=~"$profile"'
    return [Variable("profile", "Profile", "edgepress_devices", "profile")], [
        Panel(
            "Online",
            ((f'sum(edgepress_devices{{status="online",{of}}})', ""),),
            kind="stat",
            width=4,
        ),
        Panel(
            "Offline",
            ((f'sum(edgepress_devices{{status="offline",{of}}}) or vector(0)', ""),),
            kind="stat",
            width=4,
        ),
        Panel("Alerts firing", (("sum(edgepress_alerts_firing) or vector(0)", ""),), kind="stat", width=4),
        Panel(
            "Requests",
            ((f"sum(rate(edgepress_inferences_total{{{of}}}[{RANGE}]))", ""),),
            unit="reqps",
            kind="stat",
            width=4,
        ),
        Panel(
            "Failed",
            ((share("edgepress_errors_total", "edgepress_inferences_total", of), ""),),
            unit="percentunit",
            kind="stat",
            width=4,
        ),
        Panel(
            "p95 latency",
            (quantiles("edgepress_latency_microseconds", of)[1],),
            unit="µs",
            kind="stat",
            width=4,
        ),
        Panel(
            "Latency",
            quantiles("edgepress_latency_microseconds", of),
            unit="µs",
            about="Quantiles of all requests of the fleet, merged from native histograms.",
        ),
        Panel("p95 latency by profile", p95_by("edgepress_latency_microseconds", of, "profile"), unit="µs"),
        Panel(
            "Latency, distribution",
            ((f"sum(increase(edgepress_latency_microseconds{{{of}}}[{RANGE}]))", ""),),
            unit="µs",
            kind="heatmap",
        ),
        Panel("Requests by profile", rate_by("edgepress_inferences_total", of, "profile"), unit="reqps"),
        Panel(
            "Failed requests by kind",
            rate_by("edgepress_errors_by_kind_total", of, "kind"),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "Where a request waits: p95 by stage",
            tuple(
                (
                    f"histogram_quantile(0.95, sum(rate(edgepress_{stage}_microseconds{{{of}}}[{RANGE}])))",
                    stage,
                )
                for stage in ("queue", "pre", "latency", "post")
            ),
            unit="µs",
        ),
        Panel("Hottest device", ((f"edgepress_temp_max_celsius{{{of}}}", "{{profile}}"),), unit="celsius"),
        Panel("Throttled", ((f"edgepress_throttled_ratio{{{of}}}", "{{profile}}"),), unit="percentunit"),
        Panel(
            "Power of a device, mean", ((f"edgepress_power_mean_watts{{{of}}}", "{{profile}}"),), unit="watt"
        ),
        Panel(
            "Energy of an inference, mean",
            ((f"edgepress_inference_energy_mean_joules{{{of}}}", "{{profile}}"),),
            unit="joule",
        ),
        Panel(
            "Memory of the agent, most",
            ((f"edgepress_agent_memory_max_bytes{{{of}}}", "{{profile}}"),),
            unit="bytes",
        ),
        Panel("CPU, mean", ((f"edgepress_cpu_used_mean_ratio{{{of}}}", "{{profile}}"),), unit="percentunit"),
        Panel(
            "Devices by status",
            ((f"sum by (status) (edgepress_devices{{{of}}})", "{{status}}"),),
            stacked=True,
        ),
        Panel(
            "Devices by model",
            ((f"sum by (model) (edgepress_devices_running{{{of}}})", "{{model}}"),),
            stacked=True,
        ),
        Panel("Versions of the agent", (("edgepress_agents", "{{version}}"),), stacked=True),
        Panel("Samples stored", rate_by("edgepress_samples_total", of, "profile"), unit="cps"),
        Panel(
            "The server: parts that are well",
            (("edgepress_role_up", "{{role}}"), ("edgepress_broker_connected", "broker connected")),
        ),
        Panel(
            "The server: disk",
            (
                ("edgepress_data_disk_free_bytes", "free"),
                ("sum(edgepress_database_size_bytes)", "database"),
            ),
            unit="bytes",
        ),
    ]


def device() -> tuple[list[Variable], list[Panel]]:
    of = 'device="$device"'

    def gauge(title: str, name: str, unit: str, **more: Any) -> Panel:
        return Panel(title, ((f"edgepress_device_{name}{{{of}}}", "{{device}}"),), unit=unit, **more)

    return [Variable("device", "Device", "edgepress_device_up", "device", multiple=False)], [
        gauge("Connected", "up", "bool_yes_no", kind="stat", width=4),
        Panel(
            "Last heard of",
            ((f"time() - edgepress_device_seen_timestamp_seconds{{{of}}}", ""),),
            unit="s",
            kind="stat",
            width=4,
        ),
        gauge("Temperature", "temp_celsius", "celsius", kind="stat", width=4),
        gauge("Throttled", "throttled", "bool_yes_no", kind="stat", width=4),
        Panel("Runs", ((f"edgepress_device_info{{{of}}}", "{{model}} {{artifact}}"),), kind="table", width=8),
        Panel("Latency", ((f"edgepress_device_latency_seconds{{{of}}}", "{{quantile}}"),), unit="s"),
        Panel(
            "Requests",
            (
                (f"edgepress_device_inferences_per_second{{{of}}}", "answered"),
                (f"edgepress_device_errors_per_second{{{of}}}", "failed"),
            ),
            unit="reqps",
        ),
        gauge("Temperature", "temp_celsius", "celsius"),
        Panel(
            "CPU",
            (
                (f"edgepress_device_cpu_used_ratio{{{of}}}", "board"),
                (f"edgepress_device_agent_cpu_ratio{{{of}}}", "agent, 1 = one core"),
                (f"edgepress_device_gpu_used_ratio{{{of}}}", "GPU"),
            ),
            unit="percentunit",
        ),
        gauge("CPU clock", "cpu_clock_hertz", "hertz"),
        Panel(
            "Memory",
            (
                (f"edgepress_device_memory_used_bytes{{{of}}}", "board, in use"),
                (f"edgepress_device_memory_size_bytes{{{of}}}", "board"),
                (f"edgepress_device_agent_memory_bytes{{{of}}}", "agent"),
                (f"edgepress_device_swap_used_bytes{{{of}}}", "swap"),
            ),
            unit="bytes",
        ),
        gauge("Power", "power_watts", "watt"),
        gauge("Energy of an inference", "inference_energy_joules", "joule"),
        gauge("Battery", "battery_ratio", "percentunit"),
        gauge("Free disk", "disk_free_bytes", "bytes"),
        gauge("Wi-Fi signal", "wifi_dbm", "dBm"),
    ]


def model() -> tuple[list[Variable], list[Panel]]:
    of = 'model="$model",artifact=~"$artifact"'
    variables = [
        Variable("model", "Model", "edgepress_artifact_samples_total", "model", multiple=False),
        Variable("artifact", "Artifact", 'edgepress_artifact_samples_total{model="$model"}', "artifact"),
    ]

    def by_artifact(title: str, name: str, unit: str, about: str = "") -> Panel:
        return Panel(title, ((f"{name}{{{of}}}", "{{profile}} {{artifact}}"),), unit=unit, about=about)

    latency = "edgepress_artifact_latency_microseconds"
    return variables, [
        Panel(
            "Devices that run it",
            (('sum by (profile) (edgepress_devices_running{model="$model"})', "{{profile}}"),),
            stacked=True,
        ),
        Panel("Latency", quantiles(latency, of), unit="µs"),
        Panel("p95 latency by artifact", p95_by(latency, of, "artifact"), unit="µs"),
        Panel("Requests", rate_by("edgepress_artifact_inferences_total", of, "artifact"), unit="reqps"),
        Panel(
            "Failed",
            (
                (
                    share("edgepress_artifact_errors_total", "edgepress_artifact_inferences_total", of),
                    "of all requests",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "Failed requests by kind",
            rate_by("edgepress_artifact_errors_by_kind_total", of, "kind"),
            unit="reqps",
            stacked=True,
        ),
        by_artifact(
            "Input drift",
            "edgepress_artifact_input_psi_max",
            "short",
            "PSI of the worst feature against the baseline, worst device; above 0.25 the inputs have moved.",
        ),
        by_artifact(
            "Output drift",
            "edgepress_artifact_output_psi_max",
            "short",
            "PSI of the classes against the baseline, worst device.",
        ),
        by_artifact("Confidence, mean", "edgepress_artifact_confidence_mean", "percentunit"),
        Panel(
            "Agreement in shadow mode",
            (
                (
                    f"sum(rate(edgepress_artifact_agreed_total{{{of}}}[{RANGE}]))"
                    f" / sum(rate(edgepress_artifact_compared_total{{{of}}}[{RANGE}]))",
                    "agreed",
                ),
            ),
            unit="percentunit",
        ),
        by_artifact("Energy of an inference", "edgepress_artifact_inference_energy_mean_joules", "joule"),
        by_artifact("Memory of the agent, most", "edgepress_artifact_agent_memory_max_bytes", "bytes"),
    ]


def rollout() -> tuple[list[Variable], list[Panel]]:
    of = 'rollout="$rollout"'
    running = 'model="$model"'
    latency = "edgepress_artifact_latency_microseconds"
    return [
        Variable("rollout", "Rollout", "edgepress_rollout_devices", "rollout", multiple=False),
        Variable("model", "Model", 'edgepress_rollout_devices{rollout="$rollout"}', "model", multiple=False),
    ], [
        Panel(
            "Devices by state",
            ((f"sum by (state) (edgepress_rollout_devices{{{of}}})", "{{state}}"),),
            stacked=True,
            width=12,
        ),
        Panel(
            "Committed by stage",
            (
                (
                    f'sum by (stage) (edgepress_rollout_devices{{{of},state="committed"}})'
                    f" / sum by (stage) (edgepress_rollout_devices{{{of}}})",
                    "{{stage}}",
                ),
            ),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Failed devices",
            ((f'sum(edgepress_rollout_devices{{{of},state="failed"}}) or vector(0)', ""),),
            kind="stat",
            width=6,
        ),
        Panel("p95 latency by artifact", p95_by(latency, running, "artifact"), unit="µs"),
        Panel(
            "Failed requests by artifact",
            rate_by("edgepress_artifact_errors_total", running, "artifact"),
            unit="reqps",
        ),
        Panel(
            "Energy of an inference by artifact",
            ((f"edgepress_artifact_inference_energy_mean_joules{{{running}}}", "{{artifact}}"),),
            unit="joule",
        ),
        Panel(
            "Devices by artifact",
            ((f"sum by (artifact) (edgepress_devices_running{{{running}}})", "{{artifact}}"),),
            stacked=True,
        ),
        Panel("Rollouts by state", (("edgepress_rollouts", "{{state}}"),), stacked=True),
        Panel("Compression jobs", (("edgepress_jobs", "{{state}}"),), stacked=True),
    ]


BOARDS: Final = {
    "fleet": ("edgepress: fleet", fleet),
    "device": ("edgepress: device", device),
    "model": ("edgepress: model", model),
    "rollout": ("edgepress: rollout", rollout),
}


def dashboard(name: str) -> dict[str, Any]:
    title, make = BOARDS[name]
    variables, panels = make()
    return {
        "uid": f"edgepress-{name}",
        "title": title,
        "tags": [TAG],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [
            {"title": "edgepress", "type": "dashboards", "tags": [TAG], "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": [_datasource(), *map(_variable, variables)]},
        "panels": _laid_out(panels),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.of})"
    made: dict[str, Any] = {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "labels"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": variable.multiple,
        "includeAll": variable.multiple,
    }
    if variable.multiple:
        made |= {"allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return made


def _laid_out(panels: list[Panel]) -> list[dict[str, Any]]:
    made, x, y, row_height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        height = 4 if panel.kind in ("stat", "table") else 8
        if x + panel.width > WIDTH or (x and height != row_height):
            x, y = 0, y + row_height
        made.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, row_height = x + panel.width, height
    return made


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 30 if panel.stacked else 0, "showPoints": "never"}
        if panel.stacked:
            defaults["custom"]["stacking"] = {"mode": "normal"}
    targets = [
        {
            "refId": chr(ord("A") + i),
            "datasource": DATASOURCE,
            "expr": expression,
            "legendFormat": legend or "__auto",
            "instant": panel.kind == "table",
            "format": {"heatmap": "heatmap", "table": "table"}.get(panel.kind, "time_series"),
        }
        for i, (expression, legend) in enumerate(panel.queries)
    ]
    made = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }
    return made | ({"description": panel.about} if panel.about else {})


def written(name: str) -> str:
    return json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for each in BOARDS:
        (FOLDER / f"{each}.json").write_text(written(each), encoding="utf-8")
