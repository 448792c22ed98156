"""A device goes away and comes back; people hear of both, though the server is killed in between.

Real server, mosquitto, agent, web receiver and mail server. About two minutes: an absence is a time.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from alert_receivers import MailServer, url_of, web_receiver
from installation import Installation, wait_for
from paho.mqtt.enums import CallbackAPIVersion

from edgepress_server.broker.mosquitto import server_password
from edgepress_server.settings import SERVER_USER, Settings
from edgepress_server.store import open_store

TOPIC = "ep/1/alerts/warning/device-offline"
FORGED = b'{"state":"ok","forged":true}'


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path, "mosquitto")
    made.start_server()
    yield made
    made.close()


class Listener:
    """Somebody at the broker who keeps the newest message of each topic."""

    def __init__(self, port: int, username: str, password: str) -> None:
        self.newest: dict[str, bytes] = {}
        self.connected = threading.Event()
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgepress-{username}" if username == "pi-2" else "listener",
        )
        self.client.username_pw_set(username, password)
        self.client.on_connect = self._begin
        self.client.on_message = lambda _c, _d, message: self.newest.update({message.topic: message.payload})
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _begin(self, client: mqtt.Client, *_rest: Any) -> None:
        client.subscribe("ep/1/alerts/#", 1)
        self.connected.set()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def listener(installation: Installation, username: str, password: str) -> Listener:
    kept = json.loads((installation.data_dir / "settings.json").read_text())
    made = Listener(kept["mqtt_port"], username, password)
    assert made.connected.wait(20)
    return made


@pytest.mark.fault(
    "server killed while an alert fires", "its notices wait, are sent once it is back, with one id"
)
@pytest.mark.attack("forged alert state", "a device's account neither reads nor writes alerts at the broker")
def test_who_goes_away_is_told_and_who_comes_back_too_over_a_crash(
    installation: Installation, request: pytest.FixtureRequest
) -> None:
    api = installation.api
    for name in ("pi-1", "pi-2"):
        installation.enrol(name, "x86-pc")
    installation.start_agent("pi-1")
    wait_for("pi-1 to be online", lambda: installation.device("pi-1")["status"] == "online")
    mails = MailServer()
    request.addfinalizer(mails.close)
    with web_receiver() as hook:
        hook.answer = (503, {}, b"not now")
        wait_for("the shipped rules", lambda: api.get("/alert-rules"))
        changes = ("--above", "30s", "--resolve-for", "0s", "--where", "name = pi-1")  # pi-2 never runs here
        installation.cli("alert", "rule", "set", "device-offline", *changes)
        everything = {
            "options": {"url": url_of(hook), "allow_private": True},
            "secret": "s",
            "kind": "webhook",
        }
        api.put("/alert-channels/hook", everything)
        to = {"to": ["ops@example.org"], "host": "127.0.0.1", "port": mails.port, "security": "none"}
        api.put("/alert-channels/people", {"kind": "email", "options": to})
        api.put("/alert-channels/home", {"kind": "mqtt", "options": {}})
        assert installation.cli("alert", "channel", "test", "people")["ok"]

        installation.kill_agent("pi-1")
        fired = wait_for("the alert", lambda: fires(api), 150)
        assert "offline for longer than 30 s" in fired["sentence"]
        wait_for("a first attempt at the web receiver", lambda: hook.seen, 60)
        wait_for("the mail", lambda: len(mails.mails) >= 2, 60)
        password = server_password(Settings(data_dir=installation.data_dir, broker="mosquitto"))
        home = listener(installation, SERVER_USER, password)
        request.addfinalizer(home.close)
        said = wait_for("the retained state", lambda: home.newest.get(TOPIC), 60)
        assert json.loads(said)["state"] == "firing"

        store = open_store(installation.data_dir)
        secret = store.devices.mqtt_secrets()["pi-2"]
        store.close()
        thief = Listener(
            json.loads((installation.data_dir / "settings.json").read_text())["mqtt_port"], "pi-2", secret
        )
        thief.client.publish(TOPIC, FORGED, 1, retain=True)

        installation.kill_server()
        before = len(hook.seen)
        hook.answer = (200, {}, b"thank you")
        installation.start_server()
        wait_for("the notice that waited", lambda: heard(hook)[before:], 90)
        home = listener(installation, SERVER_USER, password)
        request.addfinalizer(home.close)
        assert home.newest.get(TOPIC) != FORGED and thief.newest == {}
        thief.close()

        installation.start_agent("pi-1")
        wait_for("the end over the web", lambda: [w for w in heard(hook) if w[0] == "resolved"], 120)
        wait_for("the end by mail", lambda: any("is over" in m["Subject"] for _, m in mails.mails), 60)
        wait_for(
            "the end at home", lambda: json.loads(home.newest.get(TOPIC, b"{}")).get("state") == "ok", 60
        )
        told = set(heard(hook))
        assert sorted(what for what, _ in told) == ["fired", "resolved"]  # each with one id
        subjects = [m["Subject"] for _, m in mails.mails if "test" not in m["Subject"].lower()]
        assert subjects == [
            "[edgepress] warning: Device offline fires",
            "[edgepress] warning: Device offline is over",
        ]
    shown = installation.cli("alert", "show", fired["id"])
    assert shown["state"] == "resolved"
    assert [line["what"] for line in shown["timeline"] if not line["subject"]] == ["resolved", "opened"]


def fires(api: Any) -> dict[str, Any] | None:
    found = api.get("/alerts", rule="device-offline")["alerts"]
    return next((alert for alert in found if alert["first_subject"] == "device:pi-1"), None)


def heard(hook: Any) -> list[tuple[str, str]]:
    """(what, id) of notices, tests left out."""
    sent = [json.loads(body) for _, body in hook.seen]
    return [(each["what"], each["id"]) for each in sent if each["what"] != "test"]
