"""Predictions through the API: what they rest on, what devices measured, and what cannot be predicted."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask_openapi3.openapi import OpenAPI
from onnx_files import tiny_onnx
from planted import planted_calibration
from server_story import Browser, Clock
from test_store_telemetry_read import Reporter, enrolled, sample

from edgepress_compression.predict import runtime_layout
from edgepress_devices.operator import Operator
from edgepress_devices.profile import DeviceProfile, load_profile
from edgepress_devices.protocol import Reading
from edgepress_server.api import predictions
from edgepress_server.predict.executed import ExecutedModels, NotPredictableError
from edgepress_server.predict.executed_model import ExecutedModel
from edgepress_server.predict.layout import layout_of
from edgepress_server.store import Store
from edgepress_server.store.models import ModelFacts

PI = "raspberry-pi-4"
CONV = Operator(
    name="conv", op_type="Conv", dtype="fp32", macs=1_000_000, flops=2_000_000, weight_bytes=4000,
    read_bytes=40_000, written_bytes=40_000, depth=100, columns=10, rows=1000, layout="nchw",
)  # fmt: skip
MOVE = Operator(name="move", op_type="Transpose", dtype="fp32", read_bytes=40_000, written_bytes=40_000)
KNOWN = ExecutedModel(operators=[CONV, MOVE], weight_bytes=4000, peak_activation_bytes=80_000)


@pytest.fixture
def model(store: Store) -> str:
    facts = ModelFacts(bytes=1, weight_bytes=1, parameters=1, macs=1, inputs=[], outputs=[])
    store.models.add("net", store.blobs.put(b"a model"), facts, None, actor=None)
    return "net"


@pytest.fixture
def artifact(store: Store, model: str) -> str:
    digest = store.blobs.put(b"an artifact")
    return store.artifacts.add(
        digest, model=model, profile=PI, recipe="int8", size_bytes=11, report={}, job=None
    ).digest


class Known(ExecutedModels):
    """What runs is known beforehand; nothing is started."""

    def __init__(self, answer: ExecutedModel | Exception | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def get(
        self, kind: str, digest: str, path: Path, layout: str, *, wait_s: float = 0.0
    ) -> ExecutedModel | None:
        self.asked.append((kind, layout))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def know(app: OpenAPI, answer: ExecutedModel | Exception | None) -> Known:
    made = app.extensions["edgepress"].executed = Known(answer)
    return made


def calibrate(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = store.profiles.resolve

    def resolve(profile_id: str) -> DeviceProfile:
        return msgspec.structs.replace(plain(profile_id), calibration=planted_calibration())

    monkeypatch.setattr(store.profiles, "resolve", resolve)


def test_a_datasheet_prediction_says_that_it_may_be_off_by_two(
    app: OpenAPI, viewer: Browser, model: str
) -> None:
    know(app, KNOWN)
    found = viewer.get(f"/models/{model}/prediction?profile={PI}")
    assert (found["basis"], found["words"]) == ("datasheet", "datasheet (roofline, expect a factor of 2)")
    assert found["high_us"] == pytest.approx(2 * found["latency_us"]) == pytest.approx(4 * found["low_us"])
    assert found["measured"] is None and found["state"] == "ready"


def test_layers_tell_their_share_and_what_bounds_them(app: OpenAPI, viewer: Browser, model: str) -> None:
    know(app, KNOWN)
    found = viewer.get(f"/models/{model}/prediction?profile={PI}")
    conv, move = found["layers"]
    assert (conv["name"], conv["bound"], conv["operations"], conv["bytes"]) == (
        "conv",
        "compute",
        2e6,
        84_000,
    )
    assert (move["name"], move["bound"], move["operations_per_byte"]) == ("move", "memory", 0.0)
    assert conv["share"] + move["share"] == pytest.approx(1.0)
    assert found["latency_us"] == pytest.approx(conv["latency_us"] + move["latency_us"])


def test_a_calibrated_prediction_says_on_how_many_devices_and_draws_both_roofs(
    app: OpenAPI, viewer: Browser, store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(app, KNOWN)
    calibrate(store, monkeypatch)
    found = viewer.get(f"/models/{model}/prediction?profile={PI}")
    assert found["basis"] == "calibration" and found["words"] == "calibrated on 3 devices (+-8 %)"
    assert found["high_us"] == pytest.approx(1.08 * found["latency_us"])
    roofs = {(roof["name"], roof["basis"]): roof["per_us"] for roof in found["roofs"]}
    assert roofs["fp32", "calibration"] == 30_000.0 and roofs["fp32", "datasheet"] == 48_000.0
    assert roofs["memory", "calibration"] == 4_000.0 and roofs["memory", "datasheet"] == 12_800.0


def test_what_devices_measured_stands_beside_the_prediction(
    app: OpenAPI, viewer: Browser, store: Store, artifact: str
) -> None:
    know(app, KNOWN)
    for name in ("pi-1", "pi-2"):
        enrolled(store, name, PI)
        energy = Reading(7.0, "pmic", "board")
        Reporter(store, name).report(
            sample(store.now_ms(), [100.0] * 30, artifact=artifact, rss_bytes=90_000_000, energy_mj=energy)
        )
    found = viewer.get(f"/artifacts/{artifact}/prediction")
    measured = found["measured"]
    assert (measured["devices"], measured["inferences"]) == (2, 60)
    assert measured["words"] == "measured on 2 devices"
    assert measured["p50_us"] == pytest.approx(100.0, rel=0.011)
    assert measured["latency_ratio"] == pytest.approx(found["latency_us"] / measured["p50_us"])
    assert measured["memory_ratio"] == pytest.approx(
        found["memory_bytes"] / 90_000_000, rel=1e-4
    )  # kept in KiB
    assert measured["energy_ratio"] == pytest.approx(found["energy_mj"] / 7.0)
    assert viewer.get(f"/artifacts/{artifact}/prediction?profile=x86-pc")["measured"] is None


def test_what_is_still_being_worked_out_is_202_and_says_when_to_ask_again(
    app: OpenAPI, viewer: Browser, model: str
) -> None:
    know(app, None)
    for path in (f"prediction?profile={PI}", "predictions"):
        answer = viewer.client.get(f"/api/v1/models/{model}/{path}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
        assert answer.json["state"] == "computing" and answer.json["message"].endswith(".")


def test_every_kind_of_device_is_listed_fastest_first(
    app: OpenAPI, viewer: Browser, store: Store, artifact: str
) -> None:
    known = know(app, KNOWN)
    found = viewer.get(f"/artifacts/{artifact}/predictions")["profiles"]
    assert {each["profile"] for each in found} == {profile.id for profile in store.profiles.all()}
    assert [each["latency_us"] for each in found] == sorted(each["latency_us"] for each in found)
    assert len(known.asked) == len(set(known.asked)), (
        "one look for each layout, however many profiles have it"
    )


def test_a_model_that_cannot_be_predicted_says_why(app: OpenAPI, viewer: Browser, model: str) -> None:
    know(app, NotPredictableError("onnxruntime cannot run this model: it has no outputs."))
    answer = viewer.get(f"/models/{model}/prediction?profile={PI}", 400)
    assert viewer.refused(answer) == "not_predictable"


CASES = [
    ("/models/nothing/prediction?profile=raspberry-pi-4", 404, "model_unknown"),
    ("/models/net/prediction?profile=raspberry-pi-44", 404, "profile_unknown"),
    ("/models/net/prediction?profile=../../secret", 404, "profile_unknown"),
    ("/models/net/prediction", 400, "invalid_request"),
    ("/artifacts/" + 64 * "0" + "/prediction", 404, "artifact_unknown"),
    ("/artifacts/" + 64 * "0" + "/predictions", 404, "artifact_unknown"),
]


@pytest.mark.parametrize(("path", "status", "code"), CASES, ids=[case[0] for case in CASES])
def test_what_there_is_not_is_said(
    app: OpenAPI, viewer: Browser, model: str, path: str, status: int, code: str
) -> None:
    know(app, KNOWN)
    assert viewer.refused(viewer.get(path, status)) == code


def test_a_real_file_is_predicted_through_a_child_process(
    viewer: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "WAIT_S", 60.0)
    facts = ModelFacts(bytes=1, weight_bytes=1, parameters=1, macs=1, inputs=[], outputs=[])
    store.models.add("tiny", store.blobs.put(tiny_onnx()), facts, None, actor=None)
    found: dict[str, Any] = viewer.get(f"/models/tiny/prediction?profile={PI}")
    assert sum(layer["operations"] for layer in found["layers"]) == 24  # 4 x 3 multiply-adds
    assert found["weight_bytes"] == 48


@pytest.mark.parametrize("profile_id", ["raspberry-pi-4", "x86-pc", "jetson-nano", "iphone-browser"])
def test_the_web_role_asks_for_the_layout_that_the_command_line_predicts_with(profile_id: str) -> None:
    profile = load_profile(profile_id)
    assert layout_of(profile) == runtime_layout(profile)
    silent = msgspec.structs.replace(profile, layout=None)
    assert layout_of(silent) == runtime_layout(silent)


def test_what_devices_run_besides_is_not_taken_for_it(
    app: OpenAPI, viewer: Browser, store: Store, artifact: str
) -> None:
    know(app, KNOWN)
    enrolled(store, "pi", PI)
    Reporter(store, "pi").report(sample(store.now_ms(), [9000.0] * 30, artifact="f" * 64))
    assert viewer.get(f"/artifacts/{artifact}/prediction")["measured"] is None


def test_throttled_devices_are_counted(app: OpenAPI, viewer: Browser, store: Store, artifact: str) -> None:
    know(app, KNOWN)
    for name, throttled in (("pi-1", True), ("pi-2", False), ("pi-3", None)):
        enrolled(store, name, PI)
        Reporter(store, name).report(sample(store.now_ms(), [100.0], artifact=artifact, throttled=throttled))
    assert viewer.get(f"/artifacts/{artifact}/prediction")["measured"]["throttled_devices"] == 1


def test_only_the_last_day_counts(
    app: OpenAPI, viewer: Browser, store: Store, artifact: str, clock: Clock
) -> None:
    know(app, KNOWN)
    enrolled(store, "pi", PI)
    Reporter(store, "pi").report(sample(store.now_ms(), [100.0], artifact=artifact))
    clock.forward(25 * 3600 * 1000)
    assert viewer.get(f"/artifacts/{artifact}/prediction")["measured"] is None
