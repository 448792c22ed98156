"""Predictions: what a model or an artifact would do on a kind of device, layer by layer.

What a runtime executes of a file is worked out once, in a process of its own, and kept. Until it is there the
answer is 202 with ``"state": "computing"``: ask again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from flask import Response
from pydantic import Field

from edgepress_devices.prediction import Basis, Bound, OperatorPrediction, Prediction, in_words, predict
from edgepress_devices.profile import DeviceProfile
from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.artifacts import ArtifactPath
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.models import ModelPath
from edgepress_server.predict.executed import Kind
from edgepress_server.predict.executed_model import ExecutedModel
from edgepress_server.predict.layout import layout_of
from edgepress_server.predict.roofs import roofs
from edgepress_server.predict.words import interval_us, measured_words
from edgepress_server.store.measured import Measured

api = section("predictions", "Latency, memory and energy on a kind of device, before it has run there.")

WAIT_S = 4.0  # for a child, before the answer is 202
RETRY_AFTER_S = 1


class PredictionQuery(Asked):
    profile: Annotated[str, Field(max_length=80, description="Id of a device profile")]


class ArtifactPredictionQuery(Asked):
    profile: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="default: the artifact's own"
    )


class MeasuredAnswer(Answer):
    """Of this very artifact, by devices of this profile within a day."""

    p50_us: float
    p95_us: float
    devices: int
    inferences: int
    since_at: int
    until_at: int
    throttled_devices: int = Field(description="How many of them were throttled meanwhile")
    rss_bytes: float | None = Field(
        description="Of the whole agent: median over the devices of their largest"
    )
    energy_mj: float | None = Field(description="Of an inference, mean")
    energy_devices: int
    energy_method: str | None = Field(description='"estimate:..." where it is one')
    words: str = Field(description='Such as "measured on 12 devices"')
    latency_ratio: float = Field(description="Predicted by measured p50")
    memory_ratio: float | None
    energy_ratio: float | None


class Totals(Answer):
    profile: str
    profile_name: str
    threads: int = Field(description="Of the runtime: as calibrated, else as the profile says")
    latency_us: float
    low_us: float = Field(description="Where it most likely lies")
    high_us: float
    memory_bytes: int = Field(description="Weights, activations at their peak, and the runtime's own")
    energy_mj: float | None = Field(description="Of one inference, beyond what the device draws when idle")
    basis: Basis = Field(description="What the latency rests on")
    memory_basis: Basis
    energy_basis: Basis
    error: float | None = Field(description="Relative, 0.08 = 8 %, of the latency; 1 = a factor of 2")
    words: str = Field(description='The basis for people, such as "calibrated on 3 devices (+-8 %)"')
    measured: MeasuredAnswer | None = Field(description="null: no device of this profile ran it within a day")


class RoofAnswer(Answer):
    """A limit of the device, for the roofline plot."""

    name: str = Field(description="fp32, fp16, int8 or memory")
    what: Literal["compute", "memory"]
    per_us: float = Field(description="Operations or bytes a microsecond")
    basis: Literal["datasheet", "calibration"]
    kind: str | None = Field(description="Kind of operator whose calibrated figure it is")


class LayerAnswer(Answer):
    """One operator as the runtime executes it, which fuses and reorders."""

    name: str
    op_type: str
    kind: str = Field(description="What is calibrated together")
    known: bool = Field(description="False: no device has timed this kind, so it is guessed from others")
    dtype: str = Field(description="Of its arithmetic")
    latency_us: float
    share: float = Field(description="Of the whole latency, 0 to 1")
    bound: Bound = Field(description="What most of its time goes to")
    operations: int
    bytes: int = Field(description="Read and written, weights included")
    operations_per_byte: float
    operations_per_us: float


class PredictionAnswer(Totals):
    state: Literal["ready"] = "ready"
    weight_bytes: int
    peak_activation_bytes: int
    operations: int = Field(description="A multiply-add counts as two")
    overhead_us: float = Field(description="Of calling the runtime and its operators; part of latency_us")
    roofs: list[RoofAnswer]
    layers: list[LayerAnswer] = Field(description="In the order in which they run")


class ProfilesAnswer(Answer):
    state: Literal["ready"] = "ready"
    profiles: list[Totals] = Field(description="Fastest first")


class Computing(Answer):
    state: Literal["computing"] = "computing"
    message: str


@dataclass(frozen=True)
class _Subject:
    """What is predicted: a stored file."""

    kind: Kind
    digest: str
    path: Path

    @property
    def artifact(self) -> str | None:
        """Devices report under it; models as uploaded run nowhere."""
        return self.digest if self.kind == "artifact" else None


@api.get("/models/<name>/prediction", responses={200: PredictionAnswer, 202: Computing})
@needs("viewer")
def get_model_prediction(path: ModelPath, query: PredictionQuery) -> Response:
    """A model as uploaded, on a kind of device"""
    subject = _model(path.name)
    return _answer(subject, context().store.profiles.resolve(query.profile))


@api.get("/models/<name>/predictions", responses={200: ProfilesAnswer, 202: Computing})
@needs("viewer")
def get_model_predictions(path: ModelPath) -> Response:
    """A model as uploaded, on every kind of device: the totals"""
    return _on_all(_model(path.name))


@api.get("/artifacts/<digest>/prediction", responses={200: PredictionAnswer, 202: Computing})
@needs("viewer")
def get_artifact_prediction(path: ArtifactPath, query: ArtifactPredictionQuery) -> Response:
    """An artifact on a kind of device, beside what such devices report of it"""
    artifact = context().store.artifacts.get(path.digest)
    return _answer(
        _artifact(artifact.digest), context().store.profiles.resolve(query.profile or artifact.profile)
    )


@api.get("/artifacts/<digest>/predictions", responses={200: ProfilesAnswer, 202: Computing})
@needs("viewer")
def get_artifact_predictions(path: ArtifactPath) -> Response:
    """An artifact on every kind of device: the totals"""
    return _on_all(_artifact(context().store.artifacts.get(path.digest).digest))


def _model(name: str) -> _Subject:
    store = context().store
    blob = store.models.get(name).blob
    return _Subject("model", blob, store.blobs.path(blob))


def _artifact(digest: str) -> _Subject:
    return _Subject("artifact", digest, context().store.blobs.path(digest))


def _executed(subject: _Subject, layout: str, wait_s: float) -> ExecutedModel | None:
    return context().executed.get(subject.kind, subject.digest, subject.path, layout, wait_s=wait_s)


def _answer(subject: _Subject, profile: DeviceProfile) -> Response:
    executed = _executed(subject, layout_of(profile), WAIT_S)
    if executed is None:
        return _computing()
    prediction = _predict(executed, profile)
    body = PredictionAnswer(
        **dict(_totals(subject, prediction, profile)),
        weight_bytes=executed.weight_bytes,
        peak_activation_bytes=executed.peak_activation_bytes,
        operations=sum(each.operations for each in prediction.operators),
        roofs=[
            RoofAnswer.model_validate(roof)
            for roof in roofs(profile, {o.dtype for o in prediction.operators})
        ],
        overhead_us=prediction.overhead_us,
        layers=[_layer(each, prediction.latency_us) for each in prediction.operators],
    )
    return answer(body)


def _on_all(subject: _Subject) -> Response:
    profiles = context().store.profiles.all()
    totals = []
    known: dict[str, ExecutedModel | None] = {}
    for profile in profiles:
        layout = layout_of(profile)
        if layout not in known:  # all are asked for, so that all are at work; the first is waited for
            known[layout] = _executed(subject, layout, 0.0 if None in known.values() else WAIT_S)
        executed = known[layout]
        if executed is not None:
            totals.append(_totals(subject, _predict(executed, profile), profile))
    if None in known.values():
        return _computing()
    return answer(ProfilesAnswer(profiles=sorted(totals, key=lambda each: each.latency_us)))


def _predict(executed: ExecutedModel, profile: DeviceProfile) -> Prediction:
    return predict(
        executed.operators,
        profile,
        weight_bytes=executed.weight_bytes,
        peak_activation_bytes=executed.peak_activation_bytes,
    )


def _totals(subject: _Subject, prediction: Prediction, profile: DeviceProfile) -> Totals:
    measured = None if subject.artifact is None else context().store.measured.of(subject.artifact, profile.id)
    low_us, high_us = interval_us(prediction)
    return Totals(
        profile=profile.id,
        profile_name=profile.name,
        threads=profile.threads if profile.calibration is None else profile.calibration.threads,
        latency_us=prediction.latency_us,
        low_us=low_us,
        high_us=high_us,
        memory_bytes=prediction.memory_bytes,
        energy_mj=prediction.energy_mj,
        basis=prediction.basis,
        memory_basis=prediction.memory_basis,
        energy_basis=prediction.energy_basis,
        error=prediction.error,
        words=in_words(prediction, profile),
        measured=None if measured is None else _measured(measured, prediction),
    )


def _measured(measured: Measured, prediction: Prediction) -> MeasuredAnswer:
    memory_ratio = energy_ratio = None
    if measured.rss_bytes:
        memory_ratio = prediction.memory_bytes / measured.rss_bytes
    if measured.energy_mj and prediction.energy_mj is not None:
        energy_ratio = prediction.energy_mj / measured.energy_mj
    return MeasuredAnswer(
        **vars(measured),
        words=measured_words(measured.devices),
        latency_ratio=prediction.latency_us / measured.p50_us,
        memory_ratio=memory_ratio,
        energy_ratio=energy_ratio,
    )


def _layer(predicted: OperatorPrediction, whole_us: float) -> LayerAnswer:
    return LayerAnswer(
        name=predicted.name,
        op_type=predicted.op_type,
        kind=predicted.kind,
        known=predicted.known,
        dtype=predicted.dtype,
        latency_us=predicted.latency_us,
        share=predicted.latency_us / whole_us if whole_us else 0.0,
        bound=predicted.bound,
        operations=predicted.operations,
        bytes=predicted.bytes_moved,
        operations_per_byte=predicted.operations_per_byte,
        operations_per_us=predicted.operations_per_us,
    )


def _computing() -> Response:
    body = Computing(
        message="What a runtime executes of this model is being worked out. Ask again in a second."
    )
    response = answer(body, 202)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
