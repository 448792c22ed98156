"""Shadow mode: what counts as the same answer, who is kept waiting (nobody), and what a run decides."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from release_side import sha256
from small_device import NEW, OLD, OTHER, Device, FakeShadow, wanting
from small_models import artifact, scale_model

from edgepress_agent import crash_loop
from edgepress_agent.engine import Engine
from edgepress_agent.errors import ModelRefusedError
from edgepress_agent.job import TRIAL_STARTS_MAX
from edgepress_agent.runtime import Model, Runtime, open_session
from edgepress_agent.shadow import QUEUE_REQUESTS, ShadowRun, Tally, same_answer, verdict
from edgepress_agent.slots import SlotInfo
from edgepress_devices.protocol import CHUNK_PLAIN_BYTES, Limits, Shadow, TrialReport

ASKED = Shadow(seconds=60, requests=10, min_agreement_ppm=900_000, min_requests=5)
RUNNING, GOOD, BAD = Tally(4, 4), Tally(10, 9, over=True), Tally(10, 8, over=True)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.follow(wanting(OLD, 1))
    return made


# --- the installation -------------------------------------------------------------------------------------


def test_the_old_model_answers_until_the_run_is_over(device: Device) -> None:
    device.engine.shadow = FakeShadow([RUNNING])
    _into_shadow(device, 2)
    device.installer.advance(device.now_s, 2000)
    assert (device.step, device.engine.answers) == ("trial", OLD)
    assert device.installer.trial == TrialReport(requests=4, agreed=4, p95_us=200)
    device.engine.shadow.tallies = [GOOD]
    device.work()
    assert (device.step, device.engine.answers) == ("committed", NEW)
    assert device.engine.shadow.stopped
    assert device.installer.trial == TrialReport(requests=10, agreed=9, p95_us=200)


def test_too_little_agreement_is_rejected_with_figures(device: Device) -> None:
    device.engine.shadow = FakeShadow([RUNNING, BAD])
    device.follow(wanting(NEW, 2, shadow=ASKED))
    assert (device.step, device.engine.answers) == ("rejected", OLD)
    assert device.reason == (
        "in shadow it gave the same answer as the old model to 8 of 10 requests (80 %), the rollout asks for"
        " 90 %"
    )
    device.boot()
    assert device.installer.trial == TrialReport(requests=10, agreed=8, p95_us=200), (
        "it is known after a restart"
    )


def test_too_few_requests_are_rejected_with_figures(device: Device) -> None:
    device.engine.shadow = FakeShadow([Tally(4, 4, over=True)])
    device.follow(wanting(NEW, 2, shadow=ASKED))
    assert device.step == "rejected"
    assert device.reason == "in shadow only 4 requests could be compared in 60 s, the rollout asks for 5"


def test_without_an_old_model_there_is_nothing_to_be_in_the_shadow_of(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(NEW, 1, shadow=ASKED))
    assert (device.step, device.engine.answers) == ("committed", NEW)


def test_another_want_ends_the_run(device: Device) -> None:
    shadow = device.engine.shadow = FakeShadow([RUNNING])
    _into_shadow(device, 2)
    device.follow(wanting(OTHER, 3))
    assert shadow.stopped
    assert (device.step, device.engine.answers) == ("committed", OTHER)


def test_an_abort_ends_the_run_and_the_old_model_goes_on(device: Device) -> None:
    shadow = device.engine.shadow = FakeShadow([RUNNING])
    _into_shadow(device, 2)
    device.follow(wanting(OLD, 3))
    assert shadow.stopped
    assert (device.step, device.engine.answers) == ("committed", OLD)


def test_the_same_want_again_does_not_disturb_it(device: Device) -> None:
    shadow = device.engine.shadow = FakeShadow([RUNNING])
    _into_shadow(device, 2)
    device.installer.accept(wanting(NEW, 3, shadow=ASKED))
    assert device.installer.have().shadow == "running" and not shadow.stopped


def test_stops_and_reboots_in_the_run_begin_it_anew_and_are_no_deaths(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2 * TRIAL_STARTS_MAX):
        monkeypatch.setattr(crash_loop, "read_boot_id", lambda number=number: f"boot {number // 2}")
        device.engine.shadow = FakeShadow([RUNNING])
        _into_shadow(device, 2)
        if number % 2:
            monkeypatch.setattr(crash_loop, "read_boot_id", lambda number=number: f"boot {number // 2 + 1}")
        else:
            device.installer.journal.close()
        device.boot()
        assert device.engine.answers == OLD
    device.engine.shadow = FakeShadow([GOOD])
    device.follow(wanting(NEW, 2, shadow=ASKED))
    assert device.engine.answers == NEW


@pytest.mark.fault(
    "crashing model", "one that kills the agent twice in shadow is rejected, the old one answers"
)
def test_deaths_in_the_run_count(device: Device) -> None:
    for _ in range(TRIAL_STARTS_MAX):
        device.engine.shadow = FakeShadow([RUNNING])
        _into_shadow(device, 2)
        device.boot()  # without a word
    device.follow(wanting(NEW, 2, shadow=ASKED))
    assert (device.step, device.engine.answers) == ("rejected", OLD)
    assert "died 2 times" in device.reason


def test_of_the_release_s_limits_and_the_rollout_s_the_stricter_count(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(NEW, 1, limits=Limits(p95_us=7)))
    assert device.engine.limits == [Limits(p95_us=7)]
    accepted = wanting(OLD, 2, limits=Limits(p95_us=70, rss_bytes=3))
    assert accepted.statement is not None
    accepted.statement.limits = Limits(p95_us=50, rss_bytes=30)
    device.follow(accepted)
    assert device.engine.limits[-1] == Limits(p95_us=50, rss_bytes=3)


def _fetch(device: Device) -> None:
    fetch = device.installer.fetch
    assert fetch is not None
    pieces = [(n, NEW[n * CHUNK_PLAIN_BYTES : (n + 1) * CHUNK_PLAIN_BYTES]) for n in fetch.missing()]
    if pieces:
        device.installer.store_chunks(pieces, device.now_s)
    device.installer.advance(device.now_s, 2000)


def _into_shadow(device: Device, counter: int) -> None:
    if device.installer.journal.record.want <= counter:
        device.installer.accept(wanting(NEW, counter, shadow=ASKED))
    for _ in range(20):
        if device.installer.have().shadow == "running":
            return
        _fetch(device) if device.step == "fetching" else device.installer.advance(device.now_s, 2000)
    raise AssertionError(f"no shadow run begins: {device.step} {device.reason}")


# --- the same answer --------------------------------------------------------------------------------------


def _floats(*rows: Any) -> dict[str, Any]:
    return {"y": np.array(rows, np.float32)}


SAME: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("scores: the largest is at the same place", _floats([0.1, 0.9]), _floats([0.4, 0.6]), True),
    ("scores: it is elsewhere", _floats([0.1, 0.9]), _floats([0.6, 0.4]), False),
    ("scores of two samples: one differs", _floats([0, 1], [1, 0]), _floats([0, 1], [0, 1]), False),
    ("scores with NaN", _floats([0, 1]), _floats([0, np.nan]), False),
    ("one number within the tolerance", _floats([1.0]), _floats([1.0015]), True),
    ("one number beyond it", _floats([1.0]), _floats([1.1]), False),
    ("one number that is infinite in both", _floats([np.inf]), _floats([np.inf]), True),
    ("one number, NaN in both", _floats([np.nan]), _floats([np.nan]), False),
    (
        "a picture within the tolerance",
        {"y": np.ones((1, 2, 2), np.float32)},
        {"y": np.full((1, 2, 2), 1.001)},
        True,
    ),
    ("a picture with one pixel beyond it", {"y": np.zeros((1, 2, 2))}, {"y": np.eye(2)[None]}, False),
    ("integers", {"y": np.array([1, 2])}, {"y": np.array([1, 2])}, True),
    ("other integers", {"y": np.array([1, 2])}, {"y": np.array([1, 3])}, False),
    ("another shape", _floats([0, 1]), _floats([0, 1, 0]), False),
    ("another type", {"y": np.array([0, 1])}, _floats(0, 1), True),
    ("an output that is not there", _floats([0, 1]), {"z": np.zeros(1)}, False),
    ("an output that nobody asked for", _floats([0, 1]), {**_floats([0, 1]), "z": np.zeros(1)}, True),
]


@pytest.mark.parametrize(("old", "new", "same"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_what_the_same_answer_is(old: dict[str, Any], new: dict[str, Any], same: bool) -> None:
    assert same_answer(old, new, rtol=1e-3, atol=1e-3) is same


@given(st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 1_000_000))
def test_agreement_is_judged_to_the_millionth(requests: int, agreed: int, least_ppm: int) -> None:
    agreed = min(agreed, requests)
    passed = verdict(Shadow(60, requests, least_ppm), Tally(requests, agreed, over=True)) is None
    assert passed == (agreed / requests >= least_ppm / 1_000_000)


# --- with real models -------------------------------------------------------------------------------------


def model(factor: float) -> Model:
    return Model(open_session(scale_model(factor), 1), name="digits", digest="a" * 64)


@pytest.fixture
def runs() -> Iterator[Callable[..., ShadowRun]]:
    made: list[ShadowRun] = []

    def run(old: Model, new: Model, shadow: Shadow) -> ShadowRun:
        made.append(ShadowRun(old, new, shadow, rtol=1e-3, atol=1e-3))
        return made[-1]

    yield run
    for each in made:
        each.stop()


def _ask(m: Model, seed: int) -> None:
    m.infer({"x": np.random.default_rng(seed).standard_normal((1, 4)).astype(np.float32)})


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


@pytest.mark.parametrize(("factor", "agreed"), [(3.0, 20), (-3.0, 0)])
def test_real_models_are_compared_on_live_requests(
    runs: Callable[..., ShadowRun], factor: float, agreed: int
) -> None:
    old = model(2.0)
    run = runs(old, model(factor), Shadow(seconds=60, requests=20))
    for number in range(1000):
        before = run.tally()
        if before.over:
            break
        _ask(old, number)
        _until(lambda before=before: run.tally() != before)
    tally = run.tally()
    assert (tally.requests, tally.agreed, tally.over) == (20, agreed, True)
    assert old.taps == (), "requests are still copied"


def test_a_new_model_that_hangs_keeps_nobody_waiting_and_the_queue_short(
    runs: Callable[..., ShadowRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, go = model(2.0), model(3.0), threading.Event()

    def hang(*_: Any) -> dict[str, Any]:
        assert go.wait(30)
        raise ModelRefusedError("it was hung")

    monkeypatch.setattr(new, "run_beside", hang)
    run = runs(old, new, Shadow(seconds=60, requests=100))
    for number in range(50):
        _ask(old, number)  # would never return if it waited
    assert run.tally().dropped >= 50 - QUEUE_REQUESTS - 1
    go.set()


def test_a_new_model_with_other_inputs_agrees_with_nothing_and_says_why(
    runs: Callable[..., ShadowRun],
) -> None:
    old, new = model(2.0), model(3.0)
    new.inputs[0] = type(new.inputs[0])("image", "float32", "FP32", (-1, 4))
    run = runs(old, new, Shadow(seconds=60, requests=1, min_agreement_ppm=1))
    _ask(old, 0)
    _until(lambda: run.tally().over)
    reason = verdict(Shadow(seconds=60, requests=1, min_agreement_ppm=1), run.tally())
    assert reason is not None and "it failed with: no input 'x'; the model takes image" in reason


def test_a_trial_measures_the_old_model_beside_the_new_one(tmp_path: Path) -> None:
    runtime = Runtime()
    engine = Engine(runtime, 1)
    runtime.switch(model(2.0))
    data = artifact(3.0)
    (tmp_path / "artifact").write_bytes(data)
    info = SlotInfo(sha256(data), len(data), "digits", "x86-pc", 1)
    _, report = engine.try_model(tmp_path / "artifact", info, Limits(), lambda: None)
    assert report.p95_us is not None and report.base_p95_us is not None
    assert runtime.take()[0].inferences == 0, "the trial's runs of the old model were counted as requests"
