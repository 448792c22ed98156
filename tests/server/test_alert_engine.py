"""Alerts as an operator lives through them: telemetry goes in, incidents and notices come out."""

from __future__ import annotations

import msgspec
import pytest
from alert_story import Watched
from server_story import Clock

from edgepress_devices.protocol import State
from edgepress_server.alerts.defaults import DEFAULT_RULES
from edgepress_server.alerts.rule import Baseline, Rule
from edgepress_server.store import Store

HOT = Rule(
    name="hot", title="Hot", kind="threshold", metric="temp_c", window_s=120, fire_at=80.0, resolve_at=75.0,
    for_s=60, resolve_for_s=60, repeat_s=0,
)  # fmt: skip


@pytest.fixture
def watched(store: Store, clock: Clock) -> Watched:
    return Watched(store, clock)


def default(name: str, **more: object) -> Rule:
    return msgspec.structs.replace(next(rule for rule in DEFAULT_RULES if rule.name == name), **more)


def test_a_hot_device_fires_with_its_figures_and_resolves(watched: Watched) -> None:
    watched.enrol("pc-1", "pc-2")
    watched.only(HOT)
    watched.say(pc_1={"temp_c": 60}, pc_2={"temp_c": 60})
    assert watched.minutes(3) == []
    watched.say(pc_1={"temp_c": 91})
    (incident,) = watched.minutes(5)
    assert (incident.rule, incident.subjects, incident.first_subject) == ("hot", 1, "device:pc-1")
    assert "pc-1: temperature 91" in incident.sentence and "above 80 °C, since" in incident.sentence
    assert (incident.profile, incident.runbook) == ("x86-pc", "/runbooks/hot")
    watched.say(pc_1={"temp_c": 77})
    assert len(watched.minutes(6)) == 1  # between the limits nothing changes
    watched.say(pc_1={"temp_c": 60})
    assert watched.minutes(6) == []
    assert watched.history("fired") == watched.history("resolved")[:1] == ["device:pc-1"]


def test_many_devices_are_one_incident_one_notice_and_one_end(watched: Watched) -> None:
    names = [f"pc-{n}" for n in range(40)]
    watched.enrol(*names)
    watched.enrol("pi-1", profile="raspberry-pi-4")
    watched.only(HOT)
    watched.hook()
    watched.say(**{name: {"temp_c": 91} for name in [*names, "pi-1"]})
    firing = watched.minutes(4)
    assert sorted((i.scope["profile"], i.subjects) for i in firing) == [("raspberry-pi-4", 1), ("x86-pc", 40)]
    assert any(i.sentence.startswith("40 devices of profile x86-pc:") for i in firing)
    assert watched.told() == [("ops", "fired")] * 2
    watched.say(**{name: {"temp_c": 50} for name in [*names, "pi-1"]})
    assert watched.minutes(5) == []
    assert watched.told() == [("ops", "fired")] * 2 + [("ops", "resolved")] * 2


def test_a_site_that_loses_power_is_one_incident_after_a_quarter_of_an_hour(watched: Watched) -> None:
    watched.enrol("a-1", "a-2", site="hall-3")
    watched.enrol("b-1", site="hall-4")
    watched.only(default("device-offline"))
    watched.minutes(1)
    for name in ("a-1", "a-2"):
        watched.fleet.devices[name].report("idle", online=False)
    assert watched.minutes(14) == []
    (incident,) = watched.minutes(2)
    assert incident.scope == {"site": "hall-3", "profile": "x86-pc"} and incident.subjects == 2
    assert "offline for longer than 15 min" in incident.sentence
    watched.fleet.devices["a-1"].report("idle")
    (incident,) = watched.minutes(1)
    assert incident.subjects == 1
    watched.store.devices.revoke("a-2", actor="ada")
    assert watched.minutes(1) == []  # nobody waits for a device that is gone for good


def test_while_the_broker_is_away_nobody_is_called_offline(watched: Watched) -> None:
    watched.enrol("a-1")
    watched.only(default("device-offline"), default("server-link"))
    watched.minutes(2)
    watched.store.device_states.all_offline()
    watched.link_is_well = False
    assert {i.rule for i in watched.minutes(30)} == {"server-link"}
    watched.link_is_well = True
    watched.fleet.devices["a-1"].report("idle")
    assert watched.minutes(3) == []
    assert watched.history("fired") == ["server:"]


def test_a_killed_worker_neither_forgets_nor_says_it_twice(watched: Watched) -> None:
    """It is killed at every single write of three looks; the next one goes on from what is there."""
    watched.enrol("pc-1")
    watched.only(HOT)
    watched.hook()
    watched.say(pc_1={"temp_c": 91})
    for _ in range(24):
        watched.forward(10_000)
        watched.restart()
    (incident,) = watched.store.alerts.firing()
    watched.say(pc_1={"temp_c": 50})
    for _ in range(30):
        watched.forward(10_000)
        watched.restart()
    assert watched.store.alerts.firing() == []
    assert watched.told() == [("ops", "fired"), ("ops", "resolved")]
    assert watched.history("fired") == ["device:pc-1"]
    ids = [n.id for n in watched.store.alerts.channels.notices(incident.id)]
    assert ids == [f"{incident.id}-2-ops", f"{incident.id}-1-ops"]


@pytest.mark.fault("kill -9 between two writes of a look", "alerts go on from what is there; told once")
def test_a_look_that_breaks_off_in_the_middle_leaves_what_was(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.enrol("pc-1")
    watched.only(HOT)
    watched.hook()
    watched.say(pc_1={"temp_c": 91})
    alerts = type(watched.store.alerts)
    whole = {name: getattr(alerts, name) for name in ("put_states", "note", "tell", "open", "change")}
    for name, method in whole.items():  # each of them breaks once, after it has written

        def broken(self: object, *args: object, _method: object = method, **more: object) -> None:
            _method(self, *args, **more)  # type: ignore[operator]
            raise SystemExit("killed")

        monkeypatch.setattr(alerts, name, broken)
        for _ in range(12):
            try:
                watched.forward(10_000)
            except SystemExit:
                pass
        monkeypatch.setattr(alerts, name, method)
        watched.restart()
    (incident,) = watched.minutes(4)
    assert incident.subjects == 1 and watched.history("fired") == ["device:pc-1"]
    assert watched.told() == [("ops", "fired")]


def test_what_comes_and_goes_is_told_once(watched: Watched) -> None:
    watched.enrol("pc-1")
    watched.only(msgspec.structs.replace(HOT, window_s=60, for_s=0, resolve_for_s=0))
    watched.hook()
    for _ in range(12):
        watched.say(pc_1={"temp_c": 95})
        watched.minutes(2)
        watched.say(pc_1={"temp_c": 50})
        watched.minutes(2)
    said = [what for _, what in watched.told()]
    assert said.count("flapping") == 1 and len(said) <= 8 and said[-1] == "flapping"
    assert watched.store.alerts.page()[0] == 1  # one incident, reopened
    watched.minutes(40)
    assert [what for _, what in watched.told()][-1] == "resolved"


def test_what_is_silenced_fires_and_nobody_is_told_until_it_ends(watched: Watched) -> None:
    watched.enrol("pc-1", site="hall-3")
    watched.only(HOT)
    watched.hook()
    silences = watched.store.alerts.silences
    silences.add(
        rule="h*", query="site = hall-3", starts_at=None, ends_at=watched.clock.ms + 1_200_000, repeats="no",
        until=None, reason="new fans", actor="ada",
    )  # fmt: skip
    watched.say(pc_1={"temp_c": 95})
    (incident,) = watched.minutes(10)
    assert incident.silenced and watched.told() == []
    watched.minutes(15)
    assert watched.told() == [("ops", "fired")]


def test_a_silence_of_some_devices_does_not_cover_the_others(watched: Watched) -> None:
    watched.enrol("pc-1", site="hall-3")
    watched.enrol("pc-2", site="hall-4")
    watched.only(HOT)
    watched.hook()
    watched.store.alerts.silences.add(
        rule="", query="site = hall-3", starts_at=None, ends_at=watched.clock.ms + 3_600_000, repeats="no",
        until=None, reason="new fans", actor="ada",
    )  # fmt: skip
    watched.say(pc_1={"temp_c": 95}, pc_2={"temp_c": 95})
    (incident,) = watched.minutes(10)
    assert not incident.silenced and watched.told() == [("ops", "fired")]


def test_who_sees_to_it_is_not_told_again(watched: Watched) -> None:
    watched.enrol("pc-1")
    watched.only(msgspec.structs.replace(HOT, repeat_s=300))
    watched.hook()
    watched.say(pc_1={"temp_c": 95})
    (incident,) = watched.minutes(10)
    assert [what for _, what in watched.told()] == ["fired", "repeated"]
    watched.store.alerts.acknowledge(incident.id, "on it", actor="ada")
    watched.minutes(20)
    assert [what for _, what in watched.told()] == ["fired", "repeated"]


def test_errors_count_only_where_there_was_enough_to_ask(watched: Watched) -> None:
    watched.enrol("few", "many")
    watched.only(default("inference-errors"))
    watched.say(few={"inferences": 0, "errors": 0}, many={"inferences": 10, "errors": 3})
    (incident,) = watched.minutes(3)
    assert incident.first_subject == "device:many" and "23" in incident.sentence
    assert incident.severity == "critical"


def test_a_slow_device_is_compared_with_its_own_past(watched: Watched) -> None:
    watched.enrol("pc-1", "always-slow")
    watched.only(default("latency-regression", least=10))
    watched.say(pc_1={"pace_us": 10_000}, always_slow={"pace_us": 90_000})
    hours = 8
    for _ in range(hours * 60):  # a look each minute would do nothing but take time here
        watched.clock.forward(60_000)
        watched._send()
    watched.store.facts.heartbeat("link", mqtt_connected=True)
    assert watched.minutes(6) == []
    watched.say(pc_1={"pace_us": 21_000})
    (incident,) = watched.minutes(10)
    assert incident.first_subject == "device:pc-1"
    assert "2.1 times the usual 10" in incident.sentence.replace("2.09", "2.1").replace("2.11", "2.1")


def test_further_conditions_all_have_to_hold(watched: Watched) -> None:
    watched.enrol("charging", "draining", "silent")
    watched.only(default("battery-low", for_s=0))
    watched.say(
        charging={"battery_percent": 9, "battery_charging": True},
        draining={"battery_percent": 9, "battery_charging": False},
        silent={"battery_percent": 9},
    )
    (incident,) = watched.minutes(3)
    assert incident.subjects == 1 and incident.first_subject == "device:draining"


def test_memory_that_grows_on_a_line_is_a_leak_and_a_step_is_none(watched: Watched) -> None:
    watched.enrol("leak", "step")
    watched.only(default("memory-growing", for_s=0, window_s=3600))
    for minute in range(70):
        watched.say(
            leak={"rss_bytes": 50_000_000 + 500_000 * minute},
            step={"rss_bytes": 50_000_000 + (1_000_000 if minute > 30 else 0)},
        )
        watched.clock.forward(60_000)
        watched._send()
    firing = watched.minutes(1)
    assert [i.first_subject for i in firing] == ["device:leak"]
    assert "MB an hour" in firing[0].sentence


def test_an_agent_that_starts_again_and_again_is_noticed(watched: Watched) -> None:
    watched.enrol("pc-1")
    watched.only(default("agent-restarts"))
    for boot in range(6):
        state = State(online=True, at_ms=watched.clock.ms, seq=10 + boot, boot=f"b{boot}")
        assert watched.store.device_states.record("pc-1", state)
        watched.minutes(2)
    (incident,) = watched.store.alerts.firing()
    assert "restarts of the agent 5 an hour" in incident.sentence


def test_a_rule_about_a_group_looks_at_its_devices_together(watched: Watched) -> None:
    watched.enrol("a-1", "a-2", site="hall-3")
    watched.enrol("b-1", site="hall-4")
    rule = Rule(
        name="hall", title="Hall", kind="threshold", metric="temp_c", window_s=120, fire_at=70.0,
        per="profile",
        query="site = hall-3",
    )  # fmt: skip
    watched.only(rule, msgspec.structs.replace(rule, name="all", query="", per="fleet", group_by=()))
    watched.say(a_1={"temp_c": 90}, a_2={"temp_c": 60}, b_1={"temp_c": 20})
    firing = {i.rule: i for i in watched.minutes(4)}
    assert firing.keys() == {"hall"}  # (90 + 60) / 2 above 70; with b-1 it is not
    assert firing["hall"].worst == pytest.approx(75)


def test_peers_say_what_is_usual(watched: Watched) -> None:
    names = [f"pc-{n}" for n in range(7)]
    watched.enrol(*names)
    peers = Rule(
        name="odd-one", title="Slower than its like", kind="baseline", metric="latency_us", aggregate="p50",
        window_s=120, fire_at=1.5, baseline=Baseline(against="profile"), least=5,
    )  # fmt: skip
    watched.only(peers)
    watched.say(**{n.replace("-", "_"): {"pace_us": 10_000 + 50 * int(n[-1])} for n in names})
    watched.say(pc_6={"pace_us": 20_000})
    (incident,) = watched.minutes(4)
    assert incident.first_subject == "device:pc-6" and incident.subjects == 1


def test_the_rollout_before_is_named(watched: Watched) -> None:
    watched.enrol("pc-1", "pc-2")
    fleet = watched.fleet
    rollout = fleet.roll_out(fleet.release(fleet.artifact("one")), devices=["pc-1", "pc-2"])
    for _ in range(3):
        fleet.settle()
        for device in fleet.devices.values():
            if watched.store.wants.find(device.name) is not None and device.running is None:
                device.commit()
        watched.clock.forward(3_600_000)
    watched.only(HOT)
    watched.say(pc_1={"temp_c": 95}, pc_2={"temp_c": 95})
    (incident,) = watched.minutes(5)
    assert incident.rollout == rollout and incident.model == "digits"
    assert f"after the rollout {rollout}; model digits release 1" in incident.sentence


def test_switching_a_rule_off_ends_what_it_claimed_and_is_remembered(watched: Watched) -> None:
    watched.enrol("pc-1")
    watched.say(pc_1={"temp_c": 95})
    watched.minutes(15)
    rules = watched.store.alerts.rules
    assert "temperature-high" in {i.rule for i in watched.store.alerts.firing()}
    rules.enable("temperature-high", False, actor="ada")
    rules.remove("throttled", actor="ada")
    watched.minutes(1)
    assert "temperature-high" not in {i.rule for i in watched.store.alerts.firing()}
    watched.restart()
    watched.minutes(1)
    assert not rules.get("temperature-high").rule.enabled and rules.find("throttled") is None
    assert rules.reset("temperature-high", actor="ada").rule.enabled


def test_a_newer_server_brings_newer_rules_where_nobody_changed_them(watched: Watched) -> None:
    rules = watched.store.alerts.rules
    rules.install([HOT])
    rules.install([msgspec.structs.replace(HOT, fire_at=85.0)])
    assert rules.get("hot").rule.fire_at == 85.0
    rules.put(msgspec.structs.replace(HOT, fire_at=99.0), actor="ada")
    rules.install([msgspec.structs.replace(HOT, fire_at=70.0)])
    kept = rules.get("hot")
    assert (kept.rule.fire_at, kept.is_changed) == (99.0, True)
    assert kept.shipped is not None and kept.shipped.fire_at == 70.0


def test_of_two_workers_one_looks(watched: Watched, clock: Clock) -> None:
    other = type(watched.engine)(watched.store, watched.settings)
    assert watched.engine.leads() and not other.leads() and watched.engine.leads()
    clock.forward(120_000)
    assert other.leads() and not watched.engine.leads()


def test_no_receiver_is_flooded(watched: Watched) -> None:
    """Fifty sites at once: thirty notices in ten minutes, the others after, all of them in the end."""
    for n in range(50):
        watched.enrol(f"pc-{n}", site=f"site-{n}")
    watched.only(msgspec.structs.replace(HOT, group_by=("label:site",), severity="critical"))
    watched.hook()
    watched.say(**{f"pc_{n}": {"temp_c": 95} for n in range(50)})
    watched.minutes(8)
    assert len(watched.told()) == 30 and len(watched.store.alerts.firing()) == 50
    watched.minutes(12)
    assert len(watched.told()) == 50
