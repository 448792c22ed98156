"""Drift on the device: a sketch counts what plain numpy counts, costs little, and harms no request."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_models import scale_model

from edgepress_agent.drift import CARRY_MAX_MS, is_due, model_stats
from edgepress_agent.model_watch import ModelWatch
from edgepress_agent.runtime import Model, open_session
from edgepress_agent.shadow import Tally
from edgepress_agent.sketch import ALLOWANCE_US, Sketch, Window
from edgepress_compression.artifact.baseline import Answer, Baseline, Feature, Look, read_baseline
from edgepress_compression.artifact.divergence import ks, psi_unbiased
from edgepress_compression.artifact.read import decode, read_header
from edgepress_compression.compress import compress
from edgepress_compression.data.digits import make_digits_model, write_digits_npz
from edgepress_devices.protocol import ModelStats

MINUTE_MS = 60_000
COLUMNS = Baseline(
    rows=100,
    looks=(Look("x", "columns"),),
    features=tuple(Feature(f"x.{i}", (-0.5, 0.0, 0.5), (25, 25, 25, 25)) for i in range(4)),
    answer=Answer("y", "logits", (25, 25, 25, 25), (*[0] * 10, *[10] * 10)),
)

rows = st.lists(
    st.lists(
        st.one_of(st.floats(-2, 2, width=32), st.sampled_from([float("nan"), float("inf"), float("-inf")])),
        min_size=4,
        max_size=4,
    ),
    min_size=1,
    max_size=40,
)


class Clock:
    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> int:
        return self.ms


class FreeClock:
    """Looking costs nothing: every request is looked at."""

    def __call__(self) -> int:
        return 0


def look(sketch: Sketch, values: list[list[float]]) -> None:
    for row in values:
        x = np.array([row], np.float32)
        with np.errstate(all="ignore"):
            sketch.look({"x": x}, {"y": x})


def counted(window: Window) -> tuple[Any, ...]:
    return window.features, window.classes, window.confidence, window.numbers, window.looked_at


# --- counting ---------------------------------------------------------------------------------------------


@given(rows)
@settings(deadline=None)
def test_the_counts_are_plain_numpys(values: list[list[float]]) -> None:
    sketch = Sketch(COLUMNS)
    look(sketch, values)
    table = np.array(values, np.float32).astype(np.float64)
    for column, counts in enumerate(sketch.window.features):
        bins = np.searchsorted(COLUMNS.features[column].edges, table[:, column])  # NaN comes last
        assert counts == np.bincount(bins, minlength=4).tolist()
    finite = table[np.isfinite(table).all(axis=1)]
    if len(finite) == len(table):
        shares = np.exp(finite - finite.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        assert sketch.window.classes == np.bincount(shares.argmax(axis=1), minlength=4).tolist()
        assert sketch.window.confidence_sum == pytest.approx(shares.max(axis=1).sum())
        assert sketch.window.sums == pytest.approx(finite.sum(axis=0).tolist(), abs=1e-6)


@given(rows, rows)
@settings(deadline=None)
def test_two_windows_added_are_the_whole(first: list[list[float]], second: list[list[float]]) -> None:
    whole, parts = Sketch(COLUMNS), Sketch(COLUMNS)
    look(whole, first + second)
    look(parts, first)
    window = parts.take()
    look(parts, second)
    window.add(parts.take())
    assert counted(window) == counted(whole.window)
    assert window.confidence_sum == pytest.approx(whole.window.confidence_sum, nan_ok=True)
    assert parts.window.looked_at == 0


def test_of_a_request_with_several_samples_one_is_looked_at_in_turns() -> None:
    sketch = Sketch(COLUMNS, clock_ns=FreeClock())
    batch = np.array([[-1.0] * 4, [1.0] * 4], np.float32)
    for _ in range(10):
        assert sketch.offer({"x": batch}, {"y": batch})
    assert sketch.window.features[0] == [5, 0, 0, 5]
    assert sketch.window.looked_at == 10


@given(st.lists(st.integers(1, 400), min_size=200, max_size=200), st.floats(0, 20_000))
@example(costs_us=[300] * 200, inference_us=0.0)
@settings(deadline=None, max_examples=30)
def test_looking_keeps_to_its_allowance(costs_us: list[int], inference_us: float) -> None:
    """Whatever a look costs: in the mean of all requests 50 us or 2 % of the inference, and one look more."""
    now_ns, left = [0], iter(costs_us)

    class Costly(Sketch):
        def look(self, feeds: Any, results: Any) -> None:
            now_ns[0] += 1000 * next(left)

    sketch = Costly(COLUMNS, clock_ns=lambda: now_ns[0])
    looked_at = sum(sketch.offer({}, {}, inference_us) for _ in costs_us)
    allowance_us = max(ALLOWANCE_US, 0.02 * inference_us)
    assert now_ns[0] / 1000 <= allowance_us * len(costs_us) + max(costs_us)
    assert looked_at >= min(len(costs_us), allowance_us * len(costs_us) // max(costs_us)) - 1


# --- figures ----------------------------------------------------------------------------------------------


def window_of(counts: list[int]) -> Window:
    window = Sketch(COLUMNS).empty()
    window.features = [list(counts) for _ in COLUMNS.features]
    window.looked_at = sum(counts)
    window.classes = [sum(counts), 0, 0, 0]
    window.confidence[19] = sum(counts)
    window.confidence_sum = 0.99 * sum(counts)
    return window


def test_no_figure_of_fewer_than_fifty_requests_but_their_counts() -> None:
    stats = model_stats(COLUMNS, window_of([49, 0, 0, 0]), MINUTE_MS)
    assert (stats.input_psi, stats.input_ks, stats.output_psi, stats.output_ks) == (None,) * 4
    assert stats.confidence is None
    assert [(one.psi, one.counts) for one in stats.features] == [(None, [49, 0, 0, 0])] * 4
    assert stats.class_counts == [49, 0, 0, 0] and sum(stats.confidence_counts) == 49


def test_few_requests_are_carried_over_for_ten_minutes() -> None:
    few, enough, none = window_of([49, 0, 0, 0]), window_of([50, 0, 0, 0]), window_of([0, 0, 0, 0])
    assert is_due(enough, MINUTE_MS) and not is_due(few, MINUTE_MS)
    assert is_due(few, CARRY_MAX_MS) and not is_due(none, CARRY_MAX_MS)


def test_the_figures_are_those_of_the_counts() -> None:
    stats = model_stats(COLUMNS, window_of([100, 0, 0, 0]), MINUTE_MS)
    expected = psi_unbiased([25] * 4, [100, 0, 0, 0])
    assert [one.psi for one in stats.features] == pytest.approx([expected] * 4)
    assert stats.input_psi is not None and 0.25 < stats.input_psi < expected
    assert stats.input_ks == pytest.approx(ks([25] * 4, [100, 0, 0, 0])) == 0.75
    assert stats.output_psi is not None and stats.output_psi > 0.25
    assert stats.output_ks == pytest.approx(0.9)
    assert stats.confidence == pytest.approx(0.99)


def test_an_answer_that_is_no_classifiers_drifts_by_its_own_features() -> None:
    baseline = Baseline(
        rows=100,
        looks=(Look("x", "columns"),),
        features=(
            Feature("x.0", (0.0,), (50, 50)),
            Feature("answer.mean", (0.0,), (50, 50)),
            Feature("answer.std", (0.0,), (100, 0)),
        ),
        answer=Answer("y", "values"),
    )
    sketch = Sketch(baseline, clock_ns=FreeClock())
    for i in range(100):
        sketch.look({"x": np.array([[(-1.0) ** i]])}, {"y": np.array([[5.0]])})
    stats = model_stats(baseline, sketch.take(), MINUTE_MS)
    assert stats.input_psi == 0.0 and stats.output_psi is not None and stats.output_psi > 0.25
    assert stats.class_counts == [] and stats.confidence is None


# --- beside requests --------------------------------------------------------------------------------------


@pytest.fixture
def model() -> Model:
    return Model(open_session(scale_model(2.0), 1), name="scale", digest="a" * 64)


def ask(model: Model, values: NDArray[Any]) -> NDArray[Any]:
    answer: NDArray[Any] = model.infer({"x": values.astype(np.float32)})["y"]
    return answer


def test_it_counts_from_many_threads_and_changes_no_answer(model: Model) -> None:
    watch, clock = _watch()
    watch.follow(model, COLUMNS)
    x = np.array([[-1.0, -0.2, 0.2, 1.0]])
    wrong: list[NDArray[Any]] = []

    def many() -> None:
        for _ in range(100):
            answer = ask(model, x)
            if not np.array_equal(answer, 2 * x.astype(np.float32)):
                wrong.append(answer)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.ms += MINUTE_MS
    stats = watch.model_stats()
    assert not wrong and stats is not None
    assert 50 <= stats.looked_at <= 400
    for column, drift in enumerate(stats.features):  # each request has one value in each bin, in order
        assert drift.counts == [stats.looked_at if i == column else 0 for i in range(4)]
    assert stats.class_counts == [0, 0, 0, stats.looked_at]


@pytest.mark.fault("baseline of another model", "requests are answered as if there were none")
def test_a_baseline_that_does_not_fit_harms_no_request(model: Model) -> None:
    for look_ in (Look("another", "planes", "first"), Look("x", "planes", "last"), Look("x", "tokens")):
        watch, clock = _watch()
        watch.follow(model, Baseline(rows=1, looks=(look_,), features=COLUMNS.features[:1]))
        for _ in range(60):
            assert ask(model, np.ones((1, 4))).tolist() == [[2.0] * 4]
        clock.ms += MINUTE_MS
        watch.model_stats()
        watch.follow(None)


def test_a_model_without_a_baseline_tells_nothing(model: Model) -> None:
    watch, clock = _watch()
    watch.follow(model, None)
    for _ in range(60):
        ask(model, np.ones((1, 4)))
    clock.ms += MINUTE_MS
    assert watch.model_stats() is None
    assert model.taps == ()


def test_what_another_model_saw_is_never_told_of_this_one(model: Model) -> None:
    watch, clock = _watch()
    watch.follow(model, COLUMNS)
    for _ in range(60):
        ask(model, np.ones((1, 4)))
    newer = Model(open_session(scale_model(3.0), 1), name="scale", digest="b" * 64)
    watch.follow(newer, COLUMNS)
    ask(model, np.ones((1, 4)))  # one that began before the switch
    clock.ms += 20 * MINUTE_MS
    assert watch.model_stats() is None
    ask(newer, np.ones((1, 4)))
    stats = watch.model_stats()
    assert stats is not None and stats.looked_at == 1


def test_few_requests_add_up_to_a_figure(model: Model) -> None:
    watch, clock = _watch()
    watch.follow(model, COLUMNS)
    told: list[ModelStats | None] = []
    for _ in range(3):
        for _ in range(20):
            ask(model, np.ones((1, 4)))
        clock.ms += MINUTE_MS
        told.append(watch.model_stats())
    assert told[:2] == [None, None]
    assert told[2] is not None and told[2].looked_at == 60 and told[2].window_ms == 3 * MINUTE_MS


def test_a_shadow_run_is_told_as_it_goes(model: Model) -> None:
    class Run:
        at = Tally(10, 9)

        def tally(self) -> Tally:
            return self.at

        def stop(self) -> None:
            """Nothing to end."""

    watch, clock = _watch()
    watch.follow(model, None)
    run = Run()
    watch.shadow(run)
    clock.ms += MINUTE_MS
    first = watch.model_stats()
    run.at = Tally(25, 20)
    second = watch.model_stats()
    assert first is not None and (first.compared, first.agreed) == (10, 9)
    assert second is not None and (second.compared, second.agreed) == (15, 11)
    assert watch.model_stats() is None


def _watch() -> tuple[ModelWatch, Clock]:
    clock = Clock()
    return ModelWatch(clock_ms=clock, cost_ns=lambda: 0), clock  # every request is looked at


# --- a real model -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Model, Baseline, NDArray[Any]]]:
    """(the decoded int8 artifact, its baseline, the pictures of the test split)"""
    data = tmp_path_factory.mktemp("digits") / "digits.npz"
    write_digits_npz(data)
    made = compress(
        make_digits_model(seed=0), recipe="int8", profile="x86-pc", dataset=data, model_name="digits",
        latency_seconds=0.05, stage_seconds=0.05,
    )  # fmt: skip
    baseline = read_baseline(read_header(made.artifact).baseline)
    assert baseline is not None
    with np.load(data) as arrays:
        pictures = arrays["input"][arrays["split"] == "test"]
    yield Model(open_session(decode(made.artifact), 1), name="digits", digest="c" * 64), baseline, pictures


def _minute(digits: tuple[Model, Baseline, NDArray[Any]], pictures: NDArray[Any]) -> ModelStats:
    """What the device tells of a minute in which it is asked about these."""
    model, baseline, _ = digits
    watch, clock = _watch()
    watch.follow(model, baseline)
    for picture in pictures:
        model.infer({"input": picture[None].astype(np.float32)})
    clock.ms += MINUTE_MS
    stats = watch.model_stats()
    watch.follow(None)
    assert stats is not None and stats.looked_at >= 50
    return stats


def _sample(pictures: NDArray[Any], count: int) -> NDArray[Any]:
    return pictures[np.random.default_rng(0).choice(len(pictures), count, replace=False)]


@pytest.mark.parametrize("requests", [60, 120, 360])
def test_pictures_like_those_of_the_test_are_no_drift(
    digits: tuple[Model, Baseline, NDArray[Any]], requests: int
) -> None:
    stats = _minute(digits, _sample(digits[2], requests))
    assert stats.input_psi is not None and stats.input_psi < 0.1
    assert stats.output_psi is not None and stats.output_psi < 0.1
    assert all(one.psi is not None and one.psi < 0.25 for one in stats.features)


@pytest.mark.parametrize("what", ["inverted", "noisy", "darker"])
def test_other_pictures_are_drift_within_a_minute(
    digits: tuple[Model, Baseline, NDArray[Any]], what: str
) -> None:
    pictures = _sample(digits[2], 120)
    noise = np.random.default_rng(1).normal(0, 0.3, pictures.shape)
    changed = {"inverted": 1 - pictures, "noisy": (pictures + noise).clip(0, 1), "darker": 0.7 * pictures}
    stats = _minute(digits, changed[what])
    assert stats.input_psi is not None and stats.input_psi > 0.25
    if what == "inverted":
        assert stats.output_psi is not None and stats.output_psi > 0.25
        assert stats.confidence is not None and stats.confidence < 0.9


def test_only_zeros_and_ones_of_ten_digits_are_drift_of_the_answers(
    digits: tuple[Model, Baseline, NDArray[Any]],
) -> None:
    model, _, pictures = digits
    answers = np.concatenate([model.infer({"input": p[None].astype(np.float32)})["logits"] for p in pictures])
    stats = _minute(digits, pictures[answers.argmax(axis=1) <= 1])
    assert stats.output_psi is not None and stats.output_psi > 0.25
