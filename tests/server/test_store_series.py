"""Telemetry as series: figures equal brute force over what was sent, through sealing, restarts, late data."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_devices.histogram import LatencyRecorder, merge, quantile
from edgepress_devices.metrics import BY_NAME, INDEX, METRICS
from edgepress_devices.protocol import Hardware, Histogram, Reading, Sample, TelemetryBatch
from edgepress_server.errors import StoreError
from edgepress_server.store import Store, open_store
from edgepress_server.store.series.block import BlockError, pack, unpack
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.store.series.keys import FLEET, SeriesKey
from edgepress_server.store.series.seal import DAY_MS, HOUR_MS, MINUTE_MS, SEAL_MS
from edgepress_server.store.series.sealed import open_rollup, open_samples, seal_rollup, seal_samples
from edgepress_server.store.series.table import ABSENT, SampleTable, from_hot, hot_rows
from edgepress_server.store.telemetry import Received

START_MS = 1_780_000_200_000 // HOUR_MS * HOUR_MS
KNOWN = "b" * 64


@dataclass
class Story:
    """A few devices, what they sent, and a store whose clock the test moves."""

    folder: Path
    now: int = START_MS
    sent: list[tuple[str, Sample]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = self.open()
        for i, name in enumerate(("a", "b", "c")):
            self.store.devices.register(name, f"profile-{i % 2}", {"site": f"s{i // 2}"}, actor=None)
            code = self.store.devices.new_code(name, actor=None)[0]
            self.store.devices.enrol(code, "a2V5", Hardware(), "0.1.0")

    def open(self) -> Store:
        return open_store(self.folder, lambda: self.now)

    def restart(self) -> None:
        self.store.close()
        self.store = self.open()

    def batch(self, device: str, samples: list[Sample]) -> Received:
        self.numbers[device] = self.numbers.get(device, 0) + 1
        copies = [msgspec.structs.replace(sample) for sample in samples]
        return Received(device, self.now, TelemetryBatch(1, "e", self.numbers[device], copies))

    def send(self, device: str, *samples: Sample) -> None:
        self.store.telemetry.store([self.batch(device, list(samples))])
        self.sent += [(device, sample) for sample in samples]

    def work(self) -> None:
        while self.store.telemetry.step():
            pass

    def agrees(self, key: SeriesKey, span: str, names: tuple[str, ...], step_ms: int) -> None:
        """The store's figures of this series are those of these devices' samples."""
        frame = self.store.series_read.frame(
            key,
            START_MS - DAY_MS,
            self.now + 1,
            span=span,
            histograms=("latency_us",),  # type: ignore[arg-type]
        ).steps(step_ms)
        want: dict[int, list[Sample]] = {}
        for name, sample in self.sent:
            if name in names:
                want.setdefault(sample.at_ms // step_ms * step_ms, []).append(sample)
        assert frame.at.tolist() == sorted(want)
        for row, at in enumerate(frame.at.tolist()):
            samples = want[at]
            for metric in ("covered_ms", "inferences", "rss_bytes", "temp_c", "power_mw"):
                values = [v for s in samples if (v := steps_of(s, metric)) is not None]
                i = INDEX[metric]
                assert (int(frame.sums[row, i]), int(frame.counts[row, i])) == (sum(values), len(values))
                if values and BY_NAME[metric].kind == "gauge":
                    assert (int(frame.least[row, i]), int(frame.most[row, i])) == (min(values), max(values))
            merged = merge(s.latency_us for s in samples if s.latency_us is not None)
            found = frame.histograms["latency_us"][row]
            assert (None if found is None else merge([found])) == merged
            if merged is not None:
                assert frame.quantile("latency_us", 0.9)[row] == pytest.approx(quantile(merged, 0.9))

    def agrees_everywhere(self) -> None:
        for name in ("a", "b", "c"):
            for span, step_ms in (("raw", MINUTE_MS), ("minute", MINUTE_MS), ("hour", HOUR_MS)):
                self.agrees(SeriesKey("device", name), span, (name,), step_ms)
        for span, step_ms in (("minute", MINUTE_MS), ("hour", HOUR_MS)):
            self.agrees(FLEET, span, ("a", "b", "c"), step_ms)
            self.agrees(SeriesKey("profile", "profile-0"), span, ("a", "c"), step_ms)
            self.agrees(SeriesKey("label", "site=s0"), span, ("a", "b"), step_ms)


def steps_of(sample: Sample, metric: str) -> int | None:
    value = sample.interval_ms if metric == "covered_ms" else getattr(sample, metric)
    if isinstance(value, Reading):
        value = value.value
    return None if value is None else BY_NAME[metric].steps(value)


def sample_at(at_ms: int, rng: random.Random) -> Sample:
    recorder = LatencyRecorder()
    inferences = rng.randint(0, 4)
    for _ in range(inferences):
        recorder.record(rng.lognormvariate(8, 1))
    return Sample(
        at_ms,
        1000,
        rng.choice([None, KNOWN, "c" * 64]),
        inferences,
        latency_us=recorder.take(),
        rss_bytes=rng.randint(1, 9) * 4096,
        temp_c=rng.choice([None, round(rng.uniform(-20, 90), 2)]),
        power_mw=rng.choice([None, Reading(round(rng.uniform(100, 9000), 1), "pmic", "board")]),
    )


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path)
    yield made
    made.store.close()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.fault("late, out of order", "figures equal brute force through sealing, compaction, restarts")
def test_every_figure_equals_brute_force(story: Story, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        story.now += rng.choice([1000, 20_000, MINUTE_MS, 7 * MINUTE_MS])
        device = rng.choice("abc")
        late_ms = rng.choice([0, 0, 0, 5000, 30 * MINUTE_MS, 3 * HOUR_MS])
        at = max(START_MS - HOUR_MS, story.now - late_ms)
        story.send(device, *(sample_at(at - i * 1000, rng) for i in range(rng.randint(1, 5))))
        if rng.random() < 0.3:
            story.work()
        if rng.random() < 0.1:
            story.restart()
    story.agrees_everywhere()
    story.now += 2 * HOUR_MS
    story.work()
    story.agrees_everywhere()


def test_days_are_made_one_block_and_still_agree(story: Story) -> None:
    rng = random.Random(7)
    for _ in range(3 * 24):
        story.now += HOUR_MS // 2
        story.send("a", *(sample_at(story.now - i * 90_000, rng) for i in range(6)))
        story.work()
    story.now += DAY_MS + 2 * HOUR_MS
    story.work()
    tiers = dict(
        tuple(row) for row in story.store.database.rows("SELECT tier, max(rows) FROM blocks GROUP BY tier")
    )
    assert tiers[1] > 150  # a day of minutes in one
    for span, step_ms in (("minute", MINUTE_MS), ("hour", HOUR_MS)):
        story.agrees(SeriesKey("device", "a"), span, ("a",), step_ms)
        story.agrees(FLEET, span, ("a",), step_ms)


@pytest.mark.fault(
    "kill -9 while sealing", "what was sealed in a transaction that did not end is not there twice"
)
@pytest.mark.parametrize("dies_at", range(6))
def test_a_kill_in_the_middle_of_sealing_counts_nothing_twice(
    story: Story, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    for i in range(30):
        for name in "abc":
            story.send(name, sample_at(story.now, rng))
        story.now += 30_000
        del i
    tables = story.store.telemetry._series.tables
    left = [dies_at]

    def dying(real):  # type: ignore[no-untyped-def]
        def call(*args: object) -> object:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return real(*args)

        return call

    for name in ("add_blocks", "remove_hot", "remove_open"):
        monkeypatch.setattr(tables, name, dying(getattr(tables, name)))
    story.now += 2 * SEAL_MS
    with pytest.raises(KilledError):
        story.work()
    story.restart()
    story.agrees_everywhere()
    story.work()
    story.agrees_everywhere()


def test_a_late_sample_of_a_sealed_minute_counts_once(story: Story) -> None:
    first = Sample(story.now + 1000, 1000, KNOWN, 3, rss_bytes=4096)
    story.send("a", first)
    story.now += 2 * SEAL_MS
    story.work()
    for again in range(2):
        story.send("a", msgspec.structs.replace(first, at_ms=first.at_ms + 1000 + again))
        story.agrees_everywhere()
        story.now += SEAL_MS
        story.work()
        story.agrees_everywhere()


class KilledError(BaseException):
    """Nothing of the process runs any more."""


def test_a_failed_transaction_leaves_the_open_minutes_as_they_were(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(4)
    story.send("a", sample_at(story.now, rng))
    lost = story.batch("a", [sample_at(story.now + 1, rng)])
    with monkeypatch.context() as patched:
        patched.setattr(story.store.events, "append", raising)
        story.now += 2000
        with pytest.raises(KilledError):
            story.store.telemetry.store([lost])
    story.send("b", sample_at(story.now, rng))
    story.agrees_everywhere()


def raising(*_: object, **__: object) -> None:
    raise KilledError


@pytest.mark.fault("corrupted block", "reading names it and what to do; nothing else is affected")
def test_a_damaged_block_is_named(story: Story) -> None:
    rng = random.Random(5)
    for name in "ab":
        story.send(name, *(sample_at(story.now + i * 1000, rng) for i in range(20)))
    story.now += 2 * SEAL_MS
    story.work()
    damage = "UPDATE blocks SET block = zeroblob(50) WHERE series = (SELECT id FROM series WHERE name = 'a')"
    with story.store.transaction() as connection:
        connection.execute(damage)
    with pytest.raises(StoreError, match=r"Block \d+ of the telemetry cannot be read"):
        story.store.series_read.frame(SeriesKey("device", "a"), START_MS, story.now, span="minute")
    story.agrees(SeriesKey("device", "b"), "minute", ("b",), MINUTE_MS)


# --- the forms on the disk ---------------------------------------------------------------------------------

Whole = st.integers(-(2**60), 2**60)


@given(st.integers(0, 12), st.integers(1, 5), st.data())
def test_a_packed_table_comes_back(rows: int, columns: int, data: st.DataObject) -> None:
    table = np.array(
        data.draw(
            st.lists(st.lists(Whole, min_size=columns, max_size=columns), min_size=rows, max_size=rows)
        ),
        np.int64,
    ).reshape(rows, columns)
    found, end = unpack(pack(table))
    assert found.tolist() == table.tolist()
    assert end == len(pack(table))


@given(st.binary(max_size=200))
def test_no_bytes_make_a_block_that_hurts(data: bytes) -> None:
    for read in (unpack, open_samples, lambda each: open_rollup(each, MINUTE_MS)):
        try:
            read(data)  # type: ignore[operator]
        except BlockError:
            pass


Histograms = st.none() | st.builds(
    Histogram,
    st.integers(2, 5),
    st.integers(-100, 300),
    st.lists(st.integers(0, 1000), max_size=30),
    st.integers(0, 3),
)


@given(st.lists(Histograms, max_size=8), st.integers(1, 3))
def test_merged_columns_are_merged_histograms(histograms: list[Histogram | None], groups: int) -> None:
    column = HistogramColumn.of(histograms)
    group = np.arange(len(histograms), dtype=np.int64) % groups
    found = list(column.merged(group, groups))
    for g in range(groups):
        mine = [h for i, h in enumerate(histograms) if i % groups == g and h is not None]
        want = merge(mine)
        got = None if found[g] is None else merge([found[g]])  # type: ignore[list-item]
        if want is None or (not any(want.counts) and not want.zero_count):
            assert got is None
            continue
        assert got is not None
        assert (got.zero_count, sum(got.counts)) == (want.zero_count, sum(want.counts))
        for q in (0.0, 0.5, 0.99, 1.0):
            assert column.merged(group, groups).quantiles(q)[g] == pytest.approx(quantile(got, q))


@st.composite
def tables(draw: st.DrawFn) -> SampleTable:
    n = draw(st.integers(1, 10))
    numbers = st.lists(st.integers(0, 2**40), min_size=n, max_size=n)
    values = np.full((n, len(METRICS)), ABSENT)
    for i in draw(st.sets(st.integers(0, len(METRICS) - 1), min_size=1, max_size=6)):
        values[:, i] = [draw(st.just(ABSENT) | st.integers(-(2**33), 2**33)) for _ in range(n)]
    values[:, INDEX["covered_ms"]] = 1000
    at = np.sort(np.array(draw(numbers), np.int64)) + START_MS
    codes = [np.array(draw(numbers), np.int64) % 9 for _ in range(3)]
    histograms = draw(st.lists(Histograms, min_size=n, max_size=n))
    column = HistogramColumn.of(histograms)
    return SampleTable(at, *codes, values, {} if column.is_empty else {"pre_us": column})


@settings(max_examples=60)
@given(tables(), st.data())
def test_samples_come_back_from_hot_rows_and_blocks(table: SampleTable, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(0, len(table) - 1)))
    first = np.array(sorted({0, *cuts}), np.int64)
    for found in (from_hot(hot_rows(table, first)), open_samples(seal_samples(table))):
        for name in ("at", "artifact", "power_how", "energy_how", "values"):
            assert getattr(found, name).tolist() == getattr(table, name).tolist(), name
        for name, column in table.histograms.items():
            assert list(found.histograms[name]) == list(column)


@settings(max_examples=60)
@given(tables())
def test_minutes_come_back_from_blocks(table: SampleTable) -> None:
    minutes = table.frame().steps(MINUTE_MS, by_artifact=True)
    found = open_rollup(seal_rollup(minutes), MINUTE_MS)
    gauges = np.array([metric.kind == "gauge" for metric in METRICS])
    for name in ("at", "artifact", "sums", "counts"):
        assert getattr(found, name).tolist() == getattr(minutes, name).tolist(), name
    for name in ("least", "most"):
        assert getattr(found, name)[:, gauges].tolist() == getattr(minutes, name)[:, gauges].tolist(), name


@given(tables())
def test_steps_of_steps_are_the_larger_steps(table: SampleTable) -> None:
    frame = table.frame()
    twice, once = frame.steps(1000).steps(MINUTE_MS), frame.steps(MINUTE_MS)
    for name in ("at", "sums", "least", "most", "counts"):
        assert getattr(twice, name).tolist() == getattr(once, name).tolist(), name
    assert len(Frame.merged([frame, frame])) == 2 * len(frame)
