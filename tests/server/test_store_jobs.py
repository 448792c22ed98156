"""The queue: leases, crashes, cancellation. A job is done once, or failed with a reason, and never both."""

import json

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from server_story import Clock

from edgepress_server.errors import ConflictError
from edgepress_server.store import Store, open_store
from edgepress_server.store.jobs import LEASE_MS, MAX_ATTEMPTS, Job, LeaseLostError, Result
from edgepress_server.store.models import ModelFacts


def add_model(store: Store, name: str = "lenet") -> str:
    facts = ModelFacts(10, 8, 2, None, [], [])
    store.models.add(name, store.blobs.put(b"onnx"), facts, None, actor="ada")
    return name


def submit(store: Store, profile: str = "raspberry-pi-4") -> Job:
    return store.jobs.submit(
        model="lenet", recipe="int8", profile=profile, dataset=None, options={}, actor="ada"
    )


def take(store: Store, worker: str = "w1") -> Job:
    job = store.jobs.take(worker)
    assert job is not None
    return job


RESULT = Result("d" * 64, 5, {"bytes": {"artifact": 5}})


@pytest.fixture
def queue(store: Store) -> Store:
    add_model(store)
    return store


def test_jobs_are_taken_in_order(queue: Store) -> None:
    first, second = submit(queue, "raspberry-pi-4"), submit(queue, "raspberry-pi-5")
    assert [take(queue).id, take(queue).id] == [first.id, second.id]
    assert queue.jobs.take("w1") is None


def test_the_same_wish_twice_is_one_job(queue: Store) -> None:
    assert submit(queue).id == submit(queue).id
    queue.jobs.finish(take(queue), RESULT)
    assert len({job.id for job in queue.jobs.list()} | {submit(queue).id}) == 2


def test_finishing_writes_artifact_and_job_together(queue: Store) -> None:
    submit(queue)
    job = queue.jobs.finish(take(queue), RESULT)
    assert (job.state, job.artifact, job.progress) == ("done", RESULT.digest, 1.0)
    assert queue.artifacts.get(RESULT.digest).report == RESULT.report


def test_a_crash_is_tried_three_times_then_failed_with_the_reason(queue: Store) -> None:
    submit(queue)
    states = [queue.jobs.interrupted(take(queue), "Out of memory.").state for _ in range(MAX_ATTEMPTS)]
    assert states == ["queued", "queued", "failed"]
    assert "Out of memory. It was tried 3 times" in queue.jobs.list()[0].message


def test_a_lapsed_lease_is_found_and_started_anew(queue: Store, clock: Clock) -> None:
    submit(queue)
    lost = take(queue, "w1")
    assert queue.jobs.take("w2") is None
    clock.forward(LEASE_MS)
    again = take(queue, "w2")
    assert (again.id, again.worker, again.attempts) == (lost.id, "w2", 2)
    for write in (
        lambda: queue.jobs.finish(lost, RESULT),
        lambda: queue.jobs.fail(lost, "No."),
        lambda: queue.jobs.renew(lost),
        lambda: queue.jobs.report_progress(lost, 0.5, "prune", ""),
        lambda: queue.jobs.interrupted(lost, "No."),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert queue.artifacts.list() == []
    assert queue.jobs.get(lost.id).state == "running"


def test_a_renewed_lease_holds(queue: Store, clock: Clock) -> None:
    submit(queue)
    job = take(queue, "w1")
    clock.forward(LEASE_MS - 1)
    queue.jobs.renew(job)
    clock.forward(LEASE_MS - 1)
    assert queue.jobs.take("w2") is None


def test_an_orderly_stop_does_not_count_as_an_attempt(queue: Store) -> None:
    submit(queue)
    for _ in range(MAX_ATTEMPTS + 1):
        assert queue.jobs.give_back(take(queue)).state == "queued"


def test_the_jobs_of_a_dead_worker_are_released_at_once(queue: Store) -> None:
    submit(queue)
    take(queue, "dead")
    queue.jobs.release_worker("dead")
    assert take(queue, "w2").attempts == 2


def test_a_queued_job_is_cancelled_now_and_a_running_one_when_its_process_ended(queue: Store) -> None:
    assert queue.jobs.cancel(submit(queue).id, actor="ada").state == "cancelled"
    submit(queue)
    job = take(queue)
    assert queue.jobs.cancel(job.id, actor="ada").state == "running"
    with pytest.raises(LeaseLostError):
        queue.jobs.report_progress(job, 0.5, "prune", "")
    with pytest.raises(LeaseLostError):
        queue.jobs.finish(job, RESULT)
    assert queue.jobs.interrupted(job, "Killed.").state == "cancelled"


def test_what_has_ended_cannot_be_cancelled(queue: Store) -> None:
    submit(queue)
    job = queue.jobs.finish(take(queue), RESULT)
    with pytest.raises(ConflictError, match="done already"):
        queue.jobs.cancel(job.id, actor="ada")


class QueueMachine(RuleBasedStateMachine):
    """People, workers and a clock in any order."""

    folder: str

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        from pathlib import Path

        self.store = open_store(Path(self._folder.name), self.clock)
        add_model(self.store)
        self.held: list[Job] = []
        self.ended: dict[str, str] = {}

    @rule(profile=st.sampled_from(["a", "b"]))
    def submit(self, profile: str) -> None:
        submit(self.store, profile)

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def take(self, worker: str) -> None:
        job = self.store.jobs.take(worker)
        if job is not None:
            self.held.append(job)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), what=st.sampled_from(["finish", "fail", "crash", "renew", "progress", "give_back"]))
    def work(self, data: st.DataObject, what: str) -> None:
        job = data.draw(st.sampled_from(self.held))
        jobs = self.store.jobs
        calls = {
            "finish": lambda: jobs.finish(job, RESULT),
            "fail": lambda: jobs.fail(job, "It cannot be."),
            "crash": lambda: jobs.interrupted(job, "It crashed."),
            "renew": lambda: jobs.renew(job),
            "progress": lambda: jobs.report_progress(job, 0.5, "prune", ""),
            "give_back": lambda: jobs.give_back(job),
        }
        now = jobs.get(job.id)
        mine = now.state == "running" and (now.worker, now.attempts) == (job.worker, job.attempts)
        try:
            calls[what]()
            assert mine, f"{what} went through for a job held by another"
        except LeaseLostError:
            assert not mine or now.cancel_requested

    @precondition(lambda self: self.store.jobs.list())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([job.id for job in self.store.jobs.list()]))
        try:
            self.store.jobs.cancel(job, actor="ada")
        except ConflictError:
            assert self.store.jobs.get(job).state in ("done", "failed")

    @rule(ms=st.sampled_from([1, LEASE_MS // 2, LEASE_MS]))
    def wait(self, ms: int) -> None:
        self.clock.forward(ms)

    @invariant()
    def final_states_are_final_and_whole(self) -> None:
        for job in self.store.jobs.list():
            if job.id in self.ended:
                assert job.state == self.ended[job.id]
            if job.state in ("done", "failed", "cancelled"):
                self.ended[job.id] = job.state
                assert job.finished_at is not None and job.worker is None
                assert (job.artifact is not None) == (job.state == "done")
                assert job.message or job.state == "done"
            assert 0 <= job.attempts <= MAX_ATTEMPTS
            assert json.loads(json.dumps(job.options)) == job.options

    def teardown(self) -> None:
        self.store.close()
        self._folder.cleanup()


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
