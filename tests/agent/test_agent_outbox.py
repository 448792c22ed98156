"""Telemetry is kept until acknowledged, and no sample ever travels under two numbers."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from power_cut import DyingDisk, PowerCut

from edgepress_agent.durable import Disk
from edgepress_agent.outbox import BATCH_MAX_BYTES, INPUT_BATCHES_MAX, REPORTS_MAX, SAMPLES_PER_BATCH, Outbox
from edgepress_agent.post import ANSWER_FIRST_S, IN_FLIGHT, Post
from edgepress_devices.model_messages import INPUT_MAX_BYTES, INPUTS_PER_BATCH_MAX
from edgepress_devices.protocol import Histogram, InputSample, ProfilingReport, Sample, decode_batch


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def sample(at_ms: int, **fields: object) -> Sample:
    return Sample(at_ms, 1000, **fields)  # type: ignore[arg-type]


def stamps(outbox: Outbox) -> list[int]:
    """Times of all samples, in batches from here on."""
    while outbox.close_oldest():
        pass
    return [s.at_ms for name in outbox.batches() for s in decode_batch(outbox.payload(name)).samples]


def test_samples_wait_in_files_and_become_batches_of_sixty(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    for i in range(SAMPLES_PER_BATCH + 5):
        outbox.add(sample(i))
    first, second = outbox.close_oldest(), outbox.close_oldest()
    assert first is not None and second is not None
    assert (first[1], second[1]) == (1, 2)
    assert [s.at_ms for s in decode_batch(outbox.payload(first)).samples] == list(range(SAMPLES_PER_BATCH))
    assert len(decode_batch(outbox.payload(second)).samples) == 5
    assert outbox.close_oldest() is None


def test_a_restart_keeps_everything_and_an_acknowledgement_forgets(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    sent = outbox.add_batch([sample(1)])
    outbox.add(sample(2))
    again = Outbox(tmp_path, Disk())
    assert again.batches() == [sent]
    assert stamps(again) == [1, 2]
    again.acknowledge("another epoch", 99)
    assert len(again.batches()) == 2
    again.acknowledge(*sent)
    assert stamps(again) == [2]
    again.acknowledge(again.epoch, 1)
    assert stamps(Outbox(tmp_path, Disk())) == []


def test_a_torn_sample_at_the_end_is_dropped_alone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    for i in range(3):
        outbox.add(sample(i))
    [path] = (tmp_path / "outbox" / "open").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert stamps(Outbox(tmp_path, Disk())) == [0, 1]


def test_a_long_absence_is_bounded_and_the_newest_stays_whole(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk(), max_bytes=60_000)
    count = 40 * SAMPLES_PER_BATCH
    for i in range(count):
        outbox.add(sample(i, artifact="a" * 64, inferences=1))
    size = sum(p.stat().st_size for p in (tmp_path / "outbox").rglob("*") if p.is_file())
    assert size <= 60_000
    kept = stamps(outbox)
    assert kept == sorted(kept)
    assert kept[-SAMPLES_PER_BATCH:] == list(range(count - SAMPLES_PER_BATCH, count))


class OutboxMachine(RuleBasedStateMachine):
    """Samples go in, batches go out, the process dies between any two changes of a file."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp())
        self.outbox = Outbox(self.folder, Disk())
        self.count = 0
        self.server: dict[tuple[str, int], list[int]] = {}  # stored once by (epoch, number)

    @rule(live=st.booleans())
    def take(self, live: bool) -> None:
        self.count += 1
        if live:
            self.outbox.add_batch([sample(self.count)])
        else:
            self.outbox.add(sample(self.count))

    @rule()
    def close(self) -> None:
        self.outbox.close_oldest()

    @rule(which=st.integers(0, 9))
    def send(self, which: int) -> None:
        names = self.outbox.batches()
        if names:
            name = names[which % len(names)]
            content = [s.at_ms for s in decode_batch(self.outbox.payload(name)).samples]
            assert self.server.setdefault(name, content) == content, "one number, two contents"

    @rule()
    def acknowledge(self) -> None:
        """As the server does: up to the number below which nothing is missing."""
        for epoch in {name[0] for name in self.server}:
            number = 0
            while (epoch, number + 1) in self.server:
                number += 1
            self.outbox.acknowledge(epoch, number)

    @rule()
    def restart(self) -> None:
        self.outbox = Outbox(self.folder, Disk())

    @rule(at=st.integers(0, 6))
    def die(self, at: int) -> None:
        try:
            dying = Outbox(self.folder, DyingDisk(at))
            dying.close_oldest()
        except PowerCut:
            pass
        self.restart()

    @invariant()
    def every_sample_is_in_exactly_one_place(self) -> None:
        if not hasattr(self, "outbox"):
            return
        waiting = {name: self._content(name) for name in self.outbox.batches()}
        everywhere = [at for content in {**self.server, **waiting}.values() for at in content]
        opened = [
            at for path in sorted((self.folder / "outbox" / "open").iterdir()) for at in self._read(path)
        ]
        assert sorted(everywhere + opened) == list(range(1, self.count + 1))

    def _content(self, name: tuple[str, int]) -> list[int]:
        return [s.at_ms for s in decode_batch(self.outbox.payload(name)).samples]

    def _read(self, path: Path) -> list[int]:
        from edgepress_agent import outbox

        return [s.at_ms for s in outbox._read(path)]

    def teardown(self) -> None:
        import shutil

        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


OutboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestOutboxMachine = OutboxMachine.TestCase


# --- when to send -----------------------------------------------------------------------------------------

NAMES = [("e", n) for n in range(1, 21)]


def connected() -> Post:
    post = Post()
    post.connected = True
    post.began()
    return post


def test_nothing_is_sent_without_a_connection_or_a_server() -> None:
    assert Post().due(NAMES, 0.0) == []
    post = connected()
    post.server_online = False
    assert post.due(NAMES, 0.0) == []


def test_a_few_are_in_flight_and_an_answer_lets_the_next_go() -> None:
    post = connected()
    assert post.due(NAMES, 0.0) == NAMES[:IN_FLIGHT]
    assert post.due(NAMES, 1.0) == []
    post.acknowledged(NAMES[3:])
    assert post.due(NAMES[3:], 1.0) == NAMES[IN_FLIGHT : IN_FLIGHT + 3]


def test_without_an_answer_they_are_sent_again_each_time_later() -> None:
    post = connected()
    post.due(NAMES[:2], 0.0)
    assert post.due(NAMES[:2], ANSWER_FIRST_S - 0.1) == []
    assert post.due(NAMES[:2], ANSWER_FIRST_S) == NAMES[:2]
    assert post.due(NAMES[:2], 2 * ANSWER_FIRST_S) == []
    assert post.due(NAMES[:2], 3 * ANSWER_FIRST_S) == NAMES[:2]


def test_a_new_connection_sends_again_at_once() -> None:
    post = connected()
    post.due(NAMES[:2], 0.0)
    post.began()
    assert post.due(NAMES[:2], 0.1) == NAMES[:2]


def report(number: int) -> ProfilingReport:
    return ProfilingReport(f"job-{number}", "device", 1, None, "onnxruntime 1", "x86_64", 2, [], [])


def reports_in(outbox: Outbox) -> list[str]:
    batches = [decode_batch(outbox.payload(name)) for name in outbox.batches()]
    return [one.id for batch in batches for one in batch.reports]


def test_a_report_is_a_batch_of_its_own_that_survives_restarts_until_acknowledged(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    outbox.add_batch([sample(1)])
    outbox.shelf.put(report(1))
    outbox.take_reports()
    first, second = outbox.batches()
    assert second == (first[0], first[1] + 1)
    again = Outbox(tmp_path, Disk())
    assert reports_in(again) == ["job-1"]
    assert stamps(again) == [1]
    again.acknowledge(*second)
    assert Outbox(tmp_path, Disk()).batches() == []


def test_a_report_on_the_shelf_is_taken_after_a_restart_and_only_once(tmp_path: Path) -> None:
    Outbox(tmp_path, Disk()).shelf.put(report(1))
    again = Outbox(tmp_path, Disk())
    assert again.shelf.has("job-1")
    again.take_reports()
    again.take_reports()
    assert reports_in(again) == ["job-1"]
    assert not again.shelf.has("job-1")


def test_of_reports_that_nobody_takes_the_oldest_are_given_up(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    for number in range(REPORTS_MAX + 3):
        outbox.shelf.put(report(number))
        outbox.take_reports()
    assert reports_in(outbox) == [f"job-{number}" for number in range(3, REPORTS_MAX + 3)]
    assert reports_in(Outbox(tmp_path, Disk())) == reports_in(outbox)


def test_a_damaged_report_is_an_empty_batch(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    outbox.shelf.put(report(1))
    [path] = (tmp_path / "outbox" / "report").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    outbox.take_reports()
    assert reports_in(outbox) == []
    [name] = outbox.batches()
    outbox.acknowledge(*name)
    assert outbox.batches() == []


@pytest.mark.fault(
    "broker caps packets at 128 KB", "a batch of the largest samples stays below, and keeps its counts"
)
def test_a_batch_of_the_largest_samples_fits_the_smallest_brokers_packet(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    shapes = [1500, 1800, 1990, 2100, 4000]  # buckets of a histogram, a byte each
    for n in range(SAMPLES_PER_BATCH):
        latency = Histogram(5, -1000, [1] * shapes[n % len(shapes)])
        outbox.add(
            Sample(1_800_000_000_000 + n, 1000, "f" * 64, 100, 0, latency, 2**40, 2**40, 2**40, 50.0, 60.0)
        )
    samples = []
    while name := outbox.close_oldest():
        payload = outbox.payload(name)
        assert len(payload) <= BATCH_MAX_BYTES < 128_000
        samples += decode_batch(payload).samples
    assert len(samples) == SAMPLES_PER_BATCH and all(sample.inferences == 100 for sample in samples)
    assert all(sample.latency_us is not None for sample in samples)


def test_a_sample_that_no_batch_could_carry_loses_its_shapes_and_keeps_its_counts(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    latency = Histogram(5, -2000, [2**40] * 4000)
    outbox.add(sample(1, inferences=7, latency_us=latency, queue_us=latency, pre_us=latency))
    name = outbox.close_oldest()
    assert name is not None
    [kept] = decode_batch(outbox.payload(name)).samples
    assert (kept.inferences, kept.latency_us) == (7, None)


def wide(at_ms: int, offset: int) -> Sample:
    latency = Histogram(5, offset, [2**20] * 60)
    return sample(at_ms, inferences=1, latency_us=latency, queue_us=latency, pre_us=latency, post_us=latency)


def test_a_thinned_file_fits_a_batch_where_one_histogram_is_longer_than_the_two_it_is_made_of(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path, Disk(), max_bytes=300_000)
    for i in range(4 * SAMPLES_PER_BATCH):
        outbox.add(wide(i, 570 if i < SAMPLES_PER_BATCH and i % 2 else 0))
    counted = 0
    while name := outbox.close_oldest():
        payload = outbox.payload(name)
        assert len(payload) <= BATCH_MAX_BYTES
        counted += sum(one.inferences for one in decode_batch(payload).samples)
    assert counted == 4 * SAMPLES_PER_BATCH


# --- inputs that the privacy policy lets out --------------------------------------------------------------


def input_sample(number: int, size_bytes: int = 10) -> InputSample:
    return InputSample(number, "a" * 64, "random", "x", "float32", [1, 4], bytes(size_bytes), 3, 0.5)


def inputs_in(outbox: Outbox) -> list[int]:
    batches = [decode_batch(outbox.payload(name)) for name in outbox.batches()]
    return [one.at_ms for batch in batches for one in batch.inputs]


def test_sampled_inputs_are_batches_of_their_own_that_survive_restarts_until_acknowledged(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path, Disk())
    outbox.add_batch([sample(1)])
    outbox.add_inputs([input_sample(n) for n in range(INPUTS_PER_BATCH_MAX + 1)])
    outbox.add_inputs([])
    assert len(outbox.batches()) == 3
    again = Outbox(tmp_path, Disk())
    assert inputs_in(again) == list(range(INPUTS_PER_BATCH_MAX + 1))
    assert stamps(again) == [1]
    again.acknowledge(outbox.epoch, 3)
    assert Outbox(tmp_path, Disk()).batches() == []


def test_the_largest_inputs_fit_the_smallest_brokers_packet(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    outbox.add_inputs([input_sample(n, INPUT_MAX_BYTES) for n in range(2 * INPUTS_PER_BATCH_MAX)])
    assert [len(outbox.payload(name)) <= BATCH_MAX_BYTES for name in outbox.batches()] == [True, True]


def test_of_inputs_that_nobody_takes_the_oldest_are_given_up(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    for n in range(INPUT_BATCHES_MAX + 5):
        outbox.add_inputs([input_sample(n)])
    assert inputs_in(outbox) == list(range(5, INPUT_BATCHES_MAX + 5))
    assert inputs_in(Outbox(tmp_path, Disk())) == inputs_in(outbox)


def test_when_the_policy_ends_nothing_that_waits_leaves_the_device(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    outbox.add_batch([sample(1)])
    outbox.add_inputs([input_sample(1)])
    outbox.drop_inputs()
    assert inputs_in(outbox) == [] and stamps(outbox) == [1]
    assert b"float32" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_damaged_inputs_are_an_empty_batch(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    outbox.add_inputs([input_sample(1)])
    [path] = (tmp_path / "outbox" / "batch").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert inputs_in(outbox) == []
    assert len(outbox.batches()) == 1


# --- a disk that takes nothing, a clock that is set back --------------------------------------------------


class NarrowFile(io.FileIO):
    """A file on a disk that has room for ``room`` more bytes."""

    room = 10**9

    def write(self, data: Any) -> int:
        taken = min(len(data), NarrowFile.room)
        NarrowFile.room -= taken
        if not taken:
            raise OSError(errno.ENOSPC, "no space")
        return super().write(bytes(data)[:taken])


@pytest.mark.fault("full disk", "a sample half written takes none of those before and after it along")
@pytest.mark.parametrize("room", [0, 1, 7, 8, 30])
def test_a_full_disk_tears_no_file(room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(tmp_path, Disk())
    outbox.add(sample(1))
    opened = Path.open

    def narrow(path: Path, mode: str = "r", buffering: int = -1) -> Any:
        return NarrowFile(path, mode) if mode == "ab" else opened(path, mode, buffering)

    with monkeypatch.context() as full:
        full.setattr(Path, "open", narrow)
        full.setattr(NarrowFile, "room", room)
        with pytest.raises(OSError, match=r"(?i)no space"):
            outbox.add(sample(2))
    outbox.add(sample(3))
    assert stamps(Outbox(tmp_path, Disk())) == [1, 3]


def test_a_new_epoch_leaves_what_waits_in_the_old_one(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Disk())
    outbox.add_batch([sample(50)])
    outbox.add(sample(60))
    old = outbox.epoch
    outbox.begin_epoch()
    outbox.add_batch([sample(10)])
    assert [(epoch == old, number) for epoch, number in outbox.batches()] == [
        (True, 1),
        (True, 2),
        (False, 1),
    ]
    outbox.acknowledge(old, 2)
    assert stamps(outbox) == [10]
