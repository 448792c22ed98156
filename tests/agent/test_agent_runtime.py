"""Models in onnxruntime: what is asked of them, what is counted, and what a trial refuses."""

import threading
from pathlib import Path

import numpy as np
import pytest
from release_side import sha256
from small_models import artifact, scale_model

from edgepress_agent.engine import Engine, check_room
from edgepress_agent.errors import InferenceError, ModelRefusedError, NotNowError, StoppedError
from edgepress_agent.meter import Counted
from edgepress_agent.runtime import Model, Runtime, open_session
from edgepress_agent.slots import SlotInfo
from edgepress_devices.histogram import total
from edgepress_devices.protocol import ErrorKinds, Limits

ONES = np.ones((2, 4), np.float32)


def model(factor: float = 2.0, digest: str = "a" * 64) -> Model:
    return Model(open_session(scale_model(factor), 1), name="digits", digest=digest)


def test_a_model_answers_and_is_counted() -> None:
    m = model()
    assert m.infer({"x": ONES})["y"].tolist() == (2 * ONES).tolist()
    counted = m.meter.take(m.digest)
    assert (counted.artifact, counted.inferences, counted.errors) == (m.digest, 1, 0)
    assert counted.latency_us is not None and total(counted.latency_us) == 1
    assert counted.queue_us is not None and total(counted.queue_us) == 1
    assert m.meter.take(m.digest) == Counted(m.digest)


@pytest.mark.parametrize(
    ("feeds", "outputs", "words"),
    [
        ({}, None, "input 'x' is missing"),
        ({"x": ONES, "z": ONES}, None, "no input 'z'; the model takes x"),
        ({"x": ONES.astype(np.float64)}, None, "has type float64, the model takes float32"),
        ({"x": ONES[:, :3]}, None, r"has shape \[2, 3\], the model takes \[-1, 4\]"),
        ({"x": ONES}, ["w"], "no output 'w'; the model gives y"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_runs(
    feeds: dict[str, np.ndarray], outputs: list[str] | None, words: str
) -> None:
    m = model()
    with pytest.raises(InferenceError, match=words):
        m.infer(feeds, outputs)
    assert m.meter.take(m.digest) == Counted(m.digest, error_kinds=ErrorKinds(input=1))
    assert m.meter.errors_ever == 0, "held against the model, which never saw it"


def test_counts_of_a_retired_model_are_told_beside_those_of_the_new_one() -> None:
    runtime = Runtime()
    old, new = model(2.0, "a" * 64), model(3.0, "b" * 64)
    runtime.switch(old)
    old.infer({"x": ONES})
    runtime.switch(new)
    new.infer({"x": ONES})
    assert [(one.artifact[0], one.inferences) for one in runtime.take()] == [("a", 1), ("b", 1)]
    assert [(one.artifact[0], one.inferences) for one in runtime.take()] == [("b", 0)]
    assert runtime.answered() == 2


def test_what_ends_on_a_model_long_after_the_switch_is_counted() -> None:
    runtime = Runtime()
    old, new = model(2.0, "a" * 64), model(3.0, "b" * 64)
    runtime.switch(old)
    with old.meter.request():
        runtime.switch(new)
        for _ in range(3):
            assert [one.artifact[0] for one in runtime.take()] == ["b"]
        old.infer({"x": ONES})
        old.meter.failed("runtime")
    assert [(one.artifact[0], one.inferences, one.errors) for one in runtime.take()] == [
        ("a", 1, 1),
        ("b", 0, 0),
    ]
    for _ in range(2):
        assert [one.artifact[0] for one in runtime.take()] == ["b"]
    assert runtime._retired == [], "every model that ever ran is asked for ever"
    assert (runtime.answered(), runtime.failed()) == (1, ErrorKinds(runtime=1))


def test_a_request_that_began_on_the_old_model_ends_there() -> None:
    runtime = Runtime()
    runtime.switch(model(2.0))
    taken, go_on = runtime.model(), threading.Event()
    results: list[float] = []

    def request() -> None:
        assert go_on.wait(10) and taken is not None
        results.append(float(taken.infer({"x": ONES})["y"][0, 0]))

    thread = threading.Thread(target=request)
    thread.start()
    runtime.switch(model(3.0))
    go_on.set()
    thread.join()
    assert results == [2.0]


def slot(tmp_path: Path, data: bytes) -> tuple[Path, SlotInfo]:
    path = tmp_path / "artifact"
    path.write_bytes(data)
    return path, SlotInfo(sha256(data), len(data), "digits", "x86-pc", 1)


def go_on() -> None:
    pass


def test_a_good_artifact_passes_its_trial(tmp_path: Path) -> None:
    limits = Limits(p95_us=10_000_000, rss_bytes=1 << 30)
    tried, report = Engine(Runtime(), 1).try_model(*slot(tmp_path, artifact(2.0)), limits, go_on)
    assert report.p95_us is not None and report.base_p95_us is None
    assert tried.infer({"x": ONES})["y"].tolist() == (2 * ONES).tolist()
    assert tried.meter.take("").inferences == 1, "the trial's own runs were counted"


@pytest.mark.parametrize(
    ("data", "limits", "words"),
    [
        (artifact(2.0, answer=2.1), Limits(), "computes something else here: output 'y' is"),
        (artifact(2.0)[:-1], Limits(), "the artifact cannot be read"),
        (b"", Limits(), "the artifact cannot be read"),
        (artifact(2.0), Limits(p95_us=0), "latency is .* us, the release allows 0"),
    ],
)
def test_a_trial_refuses(tmp_path: Path, data: bytes, limits: Limits, words: str) -> None:
    with pytest.raises(ModelRefusedError, match=words):
        Engine(Runtime(), 1).try_model(*slot(tmp_path, data), limits, go_on)


def test_a_trial_stops_when_the_agent_does(tmp_path: Path) -> None:
    def stop() -> None:
        raise StoppedError("the agent is stopping")

    with pytest.raises(StoppedError):
        Engine(Runtime(), 1).try_model(*slot(tmp_path, artifact(2.0)), Limits(), stop)


def test_a_file_that_is_no_model_is_refused() -> None:
    with pytest.raises(ModelRefusedError, match="onnxruntime cannot load the model"):
        open_session(b"no protobuf", 1)


def test_an_artifact_larger_than_the_disk_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(NotNowError, match=r"bytes of disk are needed .* make room"):
        check_room(tmp_path, 1 << 60, 0)
