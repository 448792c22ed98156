"""Grafana's dashboards and Prometheus' rules speak only of what /metrics prints."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fleet_story
import pytest
from ecosystem_fleet import Fleet
from server_story import Clock

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.metrics import METRICS
from edgepress_devices.protocol import ErrorKinds, ModelStats, Reading, Sample, TelemetryBatch
from edgepress_server.ecosystem.families import Family
from edgepress_server.ecosystem.scrape import Scrape
from edgepress_server.store import Store
from edgepress_server.store.telemetry import Received

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARDS = ("fleet", "device", "model", "rollout")
FUNCTIONS = {
    "sum", "rate", "increase", "histogram_quantile", "vector", "time", "by", "absent", "up", "predict_linear",
    "offset", "label_values", "or", "and",
}  # fmt: skip
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("",)}

_SELECTOR = re.compile(r"\b(edgepress_[a-z0-9_]+)\b(?:\s*\{([^}]*)\})?")
_MATCHER = re.compile(r"\s*([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"[^\"]*\"\s*(?:,|$)")
_GROUPING = re.compile(r"\bby\s*\(([^)]*)\)")
_LEGEND = re.compile(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}")


def maker() -> Any:
    spec = importlib.util.spec_from_file_location(
        "make_dashboards", DEPLOY / "grafana" / "make_dashboards.py"
    )
    assert spec is not None and spec.loader is not None
    module = sys.modules["make_dashboards"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shown(store: Store, clock: Clock) -> dict[str, set[str]]:
    """Every metric that /metrics can print -> its labels: a server on which everything has happened."""
    story = fleet_story.Fleet(store, clock)
    devices = story.enrol("pc-1", "pc-2")
    release = story.release(story.artifact("one"))
    rollout = story.roll_out(release)
    story.settle()
    devices[0].commit()
    sample = Sample(
        at_ms=clock.ms,
        interval_ms=1000,
        artifact=devices[0].running,
        inferences=5,
        errors=4,
        error_kinds=ErrorKinds(1, 1, 1, 1),
        power_mw=Reading(1.0, "m", "s"),
        energy_mj=Reading(1.0, "m", "s"),
        model=ModelStats(60_000, 10),
    )
    assert sample.model is not None
    for name in ("input_psi", "input_ks", "output_psi", "output_ks", "confidence"):
        setattr(sample.model, name, 0.5)
    sample.model.compared, sample.model.agreed = 4, 3
    for name in ("latency_us", "queue_us", "pre_us", "post_us"):
        recorder = LatencyRecorder()
        recorder.record(100.0)
        setattr(sample, name, recorder.take())
    for metric in METRICS:
        if metric.name in Sample.__struct_fields__ and getattr(sample, metric.name) is None:
            setattr(sample, metric.name, True if metric.kind == "flag" else 50)
    store.telemetry.store([Received("pc-1", clock.ms, TelemetryBatch(1, "e", 1, [sample]))])
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO alert_incidents (id, rule, scope, severity, title, runbook, state, sentence,"
            " subjects, most_subjects, first_subject, opened_at, since, updated_at)"
            " VALUES ('i', 'hot', '{}', 'warning', '', '', 'firing', '', 1, 1, 'device:pc-1', 0, 0, 0)"
        )
        connection.execute(
            "INSERT INTO jobs (id, kind, model, recipe, profile, state, created_at)"
            " VALUES ('j', 'compress', ?, 'none', 'x86-pc', 'done', 0)",
            (fleet_story.MODEL,),
        )
    store.facts.heartbeat("worker")
    assert rollout
    families = Scrape(store, devices_most=10).families()
    return {
        sample_name(family): {label for p in family.points for label, _ in p.labels} for family in families
    }


def sample_name(family: Family) -> str:
    return f"{family.name}_total" if family.kind == "counter" else family.name


def expressions(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(expression, legend)"""
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


def check(expression: str, legend: str, shown: dict[str, set[str]]) -> None:
    used: set[str] = set()
    for metric, matchers in _SELECTOR.findall(expression):
        assert metric in shown, f"{metric} in {expression}"
        named = _MATCHER.findall(matchers)
        assert _MATCHER.sub("", matchers).strip() == "", f"{{{matchers}}}"
        assert set(named) <= shown[metric], f"{metric} has {shown[metric]}, not {named}"
        used |= shown[metric]
    groupings = {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",")}
    assert groupings <= used, expression
    shown_after = groupings or used
    assert set(_LEGEND.findall(legend)) <= shown_after, (legend, expression)


def test_every_metric_of_the_catalogue_is_shown(shown: dict[str, set[str]]) -> None:
    assert len([metric for metric in shown if metric.startswith("edgepress_device_")]) >= 20
    assert shown["edgepress_artifact_latency_microseconds"] == {"profile", "model", "artifact"}
    for metric in METRICS:
        if metric.kind == "count" and not metric.name.startswith("errors_"):
            assert any(metric.name.removesuffix("_ms") in each for each in shown), metric.name


@pytest.mark.parametrize("board", BOARDS)
def test_dashboards_ask_only_for_what_is_there(board: str, shown: dict[str, set[str]]) -> None:
    read = json.loads((DEPLOY / "grafana" / "dashboards" / f"{board}.json").read_text())
    count = 0
    for expression, legend in expressions(read):
        check(expression, legend, shown)
        count += 1
    assert count >= 8
    for variable in read["templating"]["list"][1:]:
        inside = re.fullmatch(r"label_values\((.*), ([a-z_]+)\)", variable["definition"])
        assert inside is not None
        check(inside[1], "", shown)
        assert inside[2] in shown[re.split(r"[{]", inside[1])[0]]


@pytest.mark.parametrize("board", BOARDS)
def test_dashboards_are_as_they_are_made(board: str) -> None:
    path = DEPLOY / "grafana" / "dashboards" / f"{board}.json"
    assert path.read_text() == maker().written(board), "run python deploy/grafana/make_dashboards.py"


def test_dashboards_fit_grafana() -> None:
    boards = [
        json.loads((DEPLOY / "grafana" / "dashboards" / f"{board}.json").read_text()) for board in BOARDS
    ]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(BOARDS)
    for board in boards:
        text = json.dumps(board)
        assert "http://" not in text and "https://" not in text and "localhost" not in text
        variables = {variable["name"] for variable in board["templating"]["list"]}
        used = set(re.findall(r"\$\{?([a-z_]+)\}?", text)) - {"__rate_interval", "__all", "__auto"}
        assert {each for each in used if not each.startswith("__")} <= variables
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        places = [panel["gridPos"] for panel in board["panels"]]
        assert all(place["x"] + place["w"] <= 24 for place in places)
        for i, one in enumerate(places):
            for other in places[i + 1 :]:
                apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
                assert apart_x or apart_y, (one, other)


def test_example_rules_ask_only_for_what_is_there(shown: dict[str, set[str]]) -> None:
    text = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    found = re.findall(r"expr: (?:>-\n((?:          .*\n)+)|(.*)\n)", text)
    assert len(found) == text.count("- alert:")
    for folded, plain in found:
        check(" ".join((folded or plain).split()), "", shown)


def test_the_small_fleet_shows_less_and_nothing_breaks(store: Store, clock: Clock) -> None:
    Fleet(store, clock)
    assert Scrape(store, devices_most=0).families()
