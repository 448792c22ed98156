"""Home Assistant's account on a real mosquitto: it hears the devices, and can do nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, wait_for
from wire_device import Wire, WireDevice

pytestmark = pytest.mark.e2e

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
READER = "edgepress_reader"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    if MOSQUITTO is None:
        missing = "no mosquitto here; Debian: sudo apt-get install mosquitto"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    made = Announcing(tmp_path)
    try:
        made.start_server()
        yield made
    finally:
        made.close()


class Announcing(Installation):
    """Announces devices to Home Assistant, every second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "mosquitto")
        self.data_dir.mkdir(parents=True)

    def _start(self, name: str, command: list[str]) -> Any:
        if name == "server":
            command = [
                "env",
                "EDGEPRESS_HOME_ASSISTANT=true",
                "EDGEPRESS_HOME_ASSISTANT_INTERVAL_S=1",
                *command,
            ]
        return super()._start(name, command)


def test_it_hears_the_devices_and_nothing_else(server: Installation) -> None:
    made = server.cli("device", "register", "wire", "--profile", "x86-pc")
    device = WireDevice("wire", server.url, made["code"])
    device.connect()
    password = (server.data_dir / "broker" / "reader-password").read_text()
    home = Wire(device.mqtt["port"], READER, password)
    home.connect()
    assert home.refused is None
    home.subscribe("homeassistant/#", "ep/1/ha/#", "ep/1/server/state", "ep/1/d/#", "#")
    config = "homeassistant/device/edgepress-wire/config"
    home.wait("the announcement", lambda: home.last(config))
    home.wait("its state", lambda: home.last("ep/1/ha/wire"))
    wait_for("it to be online", lambda: json.loads(home.last("ep/1/ha/wire") or b"{}").get("online"))
    assert json.loads(home.last(config) or b"")["device"]["name"] == "wire"
    assert json.loads(home.last("ep/1/server/state") or b"")["online"] is True

    # what it says goes nowhere, and what is not for it does not come
    device.wire.subscribe("ep/1/d/wire/down/#")
    home.publish("ep/1/d/wire/down/want", b"forged")
    home.publish("homeassistant/device/edgepress-wire/config", b"forged")
    heard = {topic for topic, _ in home.messages}
    assert not any(topic.startswith(("ep/1/d/", "ep/1/c/", "$")) for topic in heard), heard
    assert b"forged" not in [payload for _, payload in home.messages]

    # revoked: taken back
    server.cli("device", "revoke", "wire", "--yes")
    home.wait("the announcement to go", lambda: home.last(config) == b"")
    assert b"forged" not in [payload for _, payload in device.wire.messages]
    home.close()


@pytest.mark.attack("forged password of Home Assistant", "the broker refuses it")
def test_a_wrong_password_is_refused(server: Installation) -> None:
    ready = json.loads((server.data_dir / "ready.json").read_text())
    stranger = Wire(ready["mqtt_port"], READER, "guess").connect()
    assert stranger.refused is not None
    stranger.close()
