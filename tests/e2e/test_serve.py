"""`edgepress serve` as processes: starting, dying and coming back, on both brokers that it runs itself."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from installation import EDGEPRESS, ENV, Installation, wait_for
from wire_device import Wire, WireDevice

from edgepress_devices.protocol import Sample, chunk_topic, down_topic, up_topic
from edgepress_server.cli.client import Api, ApiFailure
from edgepress_server.store import Store, open_store
from edgepress_server.store.models import ModelFacts
from edgepress_server.trust import load_keys

pytestmark = pytest.mark.e2e

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
    reason="no mosquitto here; Debian: sudo apt-get install mosquitto",
)
PROFILE = "x86-pc"
MODEL = "bytes"


class Server(Installation):
    """An installation that the test can also look into: its store, its processes, its broker."""

    def __init__(self, folder: Path, broker: str = "embedded") -> None:
        super().__init__(folder, broker)
        self.devices: list[WireDevice] = []

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    @property
    def mqtt_port(self) -> int:
        port: int = json.loads((self.data_dir / "ready.json").read_text())["mqtt_port"]
        return port

    def processes(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def role(self, name: str) -> psutil.Process:
        """The process of a role; there is one."""
        found = [
            p
            for p in psutil.Process(self.pid).children()
            if p.cmdline()[1:4] == ["-m", "edgepress_server.serve.role", name]
        ]
        assert len(found) == 1, found
        return found[0]

    def stop_server(self) -> float:
        """Ask it to stop; the seconds that took."""
        assert self._server is not None
        started = time.monotonic()
        self._server.terminate()
        assert self._server.wait(15) == 0, self.log("server")
        return time.monotonic() - started

    def device_on_the_wire(self, name: str) -> WireDevice:
        made = self.api.post("/devices", {"name": name, "profile": PROFILE})
        device = WireDevice(name, self.url, made["code"])
        if self.broker == "embedded":
            device.mqtt |= {"username": None, "password": None}
        self.devices.append(device)
        device.connect()
        wait_for("the device to be online", lambda: self.device(name)["status"] == "online")
        return device

    def roll_out(self, data: bytes, *devices: WireDevice) -> tuple[str, str]:
        """(digest, rollout) of an artifact of these bytes, told to all these devices at once."""
        store = open_store(self.data_dir)
        try:
            digest = self._artifact(store, data)
            release = store.releases.create(load_keys(self.data_dir / "keys"), model=MODEL, digests=[digest])
        finally:
            store.close()
        names = [device.name for device in devices]
        asked = {"release": release.id, "devices": names, "policy": {"canary_per_profile": 0}}
        rollout = self.api.post("/rollouts", asked)
        return digest, rollout["id"]

    @staticmethod
    def _artifact(store: Store, data: bytes) -> str:
        digest = store.blobs.put(data)
        if not store.models.list():
            facts = ModelFacts(bytes=9, weight_bytes=9, parameters=2, macs=None, inputs=[], outputs=[])
            store.models.add(MODEL, digest, facts, None, actor=None)
        store.artifacts.add(
            digest, model=MODEL, profile=PROFILE, recipe="none", size_bytes=len(data), report={}, job=None
        )
        return digest

    def wait_until_done(self, rollout: str) -> None:
        wait_for("the rollout's end", lambda: self.api.get(f"/rollouts/{rollout}")["state"] == "done" or None)

    def close(self) -> None:
        for device in self.devices:
            device.wire.close()
        super().close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all stories that leave it well: a start costs seconds. Each story has devices of its own."""
    made = Server(tmp_path_factory.mktemp("embedded"))
    try:
        made.start_server()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mosquitto"), "mosquitto")
    try:
        made.start_server()
        yield made
    finally:
        made.close()


def some_bytes(megabytes: float, seed: int = 1) -> bytes:
    block = hashlib.sha512(str(seed).encode()).digest()
    return block * int(megabytes * 1e6 / len(block))


def health(server: Server) -> dict[str, object]:
    found: dict[str, object] = Api(server.url, None).get("/health")
    return found


def all_well(server: Server) -> bool:
    found = health(server)
    return found["status"] == "ok" and bool(found["mqtt_connected"])


def gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that have not ended by then (a zombie has)."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def run_serve(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EDGEPRESS, "serve", *args], env=ENV, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("broker", ["embedded", pytest.param("mosquitto", marks=needs_mosquitto)])
def test_first_start_orderly_stop_and_kill_9(tmp_path: Path, broker: str) -> None:
    """The login is told once; a stop is quick and complete; kill -9 leaves no process; a restart is whole."""
    server = Server(tmp_path, broker)
    try:
        server.start_server()
        said = server.log("server")
        assert "name:     admin" in said
        assert f"edgepress is ready: {server.url}" in said
        assert "Traceback" not in said
        assert all_well(server)
        readable = [p for p in server.data_dir.rglob("*") if p.is_file() and p.stat().st_mode & 0o077]
        secrets = {"keys", "broker"}
        assert [p for p in readable if p.parent.name in secrets or p.suffix in (".json", ".db")] == []

        everyone, url = server.processes(), server.url
        assert server.stop_server() < 10
        assert gone(everyone, 5) == []
        assert not (server.data_dir / "ready.json").exists()

        server.start_server()
        assert server.url == url, "ports are remembered"
        assert server.log("server").count("password:") == 1
        everyone = server.processes()
        assert len(everyone) >= 6
        server.kill_server()
        assert gone(everyone, 10) == []

        server.start_server()
        assert server.url == url
        assert all_well(server)
    finally:
        server.close()


@pytest.mark.parametrize("role", ["link", "web", "worker"])
def test_a_role_that_is_killed_is_started_again(server: Server, role: str) -> None:
    before = server.role(role)
    family = [before, *before.children(recursive=True)]
    before.send_signal(signal.SIGKILL)
    assert gone(family, 10) == []

    def is_back() -> bool:
        try:
            return server.role(role).pid != before.pid and all_well(server)
        except (AssertionError, psutil.Error, ApiFailure):  # not yet; or the web role itself is away
            return False

    wait_for(f"{role} to come back", is_back)
    assert f"The {role} process ended (signal 9)" in server.log("server")


def test_a_port_in_use_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in ("--port", "--mqtt-port"):
            other = "--mqtt-port" if option == "--port" else "--port"
            done = run_serve("--data", str(tmp_path / option), option, port, other, "0")
            assert done.returncode == 1
            assert f"Port {port} on 127.0.0.1" in done.stderr
            assert option in done.stderr
            assert "Traceback" not in done.stderr + done.stdout


def test_one_server_a_folder(server: Server) -> None:
    done = run_serve("--data", str(server.data_dir), "--port", "0", "--mqtt-port", "0")
    assert done.returncode == 1
    assert f"process {server.pid}" in done.stderr
    assert all_well(server)


def test_a_folder_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run_serve("--data", str(tmp_path / "file" / "x"), "--port", "0", "--mqtt-port", "0")
    assert done.returncode == 1
    assert "--data" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_release_reaches_a_device_over_the_wire(server: Server) -> None:
    device = server.device_on_the_wire("receiver")
    data = some_bytes(3, seed=1)
    digest, rollout = server.roll_out(data, device)
    accepted = device.want(digest)
    assert device.fetch(accepted) == data
    device.commit(accepted)
    server.wait_until_done(rollout)
    assert server.device("receiver")["running"]["digest"] == digest

    device.send_batch(1, Sample(at_ms=int(time.time() * 1000), interval_ms=1000, rss_bytes=12345))
    device.wire.wait("the acknowledgement", lambda: device.acknowledged() == 1)
    assert server.api.get("/telemetry/latest")["receiver"]["rss_bytes"] == 12345

    def off_the_broker() -> bool:
        """Chunks that nobody needs any more are cleared: who subscribes now gets none."""
        fresh = Wire(server.mqtt_port).connect()
        fresh.subscribe(chunk_topic(digest, 0), chunk_topic(digest, 40), "ep/1/server/state")
        fresh.wait("the server's state", lambda: fresh.last("ep/1/server/state"))
        fresh.close()
        return not any(payload for topic, payload in fresh.messages if topic.startswith("ep/1/c/"))

    wait_for("the chunks to be cleared", off_the_broker)


def test_a_lost_chunk_is_published_again_when_a_device_asks(server: Server) -> None:
    device = server.device_on_the_wire("asker")
    digest, _ = server.roll_out(some_bytes(1, seed=2), device)
    accepted = device.want(digest)
    vandal = Wire(server.mqtt_port).connect()
    vandal.subscribe(*(chunk_topic(digest, n) for n in range(accepted.want.chunks)))
    vandal.wait("the chunks", lambda: len(vandal.messages) >= accepted.want.chunks)
    for n in (0, 7):
        vandal.publish(chunk_topic(digest, n), b"", retain=True)
    vandal.close()
    device.fetch(accepted, ask_for={0, 7})


def test_a_killed_broker_comes_back_with_everything_on_it(server: Server) -> None:
    here, away = server.device_on_the_wire("here"), server.device_on_the_wire("away")
    digest, rollout = server.roll_out(some_bytes(1, seed=3), here, away)
    first = here.want(digest)
    away.want(digest)
    away.wire.close()
    server.role("broker").send_signal(signal.SIGKILL)
    here.wire.wait("the lost connection", lambda: not here.wire.connected)
    here.connect()
    again = here.want(digest)
    assert again.counter == first.counter
    here.fetch(again)
    here.commit(again)
    wait_for("here to be online again", lambda: server.device("here")["status"] == "online")
    wait_for("away to be known as offline", lambda: server.device("away")["status"] == "offline")
    away.connect()
    away.commit(away.want(digest))
    server.wait_until_done(rollout)


def test_what_is_forged_or_malformed_does_not_stop_the_link(server: Server) -> None:
    device = server.device_on_the_wire("victim")
    link = server.role("link").pid
    stranger = Wire(server.mqtt_port).connect()
    for leaf in ("victim/up/state", "victim/up/need", "victim/up/telemetry", "nobody/up/state"):
        for payload in (b"", b"{", b"[1]", b"\xff" * 1000, b'{"online": 3}', b'{"online": true, "seq": -1}'):
            stranger.publish(f"ep/1/d/{leaf}", payload)
    stranger.publish("ep/1/d/UPPER/up/state", b"{}")
    stranger.publish("ep/1/d/victim/up/unknown", b"{}")
    stranger.publish(up_topic("nobody", "telemetry"), b"\x93\x01\xa1e\x01")
    device.need("ab" * 32, 3, {1})
    device.need("ab" * 32, 1_000_000, set(range(0, 1_000_000, 9)))
    stranger.close()
    device.send_batch(1, Sample(at_ms=int(time.time() * 1000), interval_ms=1000))
    device.wire.wait("the acknowledgement", lambda: device.acknowledged() == 1)
    assert server.role("link").pid == link
    assert server.device("victim")["status"] == "online"
    assert "Traceback" not in (server.data_dir / "log" / "link.log").read_text()


@needs_mosquitto
def test_on_mosquitto_a_device_reaches_its_own_subtree_only(mosquitto: Server) -> None:
    assert not Wire(mosquitto.mqtt_port, "", "").connect().connected, "nobody gets in without a password"
    assert not Wire(mosquitto.mqtt_port, "one", "guess").connect().connected
    one, two = mosquitto.device_on_the_wire("one"), mosquitto.device_on_the_wire("two")

    # `one` tries to listen to everything, and to speak for `two` and for the server.
    one.wire.subscribe("#", "ep/1/d/+/down/#", "ep/1/d/two/up/state", "ep/1/d/two/down/want", "ep/1/c/#")
    for topic in (up_topic("two", "telemetry"), down_topic("two", "want"), "ep/1/server/state"):
        one.wire.publish(topic, b"forged", retain=True)
    two.wire.subscribe("ep/1/server/state")
    digest, rollout = mosquitto.roll_out(some_bytes(1, seed=4), one, two)
    for device in (one, two):
        accepted = device.want(digest)
        device.fetch(accepted)
        device.commit(accepted)
    mosquitto.wait_until_done(rollout)
    two.wire.wait("the server's state", lambda: two.wire.last("ep/1/server/state"))
    assert b"forged" not in [payload for _, payload in two.wire.messages + one.wire.messages]
    heard = {topic for topic, _ in one.wire.messages}
    assert [topic for topic in heard if "/d/two/" in topic or "/up/" in topic] == []


@needs_mosquitto
def test_on_mosquitto_revoking_hangs_up_at_once(mosquitto: Server) -> None:
    stolen, good = mosquitto.device_on_the_wire("stolen"), mosquitto.device_on_the_wire("good")
    mosquitto.api.delete("/devices/stolen")
    stolen.wire.wait("the lost connection", lambda: not stolen.wire.connected)
    again = stolen.new_wire().connect()
    assert again.refused is not None
    again.close()
    good.send_batch(1, Sample(at_ms=int(time.time() * 1000), interval_ms=1000))
    good.wire.wait("the acknowledgement", lambda: good.acknowledged() == 1)
    assert good.wire.connected, "nobody else was hung up on"


@needs_mosquitto
def test_a_killed_mosquitto_comes_back_with_users_and_wants(mosquitto: Server) -> None:
    device = mosquitto.device_on_the_wire("patient")
    digest, rollout = mosquitto.roll_out(some_bytes(0.2, seed=5), device)
    device.want(digest)
    child = mosquitto.role("broker").children()[0]
    assert "mosquitto" in child.name()
    os.kill(child.pid, signal.SIGKILL)
    device.wire.wait("the lost connection", lambda: not device.wire.connected)
    device.connect()
    accepted = device.want(digest)
    device.fetch(accepted)
    device.commit(accepted)
    mosquitto.wait_until_done(rollout)


def test_keys_that_are_not_whole_stop_the_start_with_a_sentence(tmp_path: Path) -> None:
    """New ones would lock every device out."""
    (tmp_path / "data" / "keys").mkdir(parents=True, mode=0o700)
    (tmp_path / "data" / "keys" / "root.json").write_text("{}")
    done = run_serve("--data", str(tmp_path / "data"), "--port", "0", "--mqtt-port", "0")
    assert done.returncode == 1
    assert "Restore the keys folder from a back-up" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "password:" not in done.stdout, "no login is told that is not kept"
