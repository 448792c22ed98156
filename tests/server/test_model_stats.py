"""Drift on the server: counts of devices add up by the hour, and figures are those of the merged counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fleet_story import Fleet
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from server_story import START_MS, Browser, Clock
from small_artifacts import MODEL as ONNX
from small_artifacts import write

from edgepress_agent.model_watch import ModelWatch
from edgepress_agent.runtime import Model, open_session
from edgepress_compression.artifact.baseline import Answer, Baseline, Feature, Look
from edgepress_compression.artifact.divergence import ks, psi_unbiased
from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.data.digits import make_digits_model, write_digits_npz
from edgepress_compression.measure_baseline import measure_baseline
from edgepress_devices.protocol import FeatureDrift, ModelStats, Sample, TelemetryBatch
from edgepress_server.cli import drift as drift_module
from edgepress_server.cli.main import edgepress
from edgepress_server.drift.report import STEPS_MAX, report
from edgepress_server.store import Store
from edgepress_server.store.baselines import Baselines
from edgepress_server.store.model_stats import (
    DEVICE_KEPT_MS,
    FLEET_KEPT_MS,
    HOUR_MS,
    HourTotals,
    ModelTotals,
    merged,
)
from edgepress_server.store.telemetry import Received

MINUTE_MS = 60_000
BASELINE = Baseline(
    rows=100,
    looks=(Look("x", "planes", "first"),),
    features=(Feature("x.mean", (0.2, 0.4), (30, 40, 30)), Feature("x.max", (0.9,), (50, 50))),
    answer=Answer("y", "logits", (60, 40), (*[0] * 10, *[10] * 10)),
)


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.enrol("pi", "pc")
    return made


def artifact(fleet: Fleet, baseline: Baseline | None = BASELINE, labels: tuple[str, ...] = ()) -> str:
    metadata: dict[str, Any] = {"labels": list(labels)} if labels else {}
    return kept(fleet, write(ONNX, baseline=baseline, metadata=metadata))


def kept(fleet: Fleet, data: bytes) -> str:
    digest = fleet.store.blobs.put(data)
    fleet.store.artifacts.add(
        digest, model="digits", profile="x86-pc", recipe="none", size_bytes=len(data), report={}, job=None
    )
    return digest


def stats(mean: list[int], most: list[int], **more: Any) -> ModelStats:
    return ModelStats(
        window_ms=MINUTE_MS,
        looked_at=sum(mean),
        features=[FeatureDrift("x.mean", None, None, mean, 0.3), FeatureDrift("x.max", None, None, most)],
        **more,
    )


class Reporter:
    """Sends batches as a device would, each numbered once."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.numbers: dict[str, int] = {}

    def send(self, device: str, digest: str | None, said: ModelStats, at_ms: int = START_MS) -> None:
        number = self.numbers[device] = self.numbers.get(device, 0) + 1
        sample = Sample(at_ms=at_ms, interval_ms=1000, artifact=digest, inferences=said.looked_at, model=said)
        batch = TelemetryBatch(1, "e", number, [sample])
        self.fleet.store.telemetry.store([Received(device, self.fleet.clock(), batch)])


# --- the store --------------------------------------------------------------------------------------------


def test_counts_add_up_by_device_hour_and_artifact(fleet: Fleet) -> None:
    digest, reporter = artifact(fleet), Reporter(fleet)
    reporter.send("pi", digest, stats([1, 2, 3], [4, 2], class_counts=[5, 1]))
    reporter.send("pi", digest, stats([10, 0, 0], [0, 10], class_counts=[0, 10]), START_MS + MINUTE_MS)
    fleet.clock.forward(HOUR_MS)
    reporter.send("pc", digest, stats([0, 0, 9], [9, 0]), fleet.clock())
    reads = fleet.store.model_stats
    hour = START_MS - START_MS % HOUR_MS
    (mine,) = reads.of_device("pi", START_MS, START_MS + 1)
    assert (mine.hour, mine.artifact, mine.totals.looked_at) == (hour, digest, 16)
    assert mine.totals.features["x.mean"].counts == [11, 2, 3]
    assert mine.totals.classes == [5, 11]
    assert mine.totals.features["x.mean"].mean_sum == pytest.approx(0.3 * 16)
    everybody = reads.of_artifact(digest, START_MS - HOUR_MS, START_MS + 2 * HOUR_MS)
    assert merged(everybody).features["x.max"].counts == [13, 12]
    assert merged(everybody).looked_at == 25


def test_a_batch_that_comes_twice_counts_once(fleet: Fleet) -> None:
    digest = artifact(fleet)
    sample = Sample(START_MS, 1000, digest, 6, model=stats([1, 2, 3], [4, 2]))
    for _ in range(2):
        fleet.store.telemetry.store([Received("pi", START_MS, TelemetryBatch(1, "e", 1, [sample]))])
    assert fleet.store.model_stats.of_device("pi", START_MS, START_MS + 1)[0].totals.looked_at == 6


@pytest.mark.attack("a million distinct labels", "features that the artifact's baseline lacks are not kept")
def test_what_the_baseline_does_not_have_is_not_kept(fleet: Fleet) -> None:
    digest, reporter = artifact(fleet), Reporter(fleet)
    for n in range(20):
        made_up = [FeatureDrift(f"feature {n}-{i}", 0.0, 0.0, [1]) for i in range(30)]
        wrong_bins = [FeatureDrift("x.mean", 0.0, 0.0, [1] * 20), FeatureDrift("x.max", 0.0, 0.0, [])]
        said = ModelStats(MINUTE_MS, 1, features=made_up + wrong_bins, class_counts=[1] * 900)
        reporter.send("pi", digest, said)
        reporter.send("pi", f"{n:064x}", stats([1, 1, 1], [1, 2]))
    (hour,) = fleet.store.model_stats.of_device("pi", START_MS, START_MS + 1)
    assert hour.artifact == digest and hour.totals.looked_at == 20
    assert (hour.totals.features, hour.totals.classes) == ({}, [])


@pytest.mark.parametrize("baseline", [None, BASELINE])
def test_an_artifact_without_a_baseline_has_no_rows(fleet: Fleet, baseline: Baseline | None) -> None:
    digest = artifact(fleet, baseline)
    Reporter(fleet).send("pi", digest, stats([1, 2, 3], [4, 2]))
    assert len(fleet.store.model_stats.of_artifact(digest, START_MS, START_MS + 1)) == (baseline is not None)


@pytest.mark.fault("damaged artifact file", "telemetry of its devices is stored all the same")
def test_a_file_that_cannot_be_read_has_no_baseline(fleet: Fleet) -> None:
    digest = artifact(fleet)
    fleet.store.blobs.path(digest).write_bytes(b"\x89EPA damaged beyond all recognition")
    assert Baselines(fleet.store.database, fleet.store.blobs).of(digest) is None
    Reporter(fleet).send("pi", digest, stats([1, 2, 3], [4, 2]))
    assert len(list(fleet.store.series_read.export("pi", 0, START_MS + HOUR_MS))) == 1


def test_rows_go_when_their_time_is_over(fleet: Fleet) -> None:
    digest, reporter = artifact(fleet), Reporter(fleet)
    reporter.send("pi", digest, stats([1, 2, 3], [4, 2]))
    for kept_ms, left in ((DEVICE_KEPT_MS, ""), (FLEET_KEPT_MS, None)):
        fleet.clock.ms = START_MS + kept_ms + HOUR_MS
        reporter.send("pc", digest, stats([1, 2, 3], [4, 2]), fleet.clock())
        rows = fleet.store.database.rows("SELECT device FROM model_stats WHERE hour <= ?", (START_MS,))
        assert [row["device"] for row in rows] == ([] if left is None else [left])


counts3, counts2 = (st.lists(st.integers(0, 300), min_size=n, max_size=n) for n in (3, 2))


@given(st.lists(st.tuples(counts3, counts2), min_size=1, max_size=8))
@settings(deadline=None, max_examples=40)
def test_figures_are_those_of_merged_counts_against_brute_force(
    parts: list[tuple[list[int], list[int]]],
) -> None:
    hours = []
    for n, (mean, most) in enumerate(parts):
        totals = ModelTotals()
        totals.add(stats(mean, most), BASELINE)
        hours.append(HourTotals(START_MS + n * HOUR_MS, "a" * 64, totals))
    made = report(BASELINE, hours, START_MS, START_MS + 10 * HOUR_MS)
    for one in made.features:
        column = 0 if one.feature.name == "x.mean" else 1
        whole = np.sum([part[column] for part in parts], axis=0)
        assert one.counts == whole.tolist()
        if whole.sum() >= 50:
            assert one.psi == pytest.approx(psi_unbiased(one.feature.counts, whole))
            assert one.ks == pytest.approx(ks(one.feature.counts, whole))
        else:
            assert one.psi is one.ks is None
    assert made.whole.requests == sum(sum(mean) for mean, _ in parts)


def test_long_ranges_have_few_steps() -> None:
    for days in (1, 7, 30, 90, 365, 730):
        hours = []
        for n in range(0, days * 24, 7):
            totals = ModelTotals()
            totals.add(stats([10, 20, 30], [30, 30]), BASELINE)
            hours.append(HourTotals(START_MS + n * HOUR_MS, "a" * 64, totals))
        made = report(BASELINE, hours, START_MS, START_MS + days * 24 * HOUR_MS)
        assert len(made.steps) <= STEPS_MAX + 1
        assert sum(one.requests for one in made.step_figures) == made.whole.requests == 60 * len(hours)


# --- the API and the command line -------------------------------------------------------------------------


def test_the_answer_has_distributions_figures_and_steps(fleet: Fleet, viewer: Browser) -> None:
    digest, reporter = artifact(fleet, labels=("cat", "dog")), Reporter(fleet)
    for _ in range(3):
        said = stats([100, 0, 0], [50, 50], class_counts=[60, 40], confidence_counts=[*[0] * 10, *[10] * 10])
        reporter.send("pi", digest, said, fleet.clock())
        fleet.clock.forward(HOUR_MS)
    found = viewer.get("/devices/pi/drift")
    assert (found["device"], found["artifact"], found["model"]) == ("pi", digest, "digits")
    assert (found["verdict"], found["why_unknown"], found["baseline_rows"]) == ("moved", None, 100)
    worst, other = found["features"]
    assert (worst["name"], worst["counts"], worst["expected"]) == ("x.mean", [300, 0, 0], [0.3, 0.4, 0.3])
    assert worst["actual"] == [1.0, 0.0, 0.0] and worst["psi"] > 1 and worst["ks"] == pytest.approx(0.7)
    assert other["psi"] == 0.0 and found["whole"]["worst"] == "x.mean"
    assert found["classes"]["labels"] == ["cat", "dog"]
    assert found["classes"]["actual"] == found["classes"]["expected"] == [0.6, 0.4]
    assert found["whole"]["output_psi"] == found["whole"]["output_ks"] == 0.0
    assert found["steps"]["requests"] == [100, 100, 100] and len(worst["step_psi"]) == 3
    assert found["steps"]["step_ms"] == HOUR_MS and min(found["steps"]["input_psi"]) > 0.25
    same = viewer.get(f"/artifacts/{digest}/drift")
    assert same["device"] is None and same["features"] == found["features"]


def test_what_cannot_be_told_is_said_why(fleet: Fleet, viewer: Browser) -> None:
    assert "no model" in viewer.get("/devices/pi/drift")["why_unknown"]
    bare = artifact(fleet, None)
    assert "no baseline" in viewer.get(f"/artifacts/{bare}/drift")["why_unknown"]
    digest = artifact(fleet)
    assert viewer.get(f"/artifacts/{digest}/drift")["why_unknown"] == "No requests yet."
    Reporter(fleet).send("pi", digest, stats([1, 2, 3], [4, 2]))
    fleet.clock.forward(MINUTE_MS)
    found = viewer.get("/devices/pi/drift")
    assert found["verdict"] == "unknown" and found["why_unknown"].startswith("6 requests")
    assert found["features"][0]["counts"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/devices/nobody/drift", 404, "device_unknown"),
        (f"/artifacts/{'0' * 64}/drift", 404, "artifact_unknown"),
        (f"/devices/pi/drift?artifact={'0' * 64}", 404, "artifact_unknown"),
        ("/devices/pi/drift?from=5&to=5", 400, "bad_range"),
        ("/devices/pi/drift?from=0&to=1800000000000", 400, "bad_range"),
        ("/devices/pi/drift?from=yesterday", 400, "invalid_request"),
    ],
)
def test_bad_questions_are_refused_in_words(
    fleet: Fleet, viewer: Browser, path: str, status: int, code: str
) -> None:
    assert viewer.refused(viewer.get(path, status=status)) == code


class _Api:
    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def get(self, path: str, **query: Any) -> Any:
        answer = self._browser.client.get(
            f"/api/v1{path}", query_string={key: value for key, value in query.items() if value is not None}
        )
        assert answer.status_code == 200, answer.text
        return answer.json


def test_the_command_line_says_what_went_where(
    fleet: Fleet, viewer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, reporter = artifact(fleet, labels=("cat", "dog")), Reporter(fleet)
    reporter.send("pi", digest, stats([100, 0, 0], [50, 50], class_counts=[10, 90]))
    fleet.clock.forward(MINUTE_MS)
    monkeypatch.setattr(drift_module, "api", lambda _url, _token: _Api(viewer))
    monkeypatch.setattr(drift_module.time, "time", lambda: fleet.clock() / 1000)
    said = CliRunner().invoke(edgepress, ["drift", "device", "pi"])
    assert said.exit_code == 0, said.output
    assert "on pi: MOVED." in said.output
    assert "0.2 or less: 30 % -> 100 %" in said.output and "dog" in said.output
    as_json = CliRunner().invoke(edgepress, ["drift", "artifact", digest, "--json"])
    assert json.loads(as_json.output)["verdict"] == "moved"


# --- from the picture to the answer -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, NDArray[Any]]:
    """(model, its artifact with a baseline, the pictures of the test split)"""
    data: Path = tmp_path_factory.mktemp("digits") / "digits.npz"
    write_digits_npz(data)
    model, split = make_digits_model(seed=0), load_dataset(data).split("test")
    made = write(model, baseline=measure_baseline(model, split), metadata={"labels": list("0123456789")})
    return model, made, split.fetch(np.arange(len(split)))["input"]


def test_a_camera_that_turns_dark_shows_within_minutes_and_on_the_right_device(
    fleet: Fleet, viewer: Browser, digits: tuple[bytes, bytes, NDArray[Any]]
) -> None:
    """Two boards run one artifact, for an hour as it was made for; then one sees darker, noisy pictures."""
    model, made, pictures = digits
    digest, reporter, rng = kept(fleet, made), Reporter(fleet), np.random.default_rng(0)
    watches = {}
    for device in ("pi", "pc"):
        running = Model(open_session(model, 1), name="digits", digest=digest)
        watches[device] = running, ModelWatch(clock_ms=fleet.clock)
        watches[device][1].follow(running, fleet.store.baselines.of(digest))

    def minute(dark: bool) -> None:
        fleet.clock.forward(MINUTE_MS)
        for device, (running, watch) in watches.items():
            for picture in pictures[rng.choice(len(pictures), 60)]:
                seen = picture
                if dark and device == "pi":
                    seen = (0.5 * picture + rng.normal(0, 0.1, picture.shape)).clip(0, 1)
                running.infer({"input": seen[None].astype(np.float32)})
            told = watch.model_stats()
            if told is not None:
                reporter.send(device, digest, told, fleet.clock())

    for _ in range(10):
        minute(dark=False)
    whole = viewer.get(f"/artifacts/{digest}/drift")["whole"]
    assert whole["requests"] > 600 and whole["input_psi"] < 0.1 and whole["output_psi"] < 0.1
    assert viewer.get("/devices/pi/drift")["verdict"] == "stable"
    fleet.clock.forward(HOUR_MS)
    began = fleet.clock()
    for _ in range(3):
        minute(dark=True)
    since = f"?from={began}&to={fleet.clock() + 1}"
    pi, pc = (viewer.get(f"/devices/{device}/drift{since}") for device in ("pi", "pc"))
    assert (pi["verdict"], pc["verdict"]) == ("moved", "stable")
    assert pi["whole"]["input_psi"] > 0.25 and pc["whole"]["input_psi"] < 0.1
    assert pi["features"][0]["name"] in ("input.max", "input.std", "input.mean")
    assert pi["classes"]["labels"] == list("0123456789")
