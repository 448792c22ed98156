"""What Home Assistant hears: each device once, its figures when they change, and nothing of who has gone."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from ecosystem_fleet import A, Fleet
from server_story import Clock

from edgepress_server.ecosystem.home_announcer import BURST, HomeAnnouncer
from edgepress_server.ecosystem.home_assistant import ENTITIES, discovery_topic, state_topic
from edgepress_server.settings import Settings
from edgepress_server.store import Store


class Broker:
    """Retains; counts; may be away."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.away = False

    def publish(self, topic: str, payload: bytes) -> int | None:
        if self.away:
            return None
        self.messages.append(topic)
        self.retained.pop(topic, None)
        if payload:
            self.retained[topic] = payload
        return len(self.messages)

    def config(self, device: str) -> Any:
        return json.loads(self.retained[discovery_topic("homeassistant", device)])

    def state(self, device: str) -> Any:
        return json.loads(self.retained[state_topic(device)])


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.online("pi-1")
    made.report("pi-1", 5)
    return made


@pytest.fixture
def broker() -> Broker:
    return Broker()


def announcer(store: Store, broker: Broker, *, kept: bool = True, **more: Any) -> HomeAnnouncer:
    settings = Settings(data_dir=store.data_dir, home_assistant=True)
    made = HomeAnnouncer(msgspec.structs.replace(settings, **more), store, broker.publish)
    made.begin(kept=kept)
    return made


def test_a_device_is_announced_with_what_it_measures(store: Store, fleet: Fleet, broker: Broker) -> None:
    announcer(store, broker).tick(0.0)
    config = broker.config("pi-1")
    measured = {"p95_ms", "requests_per_s", "errors_per_s", "temp_c", "power_w", "memory_mb", "throttled"}
    assert set(config["components"]) == {"online", "model"} | measured
    assert config["device"]["identifiers"] == ["edgepress-pi-1"]
    assert config["state_topic"] == "ep/1/ha/pi-1"
    assert broker.state("pi-1") == {
        **{entity.key: None for entity in ENTITIES},
        "online": True,
        "model": "",
        "running": A[:12],
        "wanted": A[:12],
        "p95_ms": broker.state("pi-1")["p95_ms"],
        "requests_per_s": 5.0,
        "errors_per_s": 1.0,
        "temp_c": broker.state("pi-1")["temp_c"],
        "power_w": 2.5,
        "memory_mb": 42,
        "throttled": False,
    }
    ids = [component["unique_id"] for component in config["components"].values()]
    assert len(ids) == len(set(ids))
    assert set(broker.config("jet-1")["components"]) == {"online", "model", "requests_per_s", "errors_per_s"}


def test_every_template_reads_what_the_state_holds(store: Store, fleet: Fleet, broker: Broker) -> None:
    from jinja2 import Environment

    announcer(store, broker).tick(0.0)
    state, config = broker.state("pi-1"), broker.config("pi-1")
    shown = {
        key: Environment(autoescape=False).from_string(component["value_template"]).render(value_json=state)
        for key, component in config["components"].items()
    }
    assert (shown["online"], shown["throttled"], shown["temp_c"]) == ("ON", "OFF", str(state["temp_c"]))
    assert json.loads(shown["model"]) == {"installed_version": A[:12], "latest_version": A[:12], "title": ""}


def test_nothing_is_said_twice(store: Store, fleet: Fleet, broker: Broker, clock: Clock) -> None:
    first = announcer(store, broker)
    first.tick(0.0)
    said = len(broker.messages)
    for n in range(1, 60):
        first.tick(float(n))
    assert len(broker.messages) == said
    clock.forward(10_000)
    fleet.report("pi-1", 1)
    first.tick(61.0)
    first.tick(62.0)
    assert broker.messages[said:] == ["ep/1/ha/pi-1"]
    clock.forward(1000)
    fleet.report("pi-1", 1)
    first.tick(63.0)  # within the interval
    assert len(broker.messages) == said + 1
    again = announcer(store, broker)  # a restart: figures once more, no announcement
    again.tick(0.0)
    assert all(topic.startswith("ep/1/ha/") for topic in broker.messages[said:])


def test_who_is_revoked_is_taken_back(store: Store, fleet: Fleet, broker: Broker) -> None:
    made = announcer(store, broker)
    made.tick(0.0)
    store.devices.revoke("pi-1", actor=None)
    made.tick(1.0)
    assert not any("pi-1" in topic for topic in broker.retained)
    assert state_topic("pi-2") in broker.retained


def test_the_setting_off_takes_all_back_after_a_restart(store: Store, fleet: Fleet, broker: Broker) -> None:
    announcer(store, broker).tick(0.0)
    assert broker.retained
    off = announcer(store, broker, home_assistant=False)
    off.tick(0.0)
    assert broker.retained == {}
    said = len(broker.messages)
    announcer(store, broker, home_assistant=False).tick(0.0)
    assert len(broker.messages) == said


def test_another_prefix_moves_the_devices(store: Store, fleet: Fleet, broker: Broker) -> None:
    announcer(store, broker).tick(0.0)
    moved = announcer(store, broker, home_assistant_prefix="ha")
    for n in range(3):
        moved.tick(float(n))
    assert {topic.partition("/")[0] for topic in broker.retained} == {"ha", "ep"}


@pytest.mark.fault("broker lost what it retained", "everything is announced to Home Assistant again")
def test_a_broker_that_lost_everything_is_told_again(store: Store, fleet: Fleet, broker: Broker) -> None:
    announcer(store, broker).tick(0.0)
    held = dict(broker.retained)
    broker.retained.clear()
    announcer(store, broker, kept=False).tick(0.0)
    assert broker.retained == held


def test_what_could_not_be_said_is_said_later(store: Store, fleet: Fleet, broker: Broker) -> None:
    made = announcer(store, broker)
    broker.away = True
    made.tick(0.0)
    broker.away = False
    made.tick(1.0)
    assert discovery_topic("homeassistant", "pi-1") in broker.retained and "ep/1/ha/pi-1" in broker.retained


def test_many_devices_are_announced_a_few_at_a_time(store: Store, clock: Clock, broker: Broker) -> None:
    Fleet(store, clock, tuple(f"pi-{n}" for n in range(60)))
    made = announcer(store, broker, home_assistant_devices=55)
    counts = []
    for n in range(5):
        before = len(broker.messages)
        made.tick(float(n))
        counts.append(len(broker.messages) - before)
    assert max(counts) <= BURST + 1 and len(broker.retained) == 110


def test_a_silent_device_has_unknown_figures(
    store: Store, fleet: Fleet, broker: Broker, clock: Clock
) -> None:
    made = announcer(store, broker)
    made.tick(0.0)
    clock.forward(10 * 60_000)
    fleet.online("pi-1", seq=2)
    made.tick(20.0)
    assert broker.state("pi-1")["temp_c"] is None and "temp_c" in broker.config("pi-1")["components"]
