"""Profiling jobs: the state machine, what is kept of a report, what is refused and why."""

from collections.abc import Callable

import pytest
from fleet_story import Fleet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profiling_story import report, send
from server_story import Clock

from edgepress_devices.microbench.nets import NAMES
from edgepress_devices.protocol import KernelTime, NetTime, ProfilingState, Reading
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store import Store, open_store, profiling_reports
from edgepress_server.store.profiling import EXPIRES_MS, OPEN_MAX, ProfilingJobRow
from edgepress_server.store.profiling_reports import KEEP_REPORTS


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.enrol("one", "two")
    return made


def ask(fleet: Fleet, device: str = "one", seconds: int = 30) -> ProfilingJobRow:
    return fleet.store.profiling.request(device, "device", seconds, "ada")


def now(fleet: Fleet, job: ProfilingJobRow) -> ProfilingJobRow:
    return fleet.store.profiling.get(job.id)


def events(fleet: Fleet, job: ProfilingJobRow) -> list[str]:
    found = fleet.store.events.newest(100)
    return [
        event.action for event in reversed(found) if event.kind == "profiling" and event.subject == job.id
    ]


def quarantined(fleet: Fleet) -> list[str]:
    return [row["reason"] for row in fleet.store.database.rows("SELECT reason FROM quarantine ORDER BY id")]


def test_a_job_is_asked_told_run_and_done_with_its_report(fleet: Fleet) -> None:
    job = ask(fleet)
    assert (job.state, job.expires_at - job.created_at) == ("queued", EXPIRES_MS)
    fleet.settle()
    assert now(fleet, job).state == "sent"
    fleet.store.profiling.heard("one", ProfilingState(job.id, "running", 40))
    assert (now(fleet, job).state, now(fleet, job).percent) == ("running", 40)
    fleet.store.profiling.heard("one", ProfilingState(job.id, "done", 100))
    assert now(fleet, job).state == "running"  # what counts is what is stored
    assert "on its way" in now(fleet, job).message
    send(fleet, "one", report(job))
    done = now(fleet, job)
    assert (done.state, done.percent, done.message) == ("done", 100, "")
    stored = fleet.store.profiling.reports.of_job(job.id)
    assert stored is not None and stored.report == report(job) and stored.row.usable
    assert events(fleet, job) == ["queued", "sent", "progress", "progress", "done"]


def test_the_same_question_is_not_asked_twice(fleet: Fleet) -> None:
    first = ask(fleet)
    assert ask(fleet).id == first.id
    assert ask(fleet, seconds=60).id != first.id
    assert ask(fleet, "two").id != first.id
    send(fleet, "one", report(first))
    assert ask(fleet).id != first.id


def test_jobs_of_a_device_are_done_one_after_the_other(fleet: Fleet) -> None:
    first, second = ask(fleet), ask(fleet, seconds=60)
    fleet.settle()
    assert (now(fleet, first).state, now(fleet, second).state) == ("sent", "queued")
    assert fleet.devices["one"].read_want().want.profiling == first.as_message()
    send(fleet, "one", report(first))
    fleet.settle()
    assert fleet.devices["one"].read_want().want.profiling == second.as_message()


def test_too_many_jobs_of_one_device_are_refused(fleet: Fleet) -> None:
    for seconds in range(10, 10 + OPEN_MAX):
        ask(fleet, seconds=seconds)
    with pytest.raises(ConflictError, match="8 profiling jobs wait for one"):
        ask(fleet, seconds=100)


def test_what_cannot_be_asked_is_refused_with_the_reason(fleet: Fleet) -> None:
    profiling = fleet.store.profiling
    fleet.store.devices.register("new", "x86-pc", {}, actor=None)
    with pytest.raises(ConflictError, match="has not enrolled"):
        ask(fleet, "new")
    with pytest.raises(NotFoundError):
        ask(fleet, "nobody")
    with pytest.raises(InvalidInputError, match="5 to 600 seconds"):
        ask(fleet, seconds=601)
    with pytest.raises(ConflictError, match="runs no artifact"):
        profiling.request("one", "model", 30, None)
    with pytest.raises(InvalidInputError, match="leave digest out"):
        profiling.request("one", "device", 30, None, digest="a" * 64)
    fleet.devices["one"].running = "b" * 64
    fleet.devices["one"].report("committed")
    with pytest.raises(ConflictError, match="bbbbbbbbbbbb and not aaaaaaaaaaaa"):
        profiling.request("one", "model", 30, None, digest="a" * 64)
    assert profiling.request("one", "model", 30, None).digest == "b" * 64
    fleet.store.devices.revoke("two", actor=None)
    with pytest.raises(ConflictError, match="was revoked"):
        ask(fleet, "two")


def test_a_device_says_why_it_failed(fleet: Fleet) -> None:
    job = ask(fleet)
    fleet.settle()
    fleet.store.profiling.heard("one", ProfilingState(job.id, "failed", 30, "it died twice during this job"))
    assert (now(fleet, job).state, now(fleet, job).message) == ("failed", "It died twice during this job.")
    send(fleet, "one", report(job))  # what it had until then is kept, and changes nothing
    assert now(fleet, job).state == "failed"
    assert fleet.store.profiling.reports.of_job(job.id) is not None


def test_what_a_device_says_about_the_job_of_another_changes_nothing(fleet: Fleet) -> None:
    job = ask(fleet)
    fleet.settle()
    fleet.store.profiling.heard("two", ProfilingState(job.id, "failed", 30, "not mine"))
    assert now(fleet, job).state == "sent"
    send(fleet, "two", report(job))
    assert now(fleet, job).state == "sent"
    assert quarantined(fleet) == [f"no profiling job '{job.id}' was asked of two"]


def test_a_device_that_is_off_for_a_day_finds_the_job_expired_and_that_is_said(
    fleet: Fleet, clock: Clock
) -> None:
    job = ask(fleet)
    fleet.settle()
    clock.forward(EXPIRES_MS - 1)
    fleet.settle()
    assert now(fleet, job).state == "sent"
    clock.forward(1)
    fleet.settle()
    assert now(fleet, job).state == "expired"
    assert "did not begin within 24 hours" in now(fleet, job).message
    assert fleet.devices["one"].read_want().want.profiling is None


def test_a_device_that_goes_away_in_the_middle_is_said_so(fleet: Fleet, clock: Clock) -> None:
    job = ask(fleet)
    fleet.settle()
    fleet.store.profiling.heard("one", ProfilingState(job.id, "running", 43))
    clock.forward(EXPIRES_MS)
    fleet.settle()
    assert now(fleet, job).message == "one went away at 43 % and was not back within 24 hours."
    assert fleet.store.profiling.reports.inputs() == {}


def test_a_report_that_comes_after_the_job_expired_still_counts(fleet: Fleet, clock: Clock) -> None:
    job = ask(fleet)
    fleet.settle()
    clock.forward(EXPIRES_MS)
    fleet.settle()
    send(fleet, "one", report(job))
    assert now(fleet, job).state == "done"


def test_a_cancelled_job_leaves_the_want_and_its_report_is_dropped(fleet: Fleet) -> None:
    job = ask(fleet)
    fleet.settle()
    assert fleet.store.profiling.cancel(job.id, actor="ada").state == "cancelled"
    assert fleet.store.profiling.cancel(job.id, actor="ada").state == "cancelled"
    fleet.settle()
    assert fleet.devices["one"].read_want().want.profiling is None
    send(fleet, "one", report(job))
    assert now(fleet, job).state == "cancelled"
    assert fleet.store.profiling.reports.of_job(job.id) is None
    other = ask(fleet, "two")
    send(fleet, "two", report(other))
    with pytest.raises(ConflictError, match="is done already"):
        fleet.store.profiling.cancel(other.id, actor="ada")


def test_revoking_a_device_ends_its_jobs(fleet: Fleet) -> None:
    job = ask(fleet)
    fleet.store.devices.revoke("one", actor=None)
    fleet.settle()
    assert (now(fleet, job).state, now(fleet, job).message) == ("failed", "one was revoked.")


def test_a_report_counts_once_however_often_it_comes(fleet: Fleet) -> None:
    job = ask(fleet)
    send(fleet, "one", report(job))
    send(fleet, "one", report(job))  # the very same batch
    send(fleet, "one", report(job, threads=2), number=2)  # measured again after the device lost its memory
    rows = fleet.store.profiling.reports.newest("one")
    assert len(rows) == 1
    assert fleet.store.profiling.reports.get(rows[0].id).report.threads == 1
    assert quarantined(fleet) == []


@pytest.mark.parametrize(
    ("what", "spoil", "reason"),
    [
        ("another plan", {"plan": 99}, "another question"),
        ("another artifact", {"digest": "a" * 64}, "another question"),
        ("a net nobody knows", {"nets": [NetTime("mine", "fp32", 1, 2, 2, 0, 5)]}, "mine fp32 is no net"),
        ("a form nobody knows", {"nets": [NetTime(NAMES[0], "u4", 1, 2, 2, 0, 5)]}, "u4 is no net"),
        (
            "a net twice",
            {"nets": [NetTime(NAMES[0], "fp32", 1, 2, 2, 0, 5)] * 2},
            "is in it twice",
        ),
        ("no time at all", {"nets": [NetTime(NAMES[0], "fp32", 0, 0, 0, 0, 5)]}, "are no latency"),
        ("quantiles in no order", {"nets": [NetTime(NAMES[0], "fp32", 5, 2, 2, 0, 5)]}, "are no latency"),
        ("times of no run", {"nets": [NetTime(NAMES[0], "fp32", 1, 2, 2, 0, 0)]}, "times of no run"),
        (
            "two hours for a net",
            {"nets": [NetTime(NAMES[0], "fp32", 1, 7.2e9, 7.2e9, 0, 5)]},
            "are no latency",
        ),
        (
            "a kernel of no net",
            {"kernels": [KernelTime("other", "fp32", "c", "Conv", 1, 0, 5)]},
            "without a time",
        ),
        ("negative power", {"idle_mw": Reading(-5.0, "ina3221", "board")}, "a power of -5.0 mW"),
    ],
)
def test_a_report_that_cannot_be_true_is_quarantined_and_fails_its_job(
    fleet: Fleet, what: str, spoil: dict[str, object], reason: str
) -> None:
    job = ask(fleet)
    send(fleet, "one", report(job, **spoil))
    assert now(fleet, job).state == "failed", what
    assert reason in now(fleet, job).message
    assert len(quarantined(fleet)) == 1 and reason in quarantined(fleet)[0]
    assert fleet.store.profiling.reports.newest("one") == []


def test_a_spoilt_report_takes_no_other_with_it(fleet: Fleet) -> None:
    bad, good = ask(fleet), ask(fleet, seconds=60)
    send(fleet, "one", report(bad, plan=99), report(good))
    assert (now(fleet, bad).state, now(fleet, good).state) == ("failed", "done")


def test_a_report_that_was_cut_short_counts_where_half_of_the_nets_were_timed(fleet: Fleet) -> None:
    half = -(-len(NAMES) // 2)
    few, enough = ask(fleet), ask(fleet, seconds=60)
    send(fleet, "one", report(few, first=half - 1, cut_short=True, reason="time was up"))
    assert now(fleet, few).state == "failed"
    assert f"Only {half - 1} of {len(NAMES)} nets were timed (time was up)" in now(fleet, few).message
    assert fleet.store.profiling.reports.inputs() == {}
    send(fleet, "one", report(enough, first=half, cut_short=True, reason="time was up"), number=2)
    assert (now(fleet, enough).state, now(fleet, enough).message) == ("done", "Time was up.")
    assert list(fleet.store.profiling.reports.inputs()) == ["x86-pc"]


def test_inputs_are_the_newest_usable_report_of_each_device_of_the_profile(fleet: Fleet) -> None:
    reports = fleet.store.profiling.reports
    first, second, other = ask(fleet), ask(fleet, seconds=60), ask(fleet, "two")
    send(fleet, "one", report(first))
    send(fleet, "two", report(other))
    assert reports.inputs() == {"x86-pc": [1, 2]}
    send(fleet, "one", report(second), number=2)
    assert reports.inputs() == {"x86-pc": [2, 3]}
    short = ask(fleet)
    send(fleet, "one", report(short, first=2, cut_short=True), number=3)
    assert reports.inputs() == {"x86-pc": [2, 3]}  # the unusable one takes no place
    fleet.store.devices.change("one", profile="raspberry-pi-4", actor=None)
    assert reports.inputs() == {"x86-pc": [2], "raspberry-pi-4": [3]}
    fleet.store.devices.revoke("one", actor=None)
    assert reports.inputs() == {"x86-pc": [2]}


def test_of_a_large_fleet_the_devices_that_reported_last_are_fitted_to(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling_reports, "FIT_DEVICES_MAX", 2)
    fleet.enrol("three")
    for device in ("two", "one", "three"):
        send(fleet, device, report(ask(fleet, device)))
    assert fleet.store.profiling.reports.inputs() == {"x86-pc": [2, 3]}


def test_only_the_newest_reports_of_a_device_are_kept(fleet: Fleet) -> None:
    kept = KEEP_REPORTS["device"]
    for number in range(kept + 3):
        job = ask(fleet, seconds=10 + number)
        send(fleet, "one", report(job), number=number + 1)
    other = ask(fleet, "two")
    send(fleet, "two", report(other))
    ids = [row.id for row in fleet.store.profiling.reports.newest("one", 100)]
    assert len(ids) == kept and max(ids) == kept + 3
    assert len(fleet.store.profiling.reports.newest("two")) == 1


# --- any order of events ---------------------------------------------------------------------------------


def hear(fleet: Fleet, state: ProfilingState) -> None:
    fleet.store.profiling.heard("one", state)


def cancel(fleet: Fleet, job: ProfilingJobRow) -> None:
    try:
        fleet.store.profiling.cancel(job.id, actor=None)
    except ConflictError:
        assert now(fleet, job).state in ("done", "failed", "expired")


EVENTS: dict[str, Callable[[Fleet, ProfilingJobRow], object]] = {
    "engine": lambda fleet, job: fleet.settle(),
    "waiting": lambda fleet, job: fleet.store.profiling.heard(
        "one", ProfilingState(job.id, "waiting", 0, "x")
    ),
    "running": lambda fleet, job: hear(fleet, ProfilingState(job.id, "running", 50)),
    "says done": lambda fleet, job: hear(fleet, ProfilingState(job.id, "done", 100)),
    "says failed": lambda fleet, job: fleet.store.profiling.heard(
        "one", ProfilingState(job.id, "failed", 1, "x")
    ),
    "report": lambda fleet, job: fleet.store.profiling.receive("one", fleet.store.now_ms(), report(job)),
    "spoilt": lambda fleet, job: fleet.store.profiling.receive(
        "one", fleet.store.now_ms(), report(job, plan=9)
    ),
    "cancel": cancel,
    "a day": lambda fleet, job: fleet.clock.forward(EXPIRES_MS),
    "revoke": lambda fleet, job: fleet.store.devices.revoke("one", actor=None),
}
ALLOWED = {
    "queued": {"queued", "sent", "running", "done", "failed", "expired", "cancelled"},
    "sent": {"sent", "running", "done", "failed", "expired", "cancelled"},
    "running": {"running", "sent", "done", "failed", "expired", "cancelled"},
    "expired": {"expired", "done", "failed"},
    "done": {"done"},
    "failed": {"failed"},
    "cancelled": {"cancelled"},
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=12))
def test_no_order_of_events_leaves_the_state_machine(
    tmp_path_factory: pytest.TempPathFactory, order: list[str]
) -> None:
    clock = Clock()
    store = open_store(tmp_path_factory.mktemp("server"), clock)
    fleet = Fleet(store, clock)
    fleet.enrol("one")
    job = ask(fleet)
    before = job
    for name in order:
        EVENTS[name](fleet, job)
        after = now(fleet, job)
        assert after.state in ALLOWED[before.state], (name, before.state, after.state)
        assert after.is_open == (after.finished_at is None)
        assert after.is_open or after.state == "done" or after.message, after.state
        assert (after.state == "done") <= (after.report is not None)
        before = after
    fleet.settle()
    want, over = store.wants.find("one"), not now(fleet, job).is_open
    if want is not None and store.devices.get("one").revoked_at is None:
        assert want.profiling == (None if over else job.id)
    store.close()
