"""GET /metrics: who may read it, and what it shows."""

from __future__ import annotations

import msgspec
import pytest
from ecosystem_fleet import Fleet
from flask_openapi3.openapi import OpenAPI
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_messages import decode, native_counts
from server_story import Browser, Clock

from edgepress_devices.histogram import merge
from edgepress_server.api import create_app
from edgepress_server.settings import Settings
from edgepress_server.store import Store

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    for name in ("pi-1", "pi-2"):
        made.online(name)
    return made


def scrape(app: OpenAPI, accept: str = "", **headers: str) -> bytes:
    answer = app.test_client().get("/metrics", headers={"Accept": accept, **headers})
    assert answer.status_code == 200, answer.text
    return bytes(answer.data)


def values(text: bytes, name: str) -> dict[tuple[str, ...], float]:
    """Label values -> value of one metric."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in read_text(text.decode())
        for sample in family.samples
        if sample.name == name
    }


def test_it_shows_the_server_and_the_fleet(app: OpenAPI, fleet: Fleet) -> None:
    fleet.report("pi-1", 10)
    fleet.report("jet-1", 4)
    text = scrape(app)
    assert values(text, "edgepress_devices") == {
        ("raspberry-pi-4", "online"): 2.0,
        ("jetson-nano", "offline"): 1.0,
    }
    assert values(text, "edgepress_inferences_total") == {("raspberry-pi-4",): 50.0, ("jetson-nano",): 20.0}
    assert values(text, "edgepress_covered_seconds_total")["raspberry-pi-4",] == 10.0
    assert values(text, "edgepress_power_mean_watts")["raspberry-pi-4",] == 2.5
    assert values(text, "edgepress_throttled_ratio")["raspberry-pi-4",] == 0.0
    assert values(text, "edgepress_device_up") == {
        ("jet-1", "jetson-nano"): 0.0,
        ("pi-1", "raspberry-pi-4"): 1.0,
        ("pi-2", "raspberry-pi-4"): 1.0,
    }
    assert set(values(text, "edgepress_device_temp_celsius")) == {
        ("jet-1", "jetson-nano"),
        ("pi-1", "raspberry-pi-4"),
    }
    assert values(text, "edgepress_role_up")["web",] == 1.0


def test_every_format_tells_the_same(app: OpenAPI, fleet: Fleet) -> None:
    samples = fleet.report("pi-1", 10)
    scrape(app)  # requests before this one are counted
    plain = {f.name: f for f in read_text(scrape(app).decode())}
    strict = {f.name: f for f in read_openmetrics(scrape(app, "application/openmetrics-text").decode())}
    binary = decode(scrape(app, PROTOBUF))
    assert set(plain) == set(strict)
    assert {name.removesuffix("_total") for name in binary} == set(plain)
    native = binary["edgepress_latency_microseconds"].metric[0].histogram
    expected = merge([sample.latency_us for sample in samples if sample.latency_us is not None])
    assert expected is not None
    assert {i - 1: n for i, n in native_counts(native).items() if n} == {
        expected.offset + i: n for i, n in enumerate(expected.counts) if n
    }
    assert (native.schema, native.sample_count) == (expected.scale, 50)


def test_a_token_is_asked_of_everybody_who_is_not_on_this_machine(
    app: OpenAPI, viewer: Browser, fleet: Fleet
) -> None:
    client = app.test_client()
    token = viewer.post("/tokens", {"name": "prometheus"}, 201)["token"]
    remote = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.get("/metrics", environ_base=remote).status_code == 401
    for header in ("Bearer nonsense", "Basic eDp5", token, ""):
        refused = client.get("/metrics", environ_base=remote, headers={"Authorization": header})
        assert refused.status_code == 401, header
    allowed = client.get("/metrics", environ_base=remote, headers={"Authorization": f"Bearer {token}"})
    assert allowed.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Origin": "http://attacker.example"},
        {"X-Forwarded-For": "192.0.2.7"},
        {"Authorization": "Bearer nonsense"},
    ],
)
def test_a_page_in_a_browser_on_this_machine_cannot_read_it(
    app: OpenAPI, fleet: Fleet, headers: dict[str, str]
) -> None:
    assert app.test_client().get("/metrics", headers=headers).status_code == 401


def test_the_setting_token_asks_programs_on_this_machine_too(store: Store, fleet: Fleet) -> None:
    settings = Settings(data_dir=store.data_dir, metrics_access="token")
    made = create_app(settings, store)
    assert made.test_client().get("/metrics").status_code == 401
    made.extensions["edgepress"].fan.close()
    proxied = create_app(
        msgspec.structs.replace(settings, metrics_access="loopback", public_url="https://x.org"), store
    )
    assert proxied.test_client().get("/metrics").status_code == 401
    proxied.extensions["edgepress"].fan.close()


def test_devices_one_by_one_are_bounded(store: Store, fleet: Fleet) -> None:
    made = create_app(Settings(data_dir=store.data_dir, metrics_devices=1), store)
    text = scrape(made)
    made.extensions["edgepress"].fan.close()
    assert set(values(text, "edgepress_device_up")) == {("jet-1", "jetson-nano")}
    assert values(text, "edgepress_metrics_devices_left_out") == {(): 2.0}


def test_requests_are_counted(app: OpenAPI, viewer: Browser, fleet: Fleet) -> None:
    viewer.get("/devices")
    viewer.get("/devices/nobody", 404)
    found = values(scrape(app), "edgepress_http_requests_total")
    assert found["api", "GET", "2xx"] >= 1 and found["api", "GET", "4xx"] == 1
