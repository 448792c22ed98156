"""What devices say is stored in batches: the newest report stands, and online is the last word."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepress_devices.protocol import Hardware, JobStep, State
from edgepress_server.store import Store
from edgepress_server.store.devices import Device
from edgepress_server.store.events import KEEP_EVENTS

KEY = "a2V5" * 10


def registered(store: Store, name: str = "pi") -> str:
    store.devices.register(name, "raspberry-pi-4", {}, actor="ada")
    return store.devices.new_code(name, actor="ada")[0]


def enrolled(store: Store, name: str = "pi") -> Device:
    return store.devices.enrol(registered(store, name), KEY, Hardware(machine="aarch64"), "0.1.0")


def test_the_will_keeps_what_was_known(store: Store) -> None:
    enrolled(store)
    store.device_states.record("pi", State(online=True, at_ms=1, seq=3, running="a" * 64, step="committed"))
    store.device_states.record("pi", State(online=False))
    device = store.devices.get("pi")
    assert device.status == "offline"
    assert device.state is not None and device.state.running == "a" * 64


def test_an_older_report_does_not_overwrite_a_newer_one(store: Store) -> None:
    enrolled(store)
    store.device_states.record("pi", State(online=True, at_ms=2, seq=7, step="committed"))
    store.device_states.record("pi", State(online=True, at_ms=1, seq=6, step="trial"))
    state = store.devices.get("pi").state
    assert state is not None and state.step == "committed"


@pytest.mark.parametrize("case", ["unknown", "registered", "revoked"])
def test_nobody_listens_to_a_device_that_is_not_enrolled(store: Store, case: str) -> None:
    if case == "registered":
        registered(store)
    if case == "revoked":
        enrolled(store)
        store.devices.revoke("pi", actor="ada")
    assert store.device_states.record("pi", State(online=True, at_ms=1)) is False
    assert store.devices.find("pi") is None or store.devices.get("pi").online is False


messages = st.builds(
    State,
    online=st.booleans(),
    at_ms=st.one_of(st.none(), st.integers(0, 10)),
    seq=st.integers(0, 5),
    step=st.sampled_from(["idle", "fetching", "trial", "committed"]),
    agent=st.one_of(st.none(), st.sampled_from(["1", "2"])),
    hardware=st.one_of(st.none(), st.builds(Hardware, cores=st.integers(1, 4))),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(messages, max_size=8), st.integers(0, 10**6))
def test_whatever_arrives_the_newest_report_stands_and_online_is_the_last_word(
    store: Store, heard: list[State], number: int
) -> None:
    single, batched = f"s{number}", f"b{number}"
    for name in (single, batched):
        if store.devices.find(name) is None:
            enrolled(store, name)
    before = store.devices.get(single)
    highest = before.state.seq if before.state is not None else -1
    for state in heard:
        assert store.device_states.record(single, state)
        if state.online or state.at_ms is not None:
            highest = max(highest, state.seq)
    store.device_states.record_all([(batched, state) for state in heard])
    after, same = store.devices.get(single), store.devices.get(batched)
    assert after.online == (heard[-1].online if heard else before.online)
    assert (after.state.seq if after.state is not None else -1) == highest
    assert (same.online, same.agent_version, same.hardware) == (
        after.online,
        after.agent_version,
        after.hardware,
    )
    assert (same.state.seq if same.state is not None else -1) == highest


def test_a_batch_is_one_event_for_each_device_and_nothing_of_strangers(store: Store) -> None:
    enrolled(store, "a")
    enrolled(store, "b")
    last = store.events.last_id()
    steps: tuple[JobStep, ...] = ("fetching", "verified", "committed")
    said = [
        (name, State(online=True, at_ms=1, seq=n, step=step))
        for n, step in enumerate(steps)
        for name in "abc"
    ]
    assert store.device_states.record_all(said) == {"a", "b"}
    events = store.events.after(last)
    assert [(e.subject, e.action, e.data["step"]) for e in events] == [
        ("a", "state", "committed"),
        ("b", "state", "committed"),
    ]


def test_a_lost_broker_leaves_online_only_who_said_so_since(store: Store) -> None:
    for name in ("a", "b"):
        enrolled(store, name)
        store.device_states.record(name, State(online=True, at_ms=1))
    store.device_states.all_offline(except_for={"a"})
    assert [device.status for device in store.devices.list()] == ["online", "offline"]


def test_many_events_at_once_are_pruned_as_one_by_one(store: Store) -> None:
    with store.transaction():
        for _ in range(2):
            store.events.append_all("server", "noise", ((str(n), {}) for n in range(KEEP_EVENTS // 2 + 300)))
    assert len(store.events.after(0, limit=10**6)) <= KEEP_EVENTS + 1
