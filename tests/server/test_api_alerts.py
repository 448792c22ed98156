"""Alerts over the API and the command line: who may do what, what is refused, answered and audited."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from alert_story import Watched
from click.testing import CliRunner
from flask_openapi3.openapi import OpenAPI
from server_story import Browser, Clock

from edgepress_server.alerts import runbooks
from edgepress_server.alerts.defaults import DEFAULT_RULES
from edgepress_server.alerts.rule import Rule, check
from edgepress_server.cli.main import edgepress
from edgepress_server.store import Store

HOT = Rule(
    name="hot", title="Hot", kind="threshold", metric="temp_c", window_s=120, fire_at=80.0, resolve_at=75.0
)
BODY = {"title": "Hot", "kind": "threshold", "metric": "temp_c", "fire_at": 80, "resolve_at": 75}
HOOK = {"kind": "webhook", "options": {"url": "https://hooks.example.org/T0/SECRET"}, "secret": "signing key"}


@pytest.fixture
def watched(store: Store, clock: Clock) -> Watched:
    made = Watched(store, clock)
    made.enrol("pc-1", "pc-2", site="hall-3")
    made.only(HOT)
    return made


def heat(watched: Watched) -> str:
    watched.say(pc_1={"temp_c": 91}, pc_2={"temp_c": 85})
    (incident,) = watched.minutes(4)
    return incident.id


def test_an_alert_is_listed_shown_and_seen_to(watched: Watched, operator: Browser) -> None:
    identity = heat(watched)
    page = operator.get("/alerts")
    assert page["total"] == 1 and page["firing"]["warning"] == 1 and page["alerts"][0]["id"] == identity
    shown = operator.get(f"/alerts/{identity}")
    assert [(m["device"], m["state"]) for m in shown["members"]] == [("pc-1", "firing"), ("pc-2", "firing")]
    assert {line["what"] for line in shown["timeline"]} >= {"fired", "opened"}
    assert (shown["metric"], shown["fire_at"], shown["unit"]) == ("temp_c", 80, "°C")
    seen = operator.post(f"/alerts/{identity}/acknowledge", {"note": "new fans are on the way"})
    assert (seen["acknowledged_by"], seen["acknowledged_note"]) == ("operator", "new fans are on the way")
    assert operator.get("/alerts/summary")["acknowledged"] == 1
    operator.post(f"/alerts/{identity}/unacknowledge")
    assert (
        operator.refused(operator.post(f"/alerts/{identity}/unacknowledge", None, 409)) == "not_acknowledged"
    )
    watched.say(pc_1={"temp_c": 50}, pc_2={"temp_c": 50})
    watched.minutes(5)
    assert operator.refused(operator.post(f"/alerts/{identity}/acknowledge", {}, 409)) == "alert_over"
    assert operator.get("/alerts")["alerts"] == []
    assert operator.get("/alerts?state=all&device=pc-2")["total"] == 1
    assert operator.refused(operator.get("/alerts/nothing", 404)) == "alert_unknown"


def test_history_is_read_in_pages(watched: Watched, viewer: Browser) -> None:
    heat(watched)
    first = viewer.get("/alert-history?limit=2")
    rest = viewer.get(f"/alert-history?before={first['before']}")
    everything = viewer.get("/alert-history")["transitions"]
    assert first["transitions"] + rest["transitions"] == everything and rest["before"] is None
    fired = viewer.get("/alert-history?subject=device:pc-1")["transitions"]
    assert fired[0]["what"] == "fired" and fired[0]["value"] > 80 and "temperature" in fired[0]["sentence"]


def test_pages_are_live(watched: Watched, store: Store) -> None:
    before = store.events.last_id()
    identity = heat(watched)
    (event,) = [e for e in store.events.after(before) if e.kind == "alert" and e.subject == identity]
    assert (event.action, event.data["severity"], event.data["rule"]) == ("opened", "warning", "hot")


def test_roles(watched: Watched, viewer: Browser, operator: Browser, admin: Browser) -> None:
    identity = heat(watched)
    for path, body in (
        (f"/alerts/{identity}/acknowledge", {}),
        ("/alert-silences", {"ends_at": watched.clock.ms + 60_000, "reason": "x"}),
    ):
        viewer.post(path, body, 403)
        operator.post(path, body, 201 if path == "/alert-silences" else 200)
    for who in (viewer, operator):
        who.post("/alert-rules", {"name": "x", **BODY}, 403)
        who.post("/alert-rules/hot/enable", {"enabled": False}, 403)
        who.post("/alert-channels/ops/test", None, 403)
        who._checked(who.client.put("/api/v1/alert-channels/ops", json=HOOK, headers=who.headers), 403)
    assert admin.post("/alert-rules", {"name": "x", **BODY}, 201)["words"].startswith(
        "Fires when temperature"
    )


def put(browser: Browser, path: str, body: Any, status: int = 200) -> Any:
    answer = browser.client.put(f"/api/v1{path}", json=body, headers=browser.headers)
    return browser._checked(answer, status)


def test_rules_are_made_changed_tried_and_set_back(watched: Watched, admin: Browser) -> None:
    heat(watched)
    made = admin.post("/alert-rules", {"name": "hotter", **BODY, "fire_at": 90}, 201)
    assert (made["shipped"], made["firing"], made["runbook_link"]) == (False, 0, "/runbooks/hotter")
    assert admin.refused(admin.post("/alert-rules", {"name": "hotter", **BODY}, 409)) == "rule_exists"
    assert put(admin, "/alert-rules/hotter", {**BODY, "fire_at": 95})["fire_at"] == 95
    put(admin, "/alert-rules/nothing", BODY, 404)
    assert admin.refused(put(admin, "/alert-rules/hotter", {**BODY, "metric": "heat"}, 400)) == "bad_rule"
    assert (
        admin.refused(put(admin, "/alert-rules/hotter", {**BODY, "colour": "red"}, 400)) == "invalid_request"
    )
    tried = admin.post("/alert-rules/test?hours=1", {"name": "try", **BODY, "window_s": 120})
    assert tried["subjects"] == 2 and tried["times"] >= 1 and tried["words"].startswith("Would have fired")
    assert {f["subject"] for f in tried["now"]} <= {"device:pc-1", "device:pc-2"}
    assert admin.refused(admin.post("/alert-rules/hotter/reset", None, 409)) == "not_shipped"
    admin.delete("/alert-rules/hotter", 204)
    assert admin.get("/alert-rules")[0]["name"] == "hot"


def test_choices_for_a_form_can_all_be_used(watched: Watched, admin: Browser) -> None:
    choices = admin.get("/alert-rules/choices")
    for metric in choices["metrics"]:
        for aggregate in metric["aggregates"]:
            check(
                Rule(
                    name="x",
                    title="x",
                    kind="threshold",
                    metric=metric["name"],
                    aggregate=aggregate,
                    fire_at=1,
                )
            )
    for metric in choices["rates"]:
        check(Rule(name="x", title="x", kind="rate", metric=metric["name"], fire_at=1))
    for metric in choices["drift"]:
        check(Rule(name="x", title="x", kind="drift", metric=metric["name"], fire_at=1))
    for one in choices["server"]:
        check(Rule(name="x", title="x", kind="server", metric=one["name"], fire_at=1, per="fleet"))


def test_a_channels_secret_goes_in_and_never_comes_out(
    watched: Watched, admin: Browser, store: Store
) -> None:
    put(admin, "/alert-channels/ops", HOOK)
    text = (
        json.dumps(admin.get("/alert-channels"))
        + json.dumps(admin.get("/audit"))
        + json.dumps(admin.get("/events"))
    )
    assert "signing key" not in text and "SECRET" not in text
    (shown,) = admin.get("/alert-channels")
    assert shown["has_secret"] and shown["options"]["url"] == "https://hooks.example.org/..."
    put(
        admin,
        "/alert-channels/ops",
        {"kind": "webhook", "options": shown["options"], "least_severity": "critical"},
    )
    kept = store.alerts.channels.get("ops")
    assert (kept.options["url"], kept.secret) == (HOOK["options"]["url"], "signing key")  # type: ignore[index]
    assert kept.least_severity == "critical"
    admin.delete("/alert-channels/ops", 204)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"kind": "webhook", "options": {"url": "ftp://x"}}, "bad_url"),
        ({"kind": "webhook", "options": {}}, "bad_options"),
        ({"kind": "webhook", "options": {"url": "https://x", "headers": {}}}, "bad_options"),
        ({"kind": "email", "options": {"to": []}}, "bad_options"),
        ({"kind": "email", "options": {"to": ["nobody"]}}, "bad_address"),
        ({"kind": "email", "options": {"to": ["a@b.org"], "host": "a b"}}, "bad_options"),
        ({"kind": "mqtt", "options": {"prefix": "ep/1/d/pi/up"}}, "bad_prefix"),
        ({"kind": "mqtt", "options": {"prefix": "a/#"}}, "bad_options"),
        ({"kind": "pigeon", "options": {}}, "invalid_request"),
    ],
)
def test_a_channel_that_cannot_be_meant_is_refused(admin: Browser, body: dict[str, Any], code: str) -> None:
    assert admin.refused(put(admin, "/alert-channels/ops", body, 400)) == code


def test_silences_and_windows(watched: Watched, operator: Browser, clock: Clock) -> None:
    hour = 3_600_000
    made = operator.post(
        "/alert-silences",
        {"rule": "h*", "query": "site = hall-3", "ends_at": clock.ms + hour, "reason": "fans"},
        201,
    )
    assert (made["state"], made["created_by"]) == ("holding", "operator") and "fans" in made["words"]
    window = operator.post(
        "/alert-silences",
        {
            "starts_at": clock.ms + hour,
            "ends_at": clock.ms + 2 * hour,
            "repeats": "daily",
            "reason": "back-up",
        },
        201,
    )
    assert window["state"] == "coming"
    states = []
    for _ in range(27):
        clock.forward(hour)
        states.append({s["id"]: s["state"] for s in operator.get("/alert-silences")}[window["id"]])
    assert states[0] == states[24] == "holding" and states[1] == states[23] == "coming"
    assert operator.post(f"/alert-silences/{window['id']}/end")["state"] == "over"
    assert operator.refused(operator.post(f"/alert-silences/{window['id']}/end", None, 409)) == "silence_over"
    for bad in (
        {"ends_at": clock.ms - 1, "reason": "x"},
        {"ends_at": clock.ms + 400 * 24 * hour, "reason": "x"},
        {"ends_at": clock.ms + 25 * hour, "repeats": "daily", "reason": "x"},
        {"ends_at": clock.ms + hour, "query": "site =", "reason": "x"},
        {"ends_at": clock.ms + hour, "reason": ""},
    ):
        operator.post("/alert-silences", bad, 400)


def test_every_change_is_in_the_audit_log(watched: Watched, admin: Browser) -> None:
    identity = heat(watched)
    admin.post(f"/alerts/{identity}/acknowledge", {"note": "mine"})
    admin.post("/alert-rules/hot/enable", {"enabled": False})
    put(admin, "/alert-channels/ops", HOOK)
    admin.post("/alert-silences", {"ends_at": watched.clock.ms + 60_000, "reason": "why not"}, 201)
    rows = admin.get("/audit")
    entries = {row["action"]: row for row in (rows["entries"] if isinstance(rows, dict) else rows)}
    assert entries["acknowledge_alert"]["data"]["sent"] == {"note": "mine"}
    assert entries["enable_alert_rule"]["data"]["sent"] == {"enabled": False}
    assert entries["enable_alert_rule"]["subject"] == "hot"
    assert entries["set_alert_channel"]["data"]["sent"] == {"kind": "webhook"}
    assert entries["add_alert_silence"]["data"]["sent"]["reason"] == "why not"


# --- runbooks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", DEFAULT_RULES, ids=lambda rule: rule.name)
def test_every_shipped_rule_leads_to_a_page_that_says_what_to_do(rule: Rule, viewer: Browser) -> None:
    check(rule)
    assert rule.runbook_link == f"/runbooks/{rule.name}"
    page = viewer.get(rule.runbook_link)
    assert page["title"] == rule.title
    headings = re.findall(r"^## (.*)$", page["text"], re.MULTILINE)
    assert headings == list(runbooks.PARTS)
    for part in page["text"].split("\n## ")[1:]:
        assert len(part) > 100
    in_docs = Path(__file__).parents[2] / "docs" / "runbooks" / f"{rule.name}.md"
    assert in_docs.read_text() == page["text"]


@pytest.mark.parametrize("page", runbooks.runbooks(), ids=lambda page: page.name)
def test_commands_of_runbooks_exist(page: runbooks.Runbook) -> None:
    for line in re.findall(r"`(edgepress [^`]+)`", page.text):
        command: click.Command = edgepress
        words = shlex.split(line)[1:]
        while isinstance(command, click.Group) and words:
            found = command.get_command(click.Context(command), words[0])
            assert found is not None, f"{line}: there is no {words[0]}"
            command, words = found, words[1:]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_a_runbook_is_a_name_and_not_a_path(viewer: Browser) -> None:
    for name in ("nothing", "..%2f..%2fdefaults", "UPPER"):
        viewer.get(f"/runbooks/{name}", 404)


# --- command line -----------------------------------------------------------------------------------------


class Shell:
    """`edgepress` commands against the application, without a socket."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, query=query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self._send("POST", path, body, query)

    def put(self, path: str, body: Any) -> Any:
        return self._send("PUT", path, body)

    def delete(self, path: str) -> Any:
        return self._send("DELETE", path)

    def _send(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        answer = self._browser.client.open(
            f"/api/v1{path}", method=method, json=body, query_string=asked, headers=self._browser.headers
        )
        if answer.status_code >= 400:
            raise click.ClickException(answer.json["error"]["message"])
        return answer.json if answer.data else None


def test_the_command_line_does_all_of_it(
    watched: Watched, app: OpenAPI, admin: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("alert", "alert_rule", "alert_silence", "alert_channel"):
        module = importlib.import_module(f"edgepress_server.cli.{name}")
        monkeypatch.setattr(module, "api", lambda _url, _token: Shell(admin))
    identity = heat(watched)

    def run(line: str, status: int = 0, **more: Any) -> str:
        done = CliRunner().invoke(edgepress, ["alert", *shlex.split(line)], **more)
        assert done.exit_code == status, (line, done.output)
        return done.output

    assert identity in run("list") and "2 devices of profile x86-pc" in run("list")
    assert "What to do: " in run(f"show {identity}") and "pc-2" in run(f"show {identity}")
    assert json.loads(run("list --json"))["total"] == 1
    assert "fired" in run("history --device pc-1")
    assert "you see to it" in run(f"ack {identity} --note 'on it'")
    assert "admin sees to it" in run("list")
    run(f"ack {identity} --undo")
    assert "hot" in run("rules")
    made = "rule set slow --kind threshold --metric latency_us --aggregate p95 --title Slow"
    made += " --above 30ms --resolve 25ms"
    assert "p95 of latency of a device over 5 min is above 30 ms; resolves below 25 ms" in run(made)
    assert "is above 40 ms for 2 min" in run("rule set slow --above 40ms --for 2m")
    assert "resolves" not in run("rule set slow --above 40ms")  # another limit: its old counterpart is gone
    assert "there is no rule new yet" in run("rule set new --above 3", 2)
    assert "'much' is no value" in run("rule set slow --above much", 2)
    assert "Would" in run("rule test hot --hours 1") and "Would" in run("rule test slow")
    shown = run("rule show slow")
    (tmp_path / "rule.json").write_text(shown[shown.index("{") :])
    (tmp_path / "bad.json").write_text("[")
    monkeypatch.chdir(tmp_path)
    assert "above 40 ms" in run("rule set slower --file rule.json --title Slower")
    assert "is no JSON" in run("rule set slower --file bad.json", 1)
    assert "is off" in run("rule disable slow") and "is on" in run("rule enable slow")
    run("rule remove slow")
    run("rule remove slower")
    made = run("silence add --rule hot --query 'site = hall-3' --for 2h --reason 'new fans'")
    silence = made.split()[-1]
    assert "new fans" in run("silence list")
    run(f"silence end {silence}")
    assert "Nothing is silenced" in run("silence list")
    run("channel webhook ops https://127.0.0.1:1/x --secret-stdin", input="the key\n")
    run("channel email people a@b.org --host mail.example.org --least-severity critical")
    run("channel mqtt home --host 192.0.2.1 --prefix house/alerts")
    assert "private network" in run("channel test ops", 1)
    listed = run("channel list")
    assert "webhook" in listed and "people" in listed and "the key" not in listed
    run("channel remove people")
    assert "What it means" in run("runbook device-offline") and "throttled" in run("runbook")


def test_an_unknown_answer_to_a_form_is_no_rule(admin: Browser) -> None:
    for change in (
        {"fire_at": "1e999"},
        {"also": [{"metric": "x", "direction": "above", "value": 1}]},
        {"per": "all"},
    ):
        admin.post("/alert-rules", {"name": "x", **BODY, **change}, 400)
