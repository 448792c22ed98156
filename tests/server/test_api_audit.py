"""Whatever changes something through the API is in the audit log, and no secret ever is."""

import json
import re

import pytest
from flask.testing import FlaskClient
from server_story import Browser

from edgepress_server.store import Store


def told(store: Store) -> list[tuple[str, str, str | None]]:
    return [(entry.action, entry.subject, entry.actor) for entry in store.audit.oldest_first()]


def test_who_did_what_from_where(operator: Browser, admin: Browser, store: Store) -> None:
    operator.post(
        "/devices", {"name": "pi-1", "profile": "raspberry-pi-4", "labels": {"site": "h3"}}, status=201
    )
    operator.delete("/devices/pi-1")
    rows = told(store)
    assert ("sign_in", "operator", "operator") in rows
    assert rows[-2][1:] == ("pi-1", "operator") and rows[-1][1:] == ("pi-1", "operator")
    entry = store.audit.newest(2)[1]
    assert entry.source == "127.0.0.1, session"
    assert entry.data["request"] == "POST /api/v1/devices"
    assert entry.data["sent"] == {"name": "pi-1", "profile": "raspberry-pi-4", "labels": {"site": "h3"}}
    assert admin.get("/audit/verify")["holds"]


def test_reading_and_being_refused_leave_no_row(viewer: Browser, operator: Browser, store: Store) -> None:
    before = store.audit.head()
    viewer.get("/devices")
    viewer.post("/devices", {"name": "pi-1", "profile": "raspberry-pi-4"}, status=403)
    operator.post("/devices", {"name": "pi-1", "profile": "no such"}, status=404)
    assert store.audit.head() == before


def test_a_program_is_told_by_its_token(operator: Browser, store: Store, anyone: FlaskClient) -> None:
    made = operator.post("/tokens", {"name": "ci"}, status=201)
    head = {"Authorization": f"Bearer {made['token']}"}
    answer = anyone.post("/api/v1/devices", json={"name": "pi", "profile": "raspberry-pi-4"}, headers=head)
    assert answer.status_code == 201
    assert store.audit.newest(1)[0].source == f"127.0.0.1, token {made['id']}"


def test_failed_sign_ins_are_told_without_what_was_typed(
    operator: Browser, store: Store, anyone: FlaskClient
) -> None:
    for name in ("operator", "hunter2-typed-into-the-wrong-field"):
        answer = anyone.post("/api/v1/session", json={"name": name, "password": "wrong wrong"})
        assert answer.status_code == 401
    assert told(store)[-2:] == [("sign_in_failed", "operator", None), ("sign_in_failed", "", None)]


def test_no_secret_is_in_the_log(admin: Browser, store: Store, anyone: FlaskClient) -> None:
    """Every secret that the API takes or gives is looked for in every row."""
    person = admin.post("/people", {"name": "ada", "role": "viewer"}, status=201)
    admin.client.put(
        "/api/v1/people/ada/password", json={"password": "chosen by the admin"}, headers=admin.headers
    )
    anyone.post("/api/v1/session", json={"name": "ada", "password": "guessed wrong"})
    token = admin.post("/tokens", {"name": "ci"}, status=201)
    device = admin.post("/devices", {"name": "pi", "profile": "raspberry-pi-4"}, status=201)
    key = "A" * 43 + "="
    enrolled = anyone.post(
        "/api/v1/enroll", json={"code": device["code"], "public_key": key, "agent_version": "1"}
    ).json
    anyone.post("/api/v1/enroll", json={"code": "guessed-code", "public_key": key, "agent_version": "1"})
    log = json.dumps([vars(entry) for entry in store.audit.oldest_first()])
    assert "password of admin" not in log and "guessed" not in log and "chosen by" not in log
    for secret in (person["password"], token["token"], device["code"], enrolled["mqtt"]["password"]):
        assert secret and secret not in log
    actions = {entry.action for entry in store.audit.oldest_first()}
    assert {"enroll", "enrol_failed", "sign_in_failed", "add_person", "reset_password"} <= actions


def test_only_operators_and_admins_read_it(viewer: Browser, operator: Browser) -> None:
    for path in ("/audit", "/audit/verify", "/audit/export"):
        viewer.get(path, status=403)
    page = operator.get("/audit?limit=1")
    assert page["entries"][0]["number"] == page["head"]["number"] == 2
    assert operator.get("/audit?actor=viewer")["entries"][0]["action"] == "sign_in"
    assert re.fullmatch("[0-9a-f]{64}", page["head"]["hash"])


def test_the_export_verifies_on_its_own(operator: Browser, store: Store) -> None:
    from edgepress_server.store.audit import AuditEntry, verify_chain

    operator.post("/tokens", {"name": "ci"}, status=201)
    text = operator.client.get("/api/v1/audit/export").text
    entries = [AuditEntry(**json.loads(line)) for line in text.splitlines()]
    assert len(entries) == store.audit.head().number
    assert verify_chain(entries, store.audit.head()).holds


@pytest.mark.parametrize(
    "body", ['{"name": "x", "labels": {"a": NaN}}', '{"name": "\\ud800", "profile": "x"}', "[1]"]
)
def test_odd_bodies_break_nothing(operator: Browser, store: Store, body: str) -> None:
    answer = operator.client.post(
        "/api/v1/tokens", data=body, headers=operator.headers, content_type="application/json"
    )
    assert answer.status_code in (201, 400)
    assert store.audit.verify().holds


def test_questions_leave_no_row(operator: Browser, store: Store) -> None:
    before = store.audit.head()
    operator.post("/groups/matches", {"query": "online"})
    assert store.audit.head() == before


def test_devices_from_a_file_are_named_without_their_codes(operator: Browser, store: Store) -> None:
    text = "name,profile\npress-01,raspberry-pi-4\npress-02,raspberry-pi-4\n"
    answer = operator.client.post(
        "/api/v1/devices/bulk", data=text, headers=operator.headers, content_type="text/csv"
    )
    assert answer.status_code == 201, answer.text
    row = store.audit.newest(1)[0]
    assert row.action == "register_devices" and row.data["made"] == ["press-01", "press-02"]
    assert all(code["code"] not in json.dumps(row.data) for code in answer.json["codes"])
