"""Drift: what models see and say now, against what they saw and said when they were made."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response
from pydantic import Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.drift.report import Figures, Report, report
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.baselines import KnownBaseline
from edgepress_server.store.model_stats import HourTotals

api = section("drift", "What models see and say now, against the baseline in their artifact.")

DAY_MS = 86_400_000
RANGE_MAX_MS = 2 * 366 * DAY_MS
Time = Annotated[int, Field(ge=0, le=2**43, description="Unix ms")]
Shares = list[float]


class DriftQuery(Asked):
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: a day before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")


class DeviceDriftQuery(DriftQuery):
    artifact: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="Default: the newest that it ran in the range"
    )


class DevicePath(Asked):
    name: Annotated[str, Field(max_length=80)]


class DigestPath(Asked):
    digest: Annotated[str, Field(max_length=80)]


class FiguresAnswer(Answer):
    """PSI is what chance does not explain; null: fewer than 50 requests, or nothing to compare with."""

    requests: int = Field(description="That devices looked at")
    input_psi: float | None = Field(description="Of the feature where it is worst")
    input_ks: float | None
    output_psi: float | None = Field(description="Of the classes; of the answer's features where it has none")
    output_ks: float | None = Field(description="Of the confidence; else as output_psi")
    worst: str | None = Field(description="The input feature with the largest PSI")


class FeatureAnswer(Answer):
    """One number of each sample, in bins: bin i holds edges[i-1] < x <= edges[i], the outer ones are open."""

    name: str
    of: Literal["input", "answer"]
    psi: float | None = Field(
        description="Less what chance gives in the mean; below 0.1 stable, from 0.25 moved"
    )
    ks: float | None
    mean: float | None
    edges: list[float]
    expected: Shares = Field(description="Of the baseline, one more than edges; they add up to 1")
    actual: Shares | None = Field(description="null: nothing was looked at")
    counts: list[int]
    step_psi: list[float | None] = Field(description="One for each of steps.t")
    step_ks: list[float | None]


class ClassesAnswer(Answer):
    labels: list[str] = Field(description="Names of the classes; numbers where the artifact has none")
    expected: Shares
    actual: Shares | None
    counts: list[int]


class ConfidenceAnswer(Answer):
    """20 bins of equal width over 0..1."""

    expected: Shares
    actual: Shares | None
    counts: list[int]


class StepsAnswer(Answer):
    t: list[int] = Field(description="Unix ms: where each step with requests begins")
    step_ms: int
    requests: list[int]
    input_psi: list[float | None]
    input_ks: list[float | None]
    output_psi: list[float | None]
    output_ks: list[float | None]


class DriftAnswer(Answer):
    device: str | None = Field(description="null: all devices that ran the artifact")
    artifact: str | None = Field(description="null: the device ran none in the range")
    model: str | None
    artifacts: list[str] = Field(description="All that this device ran in the range, the newest first")
    from_ms: int
    to_ms: int
    baseline_rows: int | None = Field(description="Samples of the baseline; null: the artifact has none")
    verdict: Literal["stable", "some", "moved", "unknown"]
    why_unknown: str | None = Field(description="For people, where the verdict is unknown")
    whole: FiguresAnswer | None
    features: list[FeatureAnswer] = Field(description="The worst first")
    classes: ClassesAnswer | None
    confidence: ConfidenceAnswer | None
    steps: StepsAnswer | None


@api.get("/devices/<name>/drift", responses={200: DriftAnswer})
@needs("viewer")
def get_device_drift(path: DevicePath, query: DeviceDriftQuery) -> Response:
    """Drift of one device's inputs and answers, by the hour"""
    store = context().store
    name = store.devices.get(path.name).name
    from_ms, to_ms = _range(query)
    hours = store.model_stats.of_device(name, from_ms, to_ms)
    newest = {hour.artifact: hour.hour for hour in hours}
    artifacts = sorted(newest, key=lambda digest: (-newest[digest], digest))
    device = store.devices.get(name)
    running = None if device.state is None else device.state.running
    chosen = query.artifact or (artifacts[0] if artifacts else running)
    if chosen is not None:
        store.artifacts.get(chosen)
    mine = [hour for hour in hours if hour.artifact == chosen]
    return answer(_drift(name, chosen, artifacts, mine, from_ms, to_ms))


@api.get("/artifacts/<digest>/drift", responses={200: DriftAnswer})
@needs("viewer")
def get_artifact_drift(path: DigestPath, query: DriftQuery) -> Response:
    """Drift over all devices that ran an artifact: of their counts added up"""
    store = context().store
    digest = store.artifacts.get(path.digest).digest
    from_ms, to_ms = _range(query)
    hours = store.model_stats.of_artifact(digest, from_ms, to_ms)
    return answer(_drift(None, digest, [digest], list(hours), from_ms, to_ms))


def _range(query: DriftQuery) -> tuple[int, int]:
    to_ms = query.to if query.to is not None else context().store.now_ms()
    from_ms = query.from_ if query.from_ is not None else max(0, to_ms - DAY_MS)
    if not from_ms < to_ms:
        raise InvalidInputError("bad_range", "The range ends before it begins: `from` must be below `to`.")
    if to_ms - from_ms > RANGE_MAX_MS:
        raise InvalidInputError("bad_range", "The range is longer than two years, which is all that is kept.")
    return from_ms, to_ms


def _drift(
    device: str | None,
    digest: str | None,
    artifacts: list[str],
    hours: list[HourTotals],
    from_ms: int,
    to_ms: int,
) -> DriftAnswer:
    store = context().store
    artifact = None if digest is None else store.artifacts.find(digest)
    known = None if digest is None else store.baselines.known(digest)
    made = None if known is None else report(known.baseline, hours, from_ms, to_ms)
    return DriftAnswer(
        device=device,
        artifact=digest,
        model=None if artifact is None else artifact.model,
        artifacts=artifacts,
        from_ms=from_ms,
        to_ms=to_ms,
        baseline_rows=None if known is None else known.baseline.rows,
        verdict="unknown" if made is None else made.verdict,
        why_unknown=_why_unknown(digest, known, made),
        whole=None if made is None else FiguresAnswer.model_validate(made.whole),
        features=[] if made is None else _features(made),
        classes=None if made is None or known is None else _classes(known, made),
        confidence=None if made is None or known is None else _confidence(known, made),
        steps=None if made is None else _steps(made),
    )


def _why_unknown(digest: str | None, known: KnownBaseline | None, made: Report | None) -> str | None:
    if digest is None:
        return "The device ran no model in this range."
    if known is None or made is None:
        return "The artifact has no baseline: it was compressed without a data set, or by an older edgepress."
    if made.verdict == "unknown":
        seen = made.whole.requests
        return (
            f"{seen} requests were looked at in this range; a figure needs 50."
            if seen
            else "No requests yet."
        )
    return None


def _features(made: Report) -> list[FeatureAnswer]:
    return [
        FeatureAnswer(
            name=one.feature.name,
            of=one.of,
            psi=one.psi,
            ks=one.ks,
            mean=one.mean,
            edges=list(one.feature.edges),
            expected=_shares(one.feature.counts) or [],
            actual=_shares(one.counts),
            counts=one.counts,
            step_psi=one.step_psi,
            step_ks=one.step_ks,
        )
        for one in made.features
    ]


def _classes(known: KnownBaseline, made: Report) -> ClassesAnswer | None:
    said = known.baseline.answer
    if said is None or not said.classes:
        return None
    return ClassesAnswer(
        labels=list(known.labels) or [str(number) for number in range(len(said.classes))],
        expected=_shares(said.classes) or [],
        actual=_shares(made.classes),
        counts=made.classes or [0] * len(said.classes),
    )


def _confidence(known: KnownBaseline, made: Report) -> ConfidenceAnswer | None:
    said = known.baseline.answer
    if said is None or not said.confidence:
        return None
    return ConfidenceAnswer(
        expected=_shares(said.confidence) or [],
        actual=_shares(made.confidence),
        counts=made.confidence or [0] * len(said.confidence),
    )


def _steps(made: Report) -> StepsAnswer:
    figures: list[Figures] = made.step_figures
    return StepsAnswer(
        t=made.steps,
        step_ms=made.step_ms,
        requests=[one.requests for one in figures],
        input_psi=[one.input_psi for one in figures],
        input_ks=[one.input_ks for one in figures],
        output_psi=[one.output_psi for one in figures],
        output_ks=[one.output_ks for one in figures],
    )


def _shares(counts: list[int] | tuple[int, ...]) -> Shares | None:
    total = sum(counts)
    return [count / total for count in counts] if total else None
