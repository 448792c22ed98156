"""Whatever devices report, people do and however often the engine is killed: a rollout keeps its rules."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from fleet_story import Fleet
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from server_story import Clock

from edgepress_agent.errors import WantError
from edgepress_agent.trust import Accepted
from edgepress_server.errors import ConflictError
from edgepress_server.rollout import act
from edgepress_server.rollout import engine as engine_module
from edgepress_server.store import database, open_store

NAMES = [f"pc-{n}" for n in range(5)]
RATE = 2
POLICY = {
    "waves": [{"percent": 40}, {"percent": 80, "approve": True}, {"percent": 100}],
    "rate_per_minute": RATE,
    "max_failed": 1,
}
OVER = ("done", "aborted")
names = st.sampled_from(NAMES)
steps = st.sampled_from(["fetching", "trial", "committed", "rejected", "rolled_back", "idle"])


class History(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from([POLICY, {**POLICY, "max_in_flight": 2, "on_gate": "rollback"}]))
    def begin(self, policy: dict[str, object]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = open_store(Path(self.folder.name), self.clock)
        self.fleet = Fleet(self.store, self.clock)
        self.fleet.enrol(*NAMES)
        self.old = self.fleet.artifact("old")
        self.fleet.roll_out(self.fleet.release(self.old), devices=NAMES, policy={"canary_per_profile": 0})
        self.fleet.settle()
        for device in self.fleet.devices.values():
            device.commit()
        self.fleet.settle()
        self.new = self.fleet.artifact("new")
        self.id = self.fleet.roll_out(self.fleet.release(self.new), policy=policy)
        self.wave = 0
        self.orders: dict[str, Accepted] = {}  # that devices have read, and may be at when the next one comes
        self.counters = self.store.wants.counters()

    # --- the world ----------------------------------------------------------------------------------------

    @rule()
    def look(self) -> None:
        """One step of the engine: one decision, one device told."""
        self.fleet.engine.tick()

    @rule()
    def the_engine_is_killed(self) -> None:
        self.fleet.engine = engine_module.Engine(self.store, self.fleet.keys)

    @rule()
    def it_settles(self) -> None:
        self.fleet.settle()

    @rule(
        name=names,
        step=st.sampled_from(["fetching", "trial", "committed", "rejected", "rolled_back", "idle"]),
    )
    def a_device_reports(self, name: str, step: str) -> None:
        device = self.fleet.devices[name]
        try:
            self.orders[name] = device.read_want()
        except WantError as error:  # it committed to what was given up; the engine has not looked yet
            device.report("rejected", str(error))
            return
        if step == "committed":
            device.commit()
        elif step == "rolled_back":
            device.running = self.old
            device.report("rolled_back", "it crashed")
        else:
            device.report(step)  # type: ignore[arg-type]

    @rule(name=names)
    def a_device_commits_to_an_order_of_before(self, name: str) -> None:
        """It was in its trial, or away, when it got another."""
        if name not in self.orders:
            return
        device, order = self.fleet.devices[name], self.orders[name]
        if (order.release or 0) < device.floors.release:
            return
        device.running, device.running_release = order.want.digest, order.release
        device.floors = replace(device.floors, release=order.release)
        device.report("committed")

    @rule()
    def devices_obey(self) -> None:
        self.fleet.settle()
        for name, state in self.fleet.states(self.id).items():
            if state in ("wanted", "fetching", "trial"):
                self.fleet.devices[name].commit()
        self.fleet.settle()

    @rule(name=names)
    def a_device_goes_away(self, name: str) -> None:
        self.fleet.devices[name].report("idle", online=False)

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def time_goes_by(self, seconds: int) -> None:
        self.clock.forward(seconds * 1000)

    # --- people -------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["pause", "resume", "approve", "approve", "resume", "abort", "rollback"]))
    def a_person_acts(self, what: str) -> None:
        try:
            getattr(self.store.rollouts, what)(self.id, actor="ada")
        except ConflictError:  # its state does not allow that
            pass

    # --- what always holds --------------------------------------------------------------------------------

    @invariant()
    def it_keeps_its_rules(self) -> None:
        if not hasattr(self, "id"):
            return
        rollout = self.store.rollouts.get(self.id)
        assert rollout.wave >= self.wave, "waves only rise"
        self.wave = rollout.wave
        approved = {each.wave for each in rollout.approvals}
        for device in rollout.devices:
            if device.told_at is None:
                continue
            assert device.wave <= rollout.wave, f"{device.device} was told before its wave"
            assert device.wave < 2 or 2 in approved, f"{device.device} was told before a person's word"
        counters = self.store.wants.counters()
        assert all(counters[name] >= counter for name, counter in self.counters.items()), "counters only grow"
        told = [
            device.told_at
            for device in rollout.devices
            if device.told_at is not None and device.told_at > self.clock() - 60_000
        ]
        assert len(told) <= RATE, "more were told than the rate allows"
        self.counters = counters
        if rollout.state == "aborted":
            self.all_have_one_of_both()

    def all_have_one_of_both(self) -> None:
        for device in self.store.rollouts.get(self.id).devices:
            want = self.store.wants.find(device.device)
            assert want is not None
            kept = device.state == "committed"
            assert want.digest == (self.new if kept else self.old), f"{device} is left with {want.digest}"

    def nobody_runs_what_was_taken_from_it(self) -> None:
        for device in self.fleet.devices.values():
            try:
                device.read_want()
            except WantError as error:
                device.report("rejected", str(error))
        self.fleet.settle()
        for name, device in self.fleet.devices.items():
            try:
                device.read_want()
            except WantError:  # it went back by itself to what it is to run: of an older release
                want = self.store.wants.find(name)
                assert want is not None
                assert device.running == want.digest

    def teardown(self) -> None:
        """When devices do as they are told and people say yes, it ends; before, it says what it waits for."""
        if not hasattr(self, "id"):
            return
        for _ in range(60):
            self.devices_obey()
            self.it_keeps_its_rules()
            now = self.store.rollouts.get(self.id)
            undo = [self.store.rollouts.get(each) for each in now.rolled_back_by]
            if now.state in OVER and all(each.state in OVER for each in undo):
                break
            assert now.waiting or now.reason or now.state in OVER, f"it waits for nothing: {now}"
            if now.state == "paused":
                self.store.rollouts.resume(self.id)
            for each in undo:
                if each.state == "paused":  # none of its devices went back at the first try
                    self.store.rollouts.resume(each.id)
            if now.awaits_approval is not None:
                self.store.rollouts.approve(self.id)
            for device in self.fleet.devices.values():
                device.commit()
            self.clock.forward(61_000)
        else:
            raise AssertionError(f"it does not end: {self.store.rollouts.get(self.id)}")
        if now.state == "aborted":
            self.all_have_one_of_both()
        else:
            assert {each.state for each in now.devices} <= {"committed", "failed", "skipped"}
        self.nobody_runs_what_was_taken_from_it()
        self.store.close()
        self.folder.cleanup()


@pytest.fixture(autouse=True)
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    monkeypatch.setattr(act, "DEVICES_PER_TRANSACTION", 1)
    monkeypatch.setattr(engine_module, "ROUNDS_PER_TICK", 1)


@pytest.mark.fault("killed server", "rollouts go on from any step: waves, approvals, rates and counters hold")
def test_every_history_keeps_the_rules() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
