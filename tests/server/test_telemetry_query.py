"""Questions through the API."""

from __future__ import annotations

from server_story import Browser

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Hardware, Sample, TelemetryBatch
from edgepress_server.store import Store
from edgepress_server.store.telemetry import Received


def test_a_question(viewer: Browser, store: Store) -> None:
    now = store.now_ms()
    for n, name in enumerate(("pi-1", "pi-2", "jet")):
        store.devices.register(
            name, "raspberry-pi-4" if name != "jet" else "jetson", {"site": str(n)}, actor=None
        )
        store.devices.enrol(store.devices.new_code(name, actor=None)[0], "a2V5", Hardware(), "0.1.0")
        recorder = LatencyRecorder()
        for value in (100.0, 200.0, 300.0 + n):
            recorder.record(value)
        samples = [
            Sample(
                at_ms=now - 1000 * m,
                interval_ms=1000,
                inferences=3,
                latency_us=recorder.snapshot(),
                cpu_percent=10.0 * n,
            )
            for m in range(5, 0, -1)
        ]
        store.telemetry.store([Received(name, now, TelemetryBatch(1, "e", 1, samples))])
    print(viewer.get("/telemetry/metrics"))
    for q in (
        "metric=latency",
        "metric=cpu_percent&group_by=profile",
        "metric=inferences&aggregate=sum&group_by=label:site&where=site<2",
        "metric=latency&aggregate=p50&group_by=device",
        "metric=latency&group_by=artifact&where=online!=true",
    ):
        a = viewer.get(f"/telemetry/query?{q}")
        a["t"] = len(a["t"])
        [s.update(values=[v for v in s["values"] if v is not None]) for s in a["series"]]
        print(a)
    print(viewer.client.get("/api/v1/telemetry/query/export?metric=latency&format=csv").text)
    viewer.client.get("/api/v1/telemetry/query/export?metric=latency&format=parquet")


def test_overview(viewer: Browser, store: Store) -> None:
    test_a_question(viewer, store)
    import json

    print(json.dumps(viewer.get("/telemetry/overview"), indent=1)[:6000])


def test_pages(viewer: Browser, store: Store) -> None:
    test_a_question(viewer, store)
    print(viewer.get("/devices/page?sort=-p95_us&q=pi"))
    print(viewer.get("/telemetry/annotations"))
    print(viewer.get("/telemetry/annotations?device=pi-1"))
    print(viewer.get("/telemetry/quarantine"))
