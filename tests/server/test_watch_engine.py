"""The closed loop as stories on a store: a budget is missed, and what follows, with every step's reason."""

from __future__ import annotations

import pytest
from fleet_story import MODEL
from loop_story import LIMIT_US, PROFILE, KnownOperators, Loop
from server_story import Clock

from edgepress_compression.search.budget import Budget
from edgepress_devices.protocol import ProfilingState
from edgepress_server.errors import ConflictError
from edgepress_server.store import Store
from edgepress_server.watch import engine
from edgepress_server.watch.choices import accept, dismiss
from edgepress_server.watch.engine import Watcher
from edgepress_server.watch.next_step import SEARCHES_A_DAY, Action, Facts

OK, SLOW = 15_000.0, 41_000.0


@pytest.fixture
def loop(store: Store, clock: Clock) -> Loop:
    return Loop(store, clock)


def to_search(loop: Loop) -> None:
    """Missed, profiled in vain, searching."""
    loop.minutes(3, SLOW)
    loop.jobs_end()
    loop.look()
    assert loop.only().state == "searching"


def test_a_kept_budget_finds_nothing(loop: Loop) -> None:
    loop.budget()
    assert loop.minutes(6, OK) == []


def test_a_missed_budget_is_found_after_three_minutes_and_says_what_where_and_since_when(loop: Loop) -> None:
    loop.budget()
    assert loop.minutes(2, SLOW) == []
    (finding,) = loop.minute(SLOW)
    assert finding.devices == ["pc-0", "pc-1"]
    assert finding.sentence.startswith(f"The p95 latency of {MODEL} on {PROFILE} is 41")
    assert "its budget 20 ms (2 devices, " in finding.sentence
    assert finding.rollout is not None


def test_without_leave_it_proposes_and_one_word_starts_the_whole_chain(loop: Loop) -> None:
    loop.budget()
    loop.minutes(3, SLOW)
    finding = loop.only()
    assert finding.state == "proposed"
    assert loop.store.profiling.list() == []
    accept(loop.store, finding.id, release_too=True, actor="ada")
    loop.look()
    assert loop.only().state == "calibrating"
    assert {(j.device, j.what) for j in loop.store.profiling.list()} == {
        (name, what) for name in ("pc-0", "pc-1") for what in ("device", "model")
    }
    loop.jobs_end()
    loop.look()
    loop.search_ends()
    loop.look()
    assert loop.only().state == "released"
    assert loop.store.releases.list()[0].actor == "ada"


def test_with_leave_it_calibrates_searches_releases_rolls_out_and_sees_it_kept(loop: Loop) -> None:
    loop.budget(auto=True)
    to_search(loop)
    search = loop.search_ends()
    loop.look()
    finding = loop.only()
    assert finding.state == "released"
    assert finding.new_rollout is not None
    release = loop.store.releases.get(finding.release or "")
    assert release.artifacts == {PROFILE: search.chosen}
    assert release.note == finding.message
    for words in ("Started because the p95 latency", "41", "budget 20 ms", "prune-channels + int8", "17 ms"):
        assert words in finding.message, finding.message
    assert "calibrated, ±8 %" in finding.message
    assert "accuracy -0.4 points" in finding.message
    loop.run(finding.new_rollout)
    loop.minutes(3, OK)
    assert loop.live() == []
    ended = loop.store.findings.get(finding.id)
    assert ended.state == "resolved"
    assert "is 14.9 ms" in ended.message and "within the budget of 20 ms" in ended.message
    assert loop.story(ended) == [
        "missed", "profiling", "not_calibrated", "search", "found", "released", "rolled_out", "resolved",
    ]  # fmt: skip


def test_the_search_is_asked_for_as_much_less_as_the_devices_are_slower_than_predicted(loop: Loop) -> None:
    loop.budget(auto=True)
    to_search(loop)
    asked = loop.store.searches.live()[0].budget["latency_us"]
    loop.store.searches.cancel(loop.store.searches.live()[0].id, actor="ada")
    loop.look()
    loop.clock.forward(3 * 3600_000)
    loop.minutes(3, 2 * SLOW)
    loop.jobs_end()
    loop.look()
    again = loop.store.searches.live()[0].budget["latency_us"]
    assert again == pytest.approx(asked / 2, rel=0.03)
    sentence = loop.store.findings.steps(loop.only().id)[-1].sentence
    assert "the budget of 20 ms becomes" in sentence and "datasheet" in sentence


def test_one_slow_device_is_named_and_changes_no_model(store: Store, clock: Clock) -> None:
    loop = Loop(store, clock, devices=4)
    loop.budget(auto=True)
    paces = {"pc-0": OK, "pc-1": OK, "pc-2": SLOW, "pc-3": OK}
    (finding,) = loop.minutes(5, paces, throttled=True, temp_c=84.0)
    assert (finding.scope, finding.state, finding.devices) == ("device", "open", ["pc-2"])
    assert "pc-2 (84 °C) is throttled" in finding.sentence
    assert "a profile that inherits x86-pc" in finding.message
    assert store.searches.list() == [] and store.profiling.list() == []
    with pytest.raises(ConflictError, match="single devices"):
        accept(store, finding.id, release_too=True, actor="ada")
    loop.minutes(3, OK)
    assert store.findings.get(finding.id).state == "resolved"


def test_a_search_that_finds_nothing_says_the_nearest_point_and_is_not_repeated_at_once(loop: Loop) -> None:
    loop.budget(auto=True)
    to_search(loop)
    loop.search_ends(None, ["Latency: the fastest trial takes 25 ms."])
    loop.look()
    finding = loop.only()
    assert finding.state == "open"
    assert "Nearest: search" in finding.message and "the fastest trial takes 25 ms" in finding.message
    loop.minutes(30, SLOW)
    assert len(loop.store.searches.list()) == 1
    loop.minutes(40, SLOW)
    assert loop.only().state == "calibrating"


def test_searches_a_day_are_counted(loop: Loop) -> None:
    loop.budget(auto=True)
    for _ in range(24 * 4):
        loop.minutes(3, SLOW)
        if loop.only().state == "calibrating":
            loop.jobs_end()
            loop.look()
            loop.search_ends(None)
            loop.look()
        loop.clock.forward(12 * 60_000)
    assert 2 <= len(loop.store.searches.list()) <= SEARCHES_A_DAY


def test_the_artifact_that_runs_already_is_no_answer(loop: Loop) -> None:
    loop.budget(auto=True)
    to_search(loop)
    loop.search_ends("first")
    loop.look()
    assert loop.only().state == "open"
    assert "the one that runs already" in loop.only().message


def test_a_budget_that_is_kept_again_ends_the_search_for_it(loop: Loop) -> None:
    loop.budget(auto=True)
    to_search(loop)
    search = loop.only().search
    loop.minutes(3, OK)
    assert loop.live() == []
    assert loop.store.searches.get(search or "").state == "cancelled"


def test_two_missed_limits_are_one_search(loop: Loop) -> None:
    loop.budget(auto=True, limits=Budget(latency_us=LIMIT_US, memory_bytes=60_000_000))
    loop.minutes(3, SLOW, rss_bytes=90_000_000)
    states = {f.kind: f.state for f in loop.look()}
    assert sorted(states.values()) == ["calibrating", "open"]
    waiting = next(f for f in loop.live() if f.state == "open")
    assert "one search answers all limits" in waiting.message


def test_devices_that_miss_it_with_the_new_artifact_too_open_it_again_with_patience(loop: Loop) -> None:
    loop.budget(auto=True)
    to_search(loop)
    loop.search_ends()
    loop.look()
    loop.run(loop.only().new_rollout or "")
    loop.minutes(3, SLOW)
    finding = loop.only()
    assert finding.state == "open" and finding.next_try_at is not None
    assert "with the new artifact, too" in finding.message
    loop.minutes(3, SLOW)
    assert len(loop.store.searches.list()) == 1
    assert loop.only().digest == loop.devices[0].running


def test_an_aborted_rollout_opens_it_again(loop: Loop) -> None:
    loop.budget(auto=True)
    to_search(loop)
    loop.search_ends()
    loop.look()
    loop.store.rollouts.abort(loop.only().new_rollout or "", actor="ada")
    loop.look()
    assert loop.only().state == "open" and "aborted" in loop.only().message


def test_a_dismissed_finding_does_not_come_back_for_the_same_artifact(loop: Loop) -> None:
    loop.budget()
    loop.minutes(3, SLOW)
    dismiss(loop.store, loop.only().id, actor="ada")
    assert loop.minutes(5, SLOW) == []


def test_dismissing_ends_the_jobs(loop: Loop) -> None:
    loop.budget(auto=True)
    loop.minutes(3, SLOW)
    dismiss(loop.store, loop.only().id, actor="ada")
    assert {job.state for job in loop.store.profiling.list()} == {"cancelled"}


def test_a_budget_that_is_taken_back_ends_its_findings(loop: Loop) -> None:
    loop.budget()
    loop.minutes(3, SLOW)
    finding = loop.only()
    loop.store.budgets.clear(MODEL, PROFILE, actor="ada")
    loop.look()
    assert loop.store.findings.get(finding.id).state == "resolved"


def test_a_restart_at_any_step_changes_nothing(loop: Loop) -> None:
    """The same story, with a new watcher before every look and two looks at a time."""
    loop.budget(auto=True)
    for _ in range(3):
        loop.restart()
        loop.minute(SLOW)
    for step in (loop.jobs_end, loop.search_ends):
        loop.restart()
        loop.look()
        loop.restart()
        loop.look()
        step()
    loop.restart()
    loop.look()
    finding = loop.only()
    loop.restart()
    loop.look()
    assert loop.only().new_rollout == finding.new_rollout
    assert len(loop.store.searches.list()) == 1
    assert len(loop.store.releases.list()) == 2
    loop.run(finding.new_rollout or "")
    loop.minutes(3, OK)
    assert loop.store.findings.get(finding.id).state == "resolved"


def test_a_finding_of_the_prediction_asks_before_it_releases(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.budget(auto=True, prediction_error=0.5)
    from edgepress_server.store.artifact_predictions import Predicted

    identity = loop.store.refits.identity(PROFILE)
    loop.store.artifact_predictions.put(PROFILE, loop.first, identity, Predicted(4_000.0, "datasheet", 1.0))
    (finding,) = loop.minutes(3, OK)
    assert (finding.kind, finding.state) == ("prediction", "calibrating")
    assert "3.7 times the 4 ms that were predicted" in finding.sentence or "3.8 times" in finding.sentence
    loop.jobs_end()
    loop.look()
    loop.search_ends()
    loop.look()
    assert loop.only().state == "proposed"
    accept(loop.store, finding.id, release_too=True, actor="ada")
    loop.look()
    assert loop.only().state == "released"


def test_a_device_that_a_search_has_borrowed_says_nothing_about_the_candidates_it_tries(
    store: Store, clock: Clock
) -> None:
    loop = Loop(store, clock, devices=1)
    loop.budget(auto=True)
    to_search(loop)
    finding = loop.only()
    seat = store.searches.join("w2")
    assert seat is not None
    candidate = loop.fleet.artifact("candidate", PROFILE)
    store.search_measurements.ask(seat, candidate, "pc-0", loop.first)
    loop.run(loop.fleet.roll_out(loop.fleet.release(candidate)))
    assert loop.devices[0].running == candidate
    loop.minutes(4, 3 * SLOW)
    assert [(f.id, f.state) for f in loop.live()] == [(finding.id, "searching")]


def test_while_a_device_measures_itself_neither_that_nor_what_was_before_is_taken_for_now(loop: Loop) -> None:
    loop.budget(auto=True, sustained_minutes=1)
    loop.minute(OK)
    (finding,) = loop.minute(SLOW)
    jobs = [loop.store.profiling.get(job_id) for job_id in finding.jobs]
    for job in jobs:
        loop.store.profiling.heard(job.device, ProfilingState(id=job.id, state="running"))
    assert [f.id for f in loop.look()] == [finding.id], "the quick minute before is not the newest one"
    loop.minutes(2, 10 * SLOW)
    assert loop.only().figures == finding.figures, "no search is asked for by what was measured meanwhile"
    loop.jobs_end()
    loop.clock.forward(60_000)
    loop.minute(OK)
    assert loop.live() == []


def test_two_workers_that_see_the_same_take_a_step_once(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second worker decides by what it has read, while the first acts on it."""
    loop.budget(auto=True)
    to_search(loop)
    loop.search_ends()
    first, second = loop.watcher, Watcher(loop.store, loop.fleet.keys, KnownOperators())  # type: ignore[arg-type]
    decide = engine.next_step

    def decide_late(facts: Facts) -> Action | None:
        monkeypatch.setattr(engine, "next_step", decide)
        action = decide(facts)
        first.look()
        return action

    monkeypatch.setattr(engine, "next_step", decide_late)
    second.look()
    assert loop.only().state == "released"
    assert len(loop.store.releases.list()) == 2, "the first artifact's, and one"
    assert loop.story(loop.only()).count("released") == 1


def test_a_miss_that_returns_keeps_its_patience_whatever_became_of_the_artifact(loop: Loop) -> None:
    """Found twice over: every new artifact would start a search of its own, and a rollout."""
    loop.budget(auto=True)
    for number in range(8):
        loop.minutes(12, SLOW)
        live = loop.live()
        if live and live[0].state == "calibrating":
            loop.jobs_end()
            loop.look()
        if loop.live() and loop.only().state == "searching":
            loop.search_ends(f"better-{number}")
            loop.look()
            loop.run(loop.only().new_rollout or "")
    assert len(loop.store.searches.list()) == 2, "the second after an hour, the third two hours later"


def test_what_was_released_and_replaced_by_hand_is_over(loop: Loop) -> None:
    loop.budget(auto=True)
    to_search(loop)
    loop.search_ends()
    loop.look()
    loop.run(loop.only().new_rollout or "")
    other = loop.fleet.artifact("by hand", PROFILE)
    loop.run(loop.fleet.roll_out(loop.fleet.release(other)))
    assert loop.look() == []


def test_a_limit_that_is_taken_away_ends_its_finding_alone(loop: Loop) -> None:
    loop.budget()
    loop.minutes(3, SLOW)
    loop.budget(limits=Budget(memory_bytes=10**12))
    assert loop.look() == []


def test_leave_that_is_given_later_starts_what_was_proposed(loop: Loop) -> None:
    loop.budget()
    loop.minutes(3, SLOW)
    assert loop.only().state == "proposed"
    loop.budget(auto=True)
    loop.minutes(1, SLOW)
    assert loop.only().state == "calibrating"


def test_a_canary_that_misses_it_too_holds_the_rollout(store: Store, clock: Clock) -> None:
    loop = Loop(store, clock, devices=3)
    loop.budget(auto=True)
    to_search(loop)
    loop.search_ends()
    loop.look()
    rollout = loop.only().new_rollout or ""
    while not any(device.running != loop.first for device in loop.devices):
        loop.fleet.settle()
        for device in loop.devices:
            want = store.wants.find(device.name)
            if want is not None and want.digest != device.running:
                device.commit()
    assert store.rollouts.state(rollout) in ("canary", "ramp")
    loop.minutes(4, SLOW)
    assert store.rollouts.state(rollout) == "paused"
    assert loop.only().state == "open" and "with the new artifact" in loop.only().message
