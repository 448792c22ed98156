"""Series, fleet and export through the API."""

import csv
import io
import json

import pytest
from server_story import Browser

from edgepress_devices.protocol import Hardware, Reading, Sample, TelemetryBatch
from edgepress_server.store import Store
from edgepress_server.store.telemetry import Received


@pytest.fixture
def reported(store: Store) -> int:
    """Device pi has reported three samples, the first at the returned time."""
    store.devices.register("pi", "raspberry-pi-4", {}, actor=None)
    store.devices.enrol(store.devices.new_code("pi", actor=None)[0], "a2V5", Hardware(), "0.1.0")
    now = store.now_ms()
    samples = [
        Sample(
            at_ms=now + n * 1000,
            interval_ms=1000,
            inferences=n,
            power_mw=Reading(1.5, "=HYPERLINK(1)", "board"),
        )
        for n in range(3)
    ]
    store.telemetry.store([Received("pi", now, TelemetryBatch(1, "e", 1, samples))])
    return now


def test_series_in_steps(viewer: Browser, reported: int) -> None:
    query = f"device=pi&metric=inferences_per_s,rss_bytes&from={reported}&to={reported + 4000}&step_ms=1000"
    found = viewer.get(f"/telemetry/series?{query}")
    assert found["t"] == [reported + n * 1000 for n in range(4)]
    assert found["series"] == {
        "inferences_per_s": [0.0, 1.0, 2.0, None],
        "rss_bytes": [None, None, None, None],
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("device=pi", 400),
        ("device=pi&metric=speed", 400),
        ("device=none&metric=rss_bytes", 404),
        ("device=pi&metric=rss_bytes&from=5&to=5", 400),
        ("device=pi&metric=rss_bytes&from=x", 400),
        ("device=pi&metric=rss_bytes&step_ms=0", 400),
    ],
)
def test_a_wrong_question_is_refused(viewer: Browser, reported: int, query: str, status: int) -> None:
    assert viewer.refused(viewer.get(f"/telemetry/series?{query}", status))


def test_export_as_csv_keeps_formulas_from_running(viewer: Browser, reported: int) -> None:
    text = viewer.client.get(f"/api/v1/telemetry/export?from={reported}&to={reported + 9000}").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["inferences"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["power_mw"] == "1.5" and rows[0]["power_mw_method"] == "'=HYPERLINK(1)"
    assert rows[0]["temp_c"] == ""


def test_export_as_json_is_one_array(viewer: Browser, reported: int) -> None:
    query = f"from={reported}&to={reported + 9000}&format=json"
    rows = json.loads(viewer.client.get(f"/api/v1/telemetry/export?{query}").text)
    assert [row["inferences"] for row in rows] == [0, 1, 2] and rows[0]["temp_c"] is None
    assert json.loads(viewer.client.get("/api/v1/telemetry/export?format=json&from=1&to=2").text) == []
    assert viewer.get("/telemetry/export?device=none", 404)


def test_an_empty_fleet_has_no_figures(viewer: Browser) -> None:
    fleet = viewer.get("/telemetry/fleet")
    assert fleet["devices"]["total"] == 0
    assert fleet["latency"] == {"p50_us": None, "p95_us": None, "p99_us": None}
    assert fleet["power_mw"] is None and fleet["inferences_per_s"] is None
