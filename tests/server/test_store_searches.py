"""Searches and their trials: workers join, die and take over; nothing counts twice, an end is an end."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from server_story import Clock

from edgepress_compression.errors import SearchError
from edgepress_compression.search.trial import Figures, Trial
from edgepress_server.errors import ConflictError, NotFoundError
from edgepress_server.jobs.search_outcome import drop_files
from edgepress_server.store import Store, open_store
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.search_trials import MAX_ATTEMPTS as TRIAL_ATTEMPTS
from edgepress_server.store.searches import LEASE_MS, MAX_ATTEMPTS, Kept, Outcome, Search, Seat, SeatLostError

RECIPE = {
    "name": "int8",
    "description": "Integers.",
    "coding": "auto",
    "passes": [],
    "source": "",
    "needs": "none",
}
KEPT = Kept("d" * 64, "int8", 5, {"bytes": {"artifact": 5}})
OUTCOME = Outcome(front=[0], best=0, nearest=None, chosen=KEPT.digest)


def add_model(store: Store) -> None:
    store.models.add("lenet", store.blobs.put(b"onnx"), ModelFacts(10, 8, 2, None, [], []), None, actor="ada")


def submit(store: Store, **change: Any) -> Search:
    wish: dict[str, Any] = {
        "model": "lenet", "profile": "raspberry-pi-4", "dataset": None,
        "budget": {"latency_us": 20_000.0, "max_drop": None}, "options": {"workers": 2}, "actor": "ada",
    }  # fmt: skip
    return store.searches.submit(**{**wish, **change})


def join(store: Store, worker: str = "w1") -> Seat:
    seat = store.searches.join(worker)
    assert seat is not None
    return seat


def propose(trials: Sequence[Trial]) -> Trial:
    return Trial(number=len(trials), recipe=RECIPE)


def claim(store: Store, seat: Seat) -> Trial:
    trial = store.search_trials.claim(seat, propose)
    assert trial is not None
    return trial


def done(trial: Trial, **figures: Any) -> Trial:
    return msgspec.structs.replace(trial, state="done", figures=Figures(**figures))


@pytest.fixture
def searching(store: Store) -> Store:
    add_model(store)
    return store


def test_the_same_wish_twice_is_one_search_and_absent_limits_are_left_out(searching: Store) -> None:
    first = submit(searching)
    assert submit(searching).id == first.id
    assert first.budget == {"latency_us": 20_000.0}
    assert submit(searching, budget={"latency_us": 10_000.0}).id != first.id


def test_as_many_workers_join_as_it_asks_for_and_each_once(searching: Store) -> None:
    search = submit(searching)
    assert join(searching, "w1").search == search.id
    assert searching.searches.join("w1") is None
    join(searching, "w2")
    assert searching.searches.join("w3") is None
    assert searching.searches.get(search.id).workers == 2


def test_two_workers_get_different_trials_and_one_that_lost_the_race_is_asked_again(searching: Store) -> None:
    submit(searching)
    first, second = join(searching, "w1"), join(searching, "w2")
    asked: list[int] = []

    def slow(trials: Sequence[Trial]) -> Trial:
        asked.append(len(trials))
        if len(asked) == 1:
            claim(searching, second)
        return propose(trials)

    trial = searching.search_trials.claim(first, slow)
    assert trial is not None and (trial.number, trial.worker) == (1, "w1")
    assert asked == [0, 1]


def test_the_trial_of_a_killed_worker_is_taken_over_and_its_late_result_is_dropped(
    searching: Store, clock: Clock
) -> None:
    search = submit(searching)
    dead, alive = join(searching, "dead"), join(searching, "alive")
    lost = claim(searching, dead)
    clock.forward(LEASE_MS // 2)
    searching.searches.renew(alive)
    clock.forward(LEASE_MS // 2)
    assert searching.searches.join("w3") is not None  # clears what has lapsed
    again = claim(searching, alive)
    assert (again.number, again.worker) == (lost.number, "alive")
    with pytest.raises(SeatLostError):
        searching.search_trials.finish(dead, done(lost, accuracy=0.1))
    assert not searching.search_trials.renew(dead, lost.number)
    assert searching.search_trials.finish(alive, done(again, accuracy=0.9))
    assert not searching.search_trials.finish(alive, done(again, accuracy=0.5)), "a second finish"
    figures = searching.search_trials.get(search.id, 0).trial.figures
    assert figures is not None and figures.accuracy == 0.9


def test_a_trial_that_kills_every_worker_fails_and_the_search_goes_on(searching: Store) -> None:
    search = submit(searching)
    for attempt in range(TRIAL_ATTEMPTS):
        seat = join(searching, f"w{attempt}")
        assert claim(searching, seat).number == 0
        other = join(searching, "survivor")
        searching.searches.interrupted(seat, "Killed.")
        searching.searches.leave(other)
    survivor = join(searching, "survivor")
    assert claim(searching, survivor).number == 1
    failed = searching.search_trials.get(search.id, 0).trial
    assert failed.state == "failed" and "3 times" in (failed.error or "")


def test_crashes_without_a_trial_between_them_end_it_with_the_reason(searching: Store) -> None:
    submit(searching)
    states = [
        searching.searches.interrupted(join(searching), "Out of memory.").state for _ in range(MAX_ATTEMPTS)
    ]
    assert states == ["queued", "queued", "failed"]
    assert "Out of memory. It was tried 3 times" in searching.searches.list()[0].message


def test_a_finished_trial_gives_new_attempts_and_leaving_counts_as_none(searching: Store) -> None:
    search = submit(searching)
    for _ in range(MAX_ATTEMPTS + 1):
        seat = join(searching)
        searching.search_trials.finish(seat, done(claim(searching, seat)))
        assert searching.searches.interrupted(seat, "Crash.").state == "queued"
        assert searching.searches.leave(join(searching)).state == "queued"
    assert len(searching.search_trials.all(search.id)) == MAX_ATTEMPTS + 1


def test_time_counts_once_however_many_work_and_not_while_nobody_does(searching: Store, clock: Clock) -> None:
    search = submit(searching)
    first, second = join(searching, "w1"), join(searching, "w2")
    clock.forward(5_000)
    searching.searches.renew(first)
    searching.searches.renew(second)
    searching.searches.leave(first)
    searching.searches.leave(second)
    clock.forward(3_600_000)
    seat = join(searching)
    clock.forward(1_000)
    assert searching.searches.renew(seat).spent_ms == 6_000
    clock.forward(3_600_000)  # killed with the machine: at most a lease of it was work
    join(searching, "w2")
    assert searching.searches.get(search.id).spent_ms <= 6_000 + LEASE_MS


def test_finishing_writes_result_and_artifacts_together(searching: Store) -> None:
    submit(searching)
    search = searching.searches.finish(join(searching), OUTCOME, [KEPT])
    assert (search.state, search.chosen, search.workers) == ("done", KEPT.digest, 0)
    assert search.result is not None and search.result["front"] == [0]
    assert searching.artifacts.get(KEPT.digest).report == KEPT.report
    with pytest.raises(ConflictError, match="done already"):
        searching.searches.cancel(search.id, actor="ada")


def test_an_impossible_budget_is_done_and_says_what_blocks(searching: Store) -> None:
    submit(searching)
    outcome = Outcome(
        front=[0], best=None, nearest=0, blocked=["The fastest found takes 30 ms."], offered="d" * 64
    )
    search = searching.searches.finish(join(searching), outcome, [KEPT])
    assert (search.state, search.chosen, search.message) == ("done", None, "The fastest found takes 30 ms.")
    assert searching.artifacts.find("d" * 64) is not None


def test_a_queued_search_is_cancelled_now_and_a_running_one_when_its_workers_left(searching: Store) -> None:
    assert searching.searches.cancel(submit(searching).id, actor="ada").state == "cancelled"
    submit(searching)
    seat = join(searching)
    trial = claim(searching, seat)
    assert searching.searches.cancel(seat.search, actor="ada").state == "running"
    for write in (
        lambda: searching.search_trials.finish(seat, done(trial)),
        lambda: searching.search_trials.claim(seat, propose),
        lambda: searching.searches.finish(seat, OUTCOME, [KEPT]),
        lambda: searching.searches.say(seat, "trial", "now"),
    ):
        with pytest.raises(SeatLostError):
            write()
    assert searching.searches.join("w2") is None
    assert searching.searches.leave(seat).state == "cancelled"
    assert searching.artifacts.list() == []


def test_trials_of_other_data_are_refused(searching: Store) -> None:
    submit(searching)
    seat = join(searching)
    searching.search_trials.bind(seat, {"model": "a", "seed": 0})
    searching.search_trials.bind(seat, {"seed": 0, "model": "a"})
    with pytest.raises(SearchError, match="Start a new search"):
        searching.search_trials.bind(seat, {"model": "b", "seed": 0})


def test_files_of_an_ended_search_are_dropped_but_for_its_artifacts(searching: Store) -> None:
    submit(searching)
    seat = join(searching)
    for digest in ("a" * 64, KEPT.digest):
        trial = msgspec.structs.replace(done(claim(searching, seat)), artifact=digest)
        searching.search_trials.finish(seat, trial)
    assert searching.search_trials.droppable() == [], "it still runs"
    searching.searches.finish(seat, OUTCOME, [KEPT])
    assert searching.search_trials.droppable() == ["a" * 64]
    searching.search_trials.forget_file("a" * 64)
    assert [row.artifact for row in searching.search_trials.all(seat.search)] == [None, KEPT.digest]


def test_a_file_that_became_an_artifact_after_the_look_is_not_dropped(
    searching: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(searching)
    seat = join(searching)
    dropped, released = searching.blobs.put(b"dropped"), searching.blobs.put(b"released")
    for digest in (dropped, released):
        os.utime(searching.blobs.path(digest), (0, 0))
        trial = msgspec.structs.replace(done(claim(searching, seat)), artifact=digest)
        searching.search_trials.finish(seat, trial)
    searching.searches.finish(seat, Outcome(front=[], best=None, nearest=None), [])
    seen = searching.search_trials.droppable()
    assert set(seen) == {dropped, released}
    searching.artifacts.add(
        released, model="lenet", profile="raspberry-pi-4", recipe="r", size_bytes=8, report={}, job=None
    )
    monkeypatch.setattr(searching.search_trials, "droppable", lambda: seen)
    assert drop_files(searching) == 1
    assert searching.blobs.read(released) == b"released"
    with pytest.raises(NotFoundError):
        searching.blobs.path(dropped)


def test_the_profile_it_began_with_stays(searching: Store) -> None:
    submit(searching)
    seat = join(searching)
    assert searching.search_trials.pin(seat, "first") == "first"
    assert searching.search_trials.pin(seat, "calibrated since") == "first"


class SearchMachine(RuleBasedStateMachine):
    """People, workers and a clock in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self.clock = Clock()
        self.store = open_store(Path(self._folder.name), self.clock)
        add_model(self.store)
        self.seats: list[Seat] = []
        self.held: list[tuple[Seat, Trial]] = []
        self.ended: dict[str, str] = {}
        self.finished: dict[tuple[str, int], str] = {}

    @rule(profile=st.sampled_from(["a", "b"]))
    def submit(self, profile: str) -> None:
        submit(self.store, profile=profile)

    @rule(worker=st.sampled_from(["w1", "w2", "w3"]))
    def join(self, worker: str) -> None:
        seat = self.store.searches.join(worker)
        if seat is not None:
            self.seats.append(seat)

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        seat = data.draw(st.sampled_from(self.seats))
        try:
            trial = self.store.search_trials.claim(seat, propose)
        except SeatLostError:
            return
        assert trial is not None
        assert (seat.search, trial.number) not in self.finished, "a trial that is done was given out again"
        self.held.append((seat, trial))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), state=st.sampled_from(["done", "failed"]))
    def finish_trial(self, data: st.DataObject, state: Any) -> None:
        seat, trial = data.draw(st.sampled_from(self.held))
        note = f"{len(self.finished)} by {seat.worker}"
        try:
            taken = self.store.search_trials.finish(
                seat, msgspec.structs.replace(trial, state=state, reason=note)
            )
        except SeatLostError:
            return
        if taken:
            assert (seat.search, trial.number) not in self.finished, "a trial counted twice"
            self.finished[seat.search, trial.number] = note

    @precondition(lambda self: self.seats)
    @rule(data=st.data(), what=st.sampled_from(["leave", "crash", "renew", "finish", "fail", "say"]))
    def act(self, data: st.DataObject, what: str) -> None:
        seat, searches = data.draw(st.sampled_from(self.seats)), self.store.searches
        calls = {
            "leave": lambda: searches.leave(seat, "Left."),
            "crash": lambda: searches.interrupted(seat, "It crashed."),
            "renew": lambda: searches.renew(seat),
            "finish": lambda: searches.finish(seat, OUTCOME, [KEPT]),
            "fail": lambda: searches.fail(seat, "It cannot be."),
            "say": lambda: searches.say(seat, "trial", "int8"),
        }
        try:
            calls[what]()
        except SeatLostError:
            pass  # it lost its seat, which the other rules look at

    @precondition(lambda self: self.store.searches.list())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        search = data.draw(st.sampled_from([search.id for search in self.store.searches.list()]))
        try:
            self.store.searches.cancel(search, actor="ada")
        except ConflictError:
            assert self.store.searches.get(search).state in ("done", "failed")

    @rule(ms=st.sampled_from([1, LEASE_MS // 2, LEASE_MS]))
    def wait(self, ms: int) -> None:
        self.clock.forward(ms)

    @invariant()
    def whole(self) -> None:
        for search in self.store.searches.list():
            if search.id in self.ended:
                assert search.state == self.ended[search.id], "a final state changed"
            if search.state in ("done", "failed", "cancelled"):
                self.ended[search.id] = search.state
                assert search.finished_at is not None and search.workers == 0
                assert (search.result is not None) == (search.state == "done")
            assert (search.workers > 0) == (search.state == "running")
            assert search.workers <= 2
            rows = self.store.search_trials.all(search.id)
            assert [row.trial.number for row in rows] == list(range(len(rows)))
            for row in rows:
                if (note := self.finished.get((search.id, row.trial.number))) is not None:
                    assert row.trial.reason == note and row.finished_at is not None
                assert row.attempts <= TRIAL_ATTEMPTS

    def teardown(self) -> None:
        self.store.close()
        self._folder.cleanup()


TestSearches = SearchMachine.TestCase
TestSearches.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
