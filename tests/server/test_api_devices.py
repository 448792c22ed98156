"""Registering, enrolling, looking after and revoking devices through the API."""

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient
from server_story import Browser, Clock

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Reading, Sample, State, TelemetryBatch
from edgepress_server.store import Store
from edgepress_server.store.devices import CODE_MS
from edgepress_server.store.telemetry import Received

KEY = base64.b64encode(b"k" * 32).decode()
DEVICE = {"name": "pi-4", "profile": "raspberry-pi-4", "labels": {"room": "lab"}}


def enrol(anyone: FlaskClient, code: str, **change: Any) -> Any:
    body = {"code": code, "public_key": KEY, "hardware": {"machine": "aarch64"}, "agent_version": "0.1.0"}
    return anyone.post("/api/v1/enroll", json={**body, **change})


def test_a_device_registers_enrols_and_is_seen(operator: Browser, anyone: FlaskClient, store: Store) -> None:
    made = operator.post("/devices", DEVICE, 201)
    assert made["device"]["status"] == "registered"
    assert made["enrol_url"] == f"http://127.0.0.1:8080/enroll#{made['code']}"
    assert made["qr_svg"].startswith("<svg") and "script" not in made["qr_svg"]
    answer = enrol(anyone, made["code"])
    assert answer.status_code == 200
    assert answer.json["mqtt"]["username"] == "pi-4" and answer.json["mqtt"]["port"] == 1883
    assert answer.json["root"]["signed"]["_type"] == "root"
    assert answer.json["server_time_ms"] == store.now_ms()
    store.device_states.record("pi-4", State(online=True, at_ms=1, agent="0.1.0", step="idle"))
    assert operator.get("/devices/pi-4")["status"] == "online"
    assert operator.get("/devices")[0]["hardware"]["machine"] == "aarch64"


def test_the_answer_of_enrolment_is_the_only_place_that_tells_the_password(
    operator: Browser, anyone: FlaskClient
) -> None:
    made = operator.post("/devices", DEVICE, 201)
    password = enrol(anyone, made["code"]).json["mqtt"]["password"]
    assert password not in str(operator.get("/devices")) + str(operator.get("/events"))
    assert made["code"] not in str(operator.get("/events"))


@pytest.mark.attack("used or expired code", "it lets nobody in, and says how to get a new one")
def test_a_used_and_an_expired_and_an_unknown_code_each_say_what_to_do(
    operator: Browser, anyone: FlaskClient, clock: Clock
) -> None:
    made = operator.post("/devices", DEVICE, 201)
    enrol(anyone, made["code"])
    used = enrol(anyone, made["code"])
    assert (used.status_code, operator.refused(used.json)) == (410, "code_used")
    again = operator.post("/devices/pi-4/code")
    clock.forward(CODE_MS)
    late = enrol(anyone, again["code"])
    assert (late.status_code, operator.refused(late.json)) == (410, "code_expired")
    wrong = enrol(anyone, "AAAA-BBBB-CCCC-DDDD")
    assert (wrong.status_code, operator.refused(wrong.json)) == (404, "code_unknown")
    assert "edgepress device code" in used.json["error"]["message"]


def test_a_request_that_cannot_be_does_not_spend_the_code(operator: Browser, anyone: FlaskClient) -> None:
    made = operator.post("/devices", DEVICE, 201)
    for change in ({"public_key": "short"}, {"public_key": KEY[:-4]}, {"hardware": {"cores": -1}}):
        assert enrol(anyone, made["code"], **change).status_code == 400
    assert enrol(anyone, made["code"]).status_code == 200


def test_a_newer_agent_may_say_more_than_this_server_knows(operator: Browser, anyone: FlaskClient) -> None:
    made = operator.post("/devices", DEVICE, 201)
    assert enrol(anyone, made["code"], hardware={"npu": "yes"}, novelty=1).status_code == 200


def test_guessing_codes_is_slowed_down(operator: Browser, anyone: FlaskClient) -> None:
    made = operator.post("/devices", DEVICE, 201)
    for number in range(20):
        assert enrol(anyone, f"AAAA-BBBB-CCCC-{number:04d}").status_code == 404
    assert enrol(anyone, made["code"]).status_code == 429


def test_labels_and_profile_change(operator: Browser) -> None:
    operator.post("/devices", DEVICE, 201)
    changed = operator.patch("/devices/pi-4", {"labels": {"room": "roof"}})
    assert changed["labels"] == {"room": "roof"}
    assert operator.patch("/devices/pi-4", {"profile": "raspberry-pi-5"})["profile"] == "raspberry-pi-5"
    assert operator.refused(operator.patch("/devices/pi-4", {"profile": "pi"}, 404)) == "profile_unknown"
    assert operator.refused(operator.patch("/devices/none", {}, 404)) == "device_unknown"


@pytest.mark.parametrize("name", ["", "Pi", "a/b", "-", "x" * 64, "ep/1/d/+"])
def test_a_name_that_would_break_topics_is_refused(operator: Browser, name: str) -> None:
    operator.post("/devices", {**DEVICE, "name": name}, 400)


def test_a_revoked_device_stays_listed_as_revoked(operator: Browser, anyone: FlaskClient) -> None:
    made = operator.post("/devices", DEVICE, 201)
    enrol(anyone, made["code"])
    assert operator.delete("/devices/pi-4")["status"] == "revoked"
    assert operator.delete("/devices/pi-4")["status"] == "revoked"
    assert [device["status"] for device in operator.get("/devices")] == ["revoked"]


def test_a_device_shows_its_newest_sample_with_quantiles(
    operator: Browser, anyone: FlaskClient, store: Store
) -> None:
    enrol(anyone, operator.post("/devices", DEVICE, 201)["code"])
    recorder = LatencyRecorder()
    for value_us in range(1, 101):
        recorder.record(value_us * 100)
    sample = Sample(
        at_ms=store.now_ms(),
        interval_ms=1000,
        inferences=100,
        latency_us=recorder.take(),
        power_mw=Reading(3100.0, "pmic", "board"),
    )
    batch = TelemetryBatch(1, "epoch", 1, [sample])
    store.telemetry.store([Received("pi-4", store.now_ms(), batch)])
    latest = operator.get("/devices/pi-4")["latest"]
    assert latest["p50_us"] == pytest.approx(5000, rel=0.02)
    assert latest["p95_us"] == pytest.approx(9500, rel=0.02)
    assert latest["power_mw"] == {"value": 3100.0, "method": "pmic", "scope": "board"}
    assert latest["temp_c"] is None
    assert operator.get("/telemetry/latest") == {"pi-4": latest}
