"""The link and its broker: who reaches what, what is published how often, and what happens when either of
them dies, forgets, or is not alone."""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from broker_story import (
    MOSQUITTO,
    CountingProxy,
    Yard,
    can_connect,
    chunks_heard,
    retained,
    rss_bytes,
    started,
    within,
)
from installation import wait_for
from msgspec.structs import replace

from edgepress_devices.protocol import FETCH_WINDOW, chunk_topic, down_topic, up_topic
from edgepress_server.broker import mosquitto
from edgepress_server.broker.check import run_checks
from edgepress_server.broker.driver import driver
from edgepress_server.broker.embedded import run_embedded
from edgepress_server.broker.probe import Probe, Target
from edgepress_server.link import handshake
from edgepress_server.store import open_store
from edgepress_server.trust.keys import create_keys_if_missing

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto here; Debian: sudo apt-get install mosquitto"),
]


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with started(tmp_path / "server") as made:
        yield made


def rolled_out(yard: Yard, *devices: str, text: str = "x") -> str:
    """The digest of a new artifact of 1 MB or so, told to these devices."""
    digest = yard.fleet.artifact(text * 50)
    yard.fleet.roll_out(yard.fleet.release(digest), devices=list(devices))
    return digest


def chunk_topics(digest: str, yard: Yard) -> list[str]:
    size = yard.store.artifacts.get(digest).bytes
    return [chunk_topic(digest, n) for n in range(-(-size // 63_984))]


# --- bytes ------------------------------------------------------------------------------------------------


def test_an_artifact_leaves_the_server_once_whatever_the_fleets_size(yard: Yard) -> None:
    names = [f"device-{n}" for n in range(8)]
    yard.fleet.enrol(*names)
    proxy = CountingProxy(yard.settings.mqtt_port)
    try:
        digest = rolled_out(yard, *names)
        size = yard.store.artifacts.get(digest).bytes
        yard.start_link(port=proxy.port)
        yard.wait_until_settled()
        topics = chunk_topics(digest, yard)
        for name in names:
            with yard.device(name) as device:
                device.subscribe(*topics)
                assert device.wait(lambda: len(device.received) >= len(topics))
        assert size >= 1_000_000
        assert proxy.sent_bytes <= 1.05 * size + 4096 * len(names)
    finally:
        proxy.close()


def test_a_link_that_starts_again_publishes_no_chunk_again(yard: Yard) -> None:
    yard.fleet.enrol("one")
    digest = rolled_out(yard, "one")
    yard.start_link()
    yard.wait_until_settled()
    yard.stop_link()
    with yard.server() as looker:
        looker.subscribe("ep/1/c/+/+", "ep/1/d/+/down/want", "ep/1/server/+")
        before = len(looker.received)
        yard.start_link()
        wait_for("the link's place", yard.is_placed, 20)
        assert looker.wait(lambda: any(m.topic == "ep/1/server/state" for m in looker.received[before:]))
        looker.wait(lambda: False, 1.5)
        assert chunks_heard(looker) == []
        assert [m for m in looker.received if m.topic.endswith("/want") and not m.retained] == []
    assert set(chunk_topics(digest, yard)) <= set(retained(yard, "ep/1/c/+/+"))


# --- a broker that forgets --------------------------------------------------------------------------------


@pytest.mark.fault("a broker that restarts empty", "gets wants, roots and chunks again by itself")
def test_a_broker_that_restarts_empty_gets_everything_again(yard: Yard) -> None:
    yard.fleet.enrol("one")
    digest = rolled_out(yard, "one")
    yard.start_link()
    yard.wait_until_settled()
    yard.stop_broker(kill=True)
    yard.database.unlink(missing_ok=True)
    yard.start_broker()
    expected = {*chunk_topics(digest, yard), down_topic("one", "want"), "ep/1/server/root/1"}

    def is_back() -> bool:
        return expected <= set(retained(yard, "ep/1/c/+/+", "ep/1/d/+/down/want", "ep/1/server/#"))

    wait_for("everything to be back", is_back, 30)


def test_a_broker_with_an_old_state_gets_only_what_it_lacks(yard: Yard, tmp_path: Path) -> None:
    yard.fleet.enrol("one", "two")
    old = rolled_out(yard, "one", text="a")
    yard.start_link()
    yard.wait_until_settled()
    yard.stop_broker()  # writes its state
    shutil.copy(yard.database, tmp_path / "old.db")
    yard.start_broker()
    new = rolled_out(yard, "two", text="b")
    wait_for("the new chunks", lambda: set(chunk_topics(new, yard)) <= set(retained(yard, "ep/1/c/+/+")), 20)
    yard.wait_until_settled()
    yard.stop_link()
    yard.stop_broker(kill=True)
    shutil.copy(tmp_path / "old.db", yard.database)
    yard.start_broker()
    with yard.server() as looker:
        looker.subscribe("ep/1/c/+/+")
        yard.start_link()
        asked = set(chunk_topics(new, yard))
        wait_for("the new chunks again", lambda: {chunk_topic(*c) for c in chunks_heard(looker)} >= asked, 30)
        assert old not in {digest for digest, _ in chunks_heard(looker)}


def test_an_aborted_rollouts_chunks_are_cleared_at_once_also_after_a_crash(yard: Yard) -> None:
    yard.fleet.enrol("one")
    digest = yard.fleet.artifact("z" * 50)
    rollout = yard.fleet.roll_out(yard.fleet.release(digest), devices=["one"])
    yard.start_link()
    yard.wait_until_settled()
    yard.stop_link()  # what a crash leaves: chunks on the broker, and nobody to clear them
    yard.store.rollouts.abort(rollout)
    yard.start_link()
    took_s = within(20, lambda: retained(yard, "ep/1/c/+/+") == {})
    assert took_s < 6
    wait_for("the note", lambda: yard.store.broker_contents.published() == {}, 10)


def test_of_a_large_fleet_on_the_embedded_broker_everyone_is_heard_after_a_restart_of_the_link(
    tmp_path: Path,
) -> None:
    """iotcore hands out a hundred retained messages for one filter."""
    yard = Yard(tmp_path / "server")
    names = [f"device-{n}" for n in range(130)]
    yard.fleet.enrol(*names)
    settings = replace(yard.settings, broker="embedded")
    process = multiprocessing.get_context("spawn").Process(target=run_embedded, args=(settings,), daemon=True)
    process.start()
    try:
        wait_for("the broker", lambda: can_connect(settings.mqtt_port), 30)
        with Probe(Target("127.0.0.1", settings.mqtt_port)) as devices:
            assert devices.connect()
            states = [
                devices.publish(up_topic(name, "state"), b'{"online":true,"at_ms":1,"seq":99}', retain=True)
                for name in names
            ]
            assert devices.taken(*states)
            yard.store.device_states.all_offline()
            yard.start_link(address=driver(settings).address(settings))
            wait_for(
                "every device",
                lambda: all(yard.store.devices.get(name).online for name in names),
                20,
            )
    finally:
        yard.close()
        process.kill()
        process.join()


# --- two servers ------------------------------------------------------------------------------------------


@pytest.mark.fault("two servers on one broker", "real ones: the second publishes nothing, then takes over")
def test_a_second_server_publishes_nothing_until_the_first_has_gone(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "AGAIN_S", 1.0)
    yard.start_link()
    wait_for("the first one's place", yard.is_placed, 20)
    other = open_store(tmp_path / "other")
    try:
        create_keys_if_missing(other.data_dir / "keys")
        with yard.server() as looker:
            looker.subscribe("ep/1/server/state", "ep/1/server/root/+")
            looker.wait(lambda: len(looker.received) >= 2)
            before = len(looker.received)
            yard.start_link(store=other)
            wait_for("the finding", lambda: yard.problems(other), 20)
            assert "Another edgepress server" in yard.problems(other)[0]
            assert yard.store.broker_contents.identity() in yard.problems(other)[0]
            assert not yard.is_placed(other)
            assert yard.problems() == [] and yard.is_placed()
            assert looker.received[before:] == []
        second = yard._links.pop()
        yard.stop_link()  # the first
        yard._links.append(second)
        wait_for("the second to take over", lambda: yard.is_placed(other), 20)
        wait_for("no problem any more", lambda: not yard.problems(other), 10)
        yard.stop_link()
    finally:
        other.close()


# --- limits of brokers ------------------------------------------------------------------------------------


@pytest.mark.fault(
    "a broker that caps packets", "a real one: orders arrive, the reason is told, no chunk is tried"
)
def test_a_broker_that_takes_no_chunks_still_carries_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosquitto, "MAX_PACKET_BYTES", 20_000)
    with started(tmp_path / "server") as yard:
        yard.fleet.enrol("one")
        rolled_out(yard, "one")
        yard.start_link()
        wait_for("the order", lambda: down_topic("one", "want") in retained(yard, "ep/1/d/+/down/want"), 20)
        wait_for("the finding", yard.problems, 20)
        assert "20000 bytes" in yard.problems()[0]
        assert "max_packet_size" in yard.problems()[0]
        assert retained(yard, "ep/1/c/+/+") == {}
        assert yard.is_placed(), "it was not hung up on"


# --- who reaches what -------------------------------------------------------------------------------------


@pytest.mark.attack("another device's topics", "mosquitto refuses to listen there and drops what is forged")
def test_a_device_neither_hears_nor_forges_what_is_anothers(yard: Yard) -> None:
    yard.fleet.enrol("thief", "victim")
    with yard.device("thief") as thief, yard.server() as server:
        refused = [
            down_topic("victim", "want"),
            up_topic("victim", "state"),
            "ep/1/d/+/down/want",
            "ep/1/d/#",
            "#",
            "+/#",
            "ep/1/c/#",
            "$SYS/#",
            "$CONTROL/#",
            "$CONTROL/dynamic-security/v1/response",
            "$share/x/ep/1/d/victim/down/want",
        ]
        assert thief.subscribe(*refused) == [False] * len(refused)
        own = [down_topic("thief", "want"), chunk_topic("ab" * 32, 3), "ep/1/server/state"]
        assert thief.subscribe(*own) == [True] * len(own)
        server.subscribe("ep/1/#")
        forged = [
            up_topic("victim", "state"),
            up_topic("victim", "telemetry"),
            up_topic("victim", "need"),
            down_topic("victim", "want"),
            down_topic("thief", "want"),
            chunk_topic("ab" * 32, 3),
            "ep/1/server/state",
            "ep/1/server/mark",
        ]
        for topic in forged:
            thief.publish(topic, b"forged", retain=True)
        thief.publish("$CONTROL/dynamic-security/v1", b'{"commands": [{"command": "listClients"}]}')
        thief.publish(up_topic("thief", "state"), b"its own")
        assert server.wait(lambda: server.messages(up_topic("thief", "state")))
        assert [m.topic for m in server.received] == [up_topic("thief", "state")]
        server.publish(down_topic("victim", "ack"), b"for the victim")
        server.publish(down_topic("thief", "ack"), b"not subscribed to")
        server.publish(down_topic("thief", "want"), b"for the thief")
        assert thief.wait(lambda: thief.messages(down_topic("thief", "want")))
        assert [m.payload for m in thief.received] == [b"for the thief"]


@pytest.mark.attack("another device's topics", "nobody can hang up on a device by connecting under its id")
def test_a_device_cannot_connect_under_anothers_client_id(yard: Yard) -> None:
    yard.fleet.enrol("thief", "victim")
    with yard.device("victim") as victim:
        intruder = Probe(yard.device_target("thief"), client_id="edgepress-victim")
        assert not intruder.connect()
        intruder.close()
        assert not victim.wait(lambda: victim.error is not None, 0.5)
    for target in (
        Target("127.0.0.1", yard.settings.mqtt_port),
        Target("127.0.0.1", yard.settings.mqtt_port, None, "victim", "guessed"),
        Target("127.0.0.1", yard.settings.mqtt_port, None, "edgepress_control", ""),
    ):
        nobody = Probe(target, client_id="edgepress-victim")
        assert not nobody.connect()


@pytest.mark.parametrize("plugin", ["dynamic security", "none"])
def test_revoking_hangs_up_within_a_second_and_a_new_secret_works_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: str
) -> None:
    if plugin == "none":
        monkeypatch.setenv("EDGEPRESS_MOSQUITTO_PLUGIN", "none")
    with started(tmp_path / "server") as yard:
        yard.fleet.enrol("stolen", "good")
        with yard.device("stolen") as stolen, yard.device("good") as good:
            old = yard.device_target("stolen")
            yard.store.devices.revoke("stolen", actor=None)
            took_s = within(5, lambda: stolen.error is not None)
            assert took_s < 1.0
            again = Probe(old, client_id="edgepress-stolen")
            assert not again.connect()
            assert good.error is None, "nobody else was hung up on"
            yard.fleet.devices["stolen"].enrol()
            yard.device("stolen").close()
            assert not Probe(old, client_id="edgepress-stolen").connect(), "the old secret stays worthless"


def test_ten_thousand_devices_are_known_at_the_start_and_one_more_soon_after(tmp_path: Path) -> None:
    with started(tmp_path / "server") as yard:
        yard.stop_broker()
        users = {f"device-{n}": f"secret {n}" for n in range(10_000)}
        yard.broker._users = lambda: users  # type: ignore[method-assign]
        within(60, lambda: yard.start_broker() is None)  # 2 s; ten on a busy machine
        grown = rss_bytes(yard.broker_pid)
        assert grown < 110e6, f"{grown / 1e6:.0f} MB"
        users["late"] = "late secret"
        yard.store.devices.register("late", "x86-pc", {}, actor=None)
        yard.store.events.append("device", "late", "enrolled")
        for name in ("device-9999", "late"):
            target = Target("127.0.0.1", yard.settings.mqtt_port, None, name, users[name])
            within(15, partial(connects, target))  # 0.2 s; one on a busy machine


def connects(device: Target) -> bool:
    return Probe(device, client_id=f"edgepress-{device.username}").connect()


@pytest.mark.attack("slow loris on chunks", "who subscribes and never reads holds up nobody")
def test_a_device_that_never_reads_holds_up_nobody(yard: Yard) -> None:
    yard.fleet.enrol("loris", "honest")
    digest = rolled_out(yard, "loris", "honest", text="q")
    yard.start_link()
    yard.wait_until_settled()
    topics = chunk_topics(digest, yard)
    before = rss_bytes(yard.broker_pid)
    target = yard.device_target("loris")
    with socket.create_connection((target.host, target.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(connect_packet("edgepress-loris", target.username or "", target.password or ""))
        for n in range(0, len(topics), FETCH_WINDOW):
            sock.sendall(subscribe_packet(n + 1, topics[n : n + FETCH_WINDOW]))
        started = time.monotonic()
        with yard.device("honest") as honest:
            honest.subscribe(*topics)
            assert honest.wait(lambda: len(honest.received) >= len(topics), 10)
        assert time.monotonic() - started < 5
        assert rss_bytes(yard.broker_pid) - before < 20e6
    assert yard.is_placed()


def connect_packet(client_id: str, username: str, password: str) -> bytes:
    texts = [text.encode() for text in (client_id, username, password)]
    body = struct.pack(">H4sBBH", 4, b"MQTT", 4, 0xC2, 60)
    body += b"".join(struct.pack(">H", len(text)) + text for text in texts)
    return packet(0x10, body)


def subscribe_packet(mid: int, topics: list[str]) -> bytes:
    each = (struct.pack(">H", len(t)) + t.encode() + b"\x01" for t in topics)
    return packet(0x82, struct.pack(">H", mid) + b"".join(each))


def packet(kind: int, body: bytes) -> bytes:
    length, head = len(body), bytearray([kind])
    while True:
        length, low = divmod(length, 128)
        head.append(low | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


# --- broker check -----------------------------------------------------------------------------------------


def test_broker_check_finds_nothing_wrong_with_our_own_and_leaves_nothing_on_it(yard: Yard) -> None:
    yard.fleet.enrol("one")
    found = {f.check: f for f in run_checks(yard.server_target, yard.device_target("one"))}
    assert {f.level for f in found.values()} <= {"good", "note", "unknown"}, found
    assert found["message size"].found.startswith("262144 bytes pass")
    assert found["a device, speaking for others"].level == "good"
    assert retained(yard, "ep/1/#") == {}


def test_broker_check_says_what_breaks_where_chunks_do_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosquitto, "MAX_PACKET_BYTES", 20_000)
    with started(tmp_path / "server") as yard:
        found = {f.check: f for f in run_checks(yard.server_target)}
        assert found["message size"].level == "broken"
        assert "HTTPS" in str(found["message size"].breaks)
        assert found["users"].level == "good"


def test_broker_check_of_nobody_says_so() -> None:
    found = list(run_checks(Target("127.0.0.1", 1)))
    assert [f.level for f in found] == ["note", "broken"]
    assert found[-1].remedy is not None
