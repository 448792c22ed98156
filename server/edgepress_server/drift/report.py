"""Counts of some hours against an artifact's baseline: figures of the whole range and of its steps.

All figures are of merged counts. As on devices there is none of fewer than 50 requests, ``input_psi`` and
``output_psi`` are what chance does not explain in 19 of 20 looks, and a feature's own PSI is less what chance
gives in the mean (`edgepress_compression.artifact.divergence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edgepress_compression.artifact import divergence as d
from edgepress_compression.artifact.baseline import Baseline, Feature
from edgepress_server.store.model_stats import HOUR_MS, HourTotals, ModelTotals, merged

STEPS_MAX: Final = 120
STABLE: Final = 0.1  # PSI: below, little has changed
MOVED: Final = 0.25  # from here on, much has
_STEPS_HOURS: Final = (1, 2, 3, 6, 12, 24, 48, 168, 336, 720)

Verdict = Literal["stable", "some", "moved", "unknown"]


@dataclass(frozen=True)
class Figures:
    """None: fewer than 50 requests."""

    requests: int
    input_psi: float | None = None
    input_ks: float | None = None
    output_psi: float | None = None
    output_ks: float | None = None
    worst: str | None = None  # the input feature with the largest PSI


@dataclass(frozen=True)
class FeatureFigures:
    feature: Feature
    of: Literal["input", "answer"]
    counts: list[int]  # in the feature's bins
    mean: float | None
    psi: float | None
    ks: float | None
    step_psi: list[float | None]
    step_ks: list[float | None]


@dataclass(frozen=True)
class Report:
    whole: Figures
    verdict: Verdict
    features: list[FeatureFigures]  # the worst first
    classes: list[int]
    confidence: list[int]
    steps: list[int]  # Unix ms at which each begins
    step_ms: int
    step_figures: list[Figures]


def report(baseline: Baseline, hours: Sequence[HourTotals], from_ms: int, to_ms: int) -> Report:
    """``hours`` are of one artifact, ascending, and touch the range."""
    step_ms = _step_ms(from_ms, to_ms)
    by_step: dict[int, list[HourTotals]] = {}
    for hour in hours:
        by_step.setdefault(hour.hour - hour.hour % step_ms, []).append(hour)
    steps = {start: merged(found) for start, found in sorted(by_step.items())}
    whole = merged(hours)
    figures = figures_of(baseline, whole)
    return Report(
        whole=figures,
        verdict=verdict(figures),
        features=_features(baseline, whole, list(steps.values())),
        classes=whole.classes,
        confidence=whole.confidence,
        steps=list(steps),
        step_ms=step_ms,
        step_figures=[figures_of(baseline, totals) for totals in steps.values()],
    )


def figures_of(baseline: Baseline, totals: ModelTotals) -> Figures:
    """Of all features together, and of the answers."""
    inputs: list[tuple[float, float, str]] = []  # PSI, KS, name
    answers: list[tuple[float, float, str]] = []
    for feature in baseline.features:
        counts = _counts(feature, totals)
        if sum(counts) >= d.REQUESTS_MIN:
            beyond = d.psi_beyond_chance(feature.counts, counts, len(baseline.features))
            found = answers if baseline.is_of_answer(feature.name) else inputs
            found.append((beyond, d.ks(feature.counts, counts), feature.name))
    output_psi = max((psi for psi, _, _ in answers), default=None)
    output_ks = max((ks for _, ks, _ in answers), default=None)
    answer = baseline.answer
    if answer is not None and answer.form != "values":
        output_psi = classes_psi(baseline, totals.classes)
        if sum(totals.confidence) >= d.REQUESTS_MIN:
            output_ks = d.ks(answer.confidence, totals.confidence)
    return Figures(
        requests=totals.looked_at,
        input_psi=max((psi for psi, _, _ in inputs), default=None),
        input_ks=max((ks for _, ks, _ in inputs), default=None),
        output_psi=output_psi,
        output_ks=output_ks,
        worst=max(inputs)[2] if inputs and max(inputs)[0] > 0 else None,
    )


def classes_psi(baseline: Baseline, classes: list[int]) -> float | None:
    """Of the class distribution, in at most 20 groups."""
    answer = baseline.answer
    if answer is None or sum(classes) < d.REQUESTS_MIN or len(classes) != len(answer.classes):
        return None
    groups = d.class_groups(answer.classes)
    return d.psi_beyond_chance(d.grouped(answer.classes, groups), d.grouped(classes, groups))


def verdict(figures: Figures) -> Verdict:
    """In a word: of the worse of inputs and answers."""
    known = [psi for psi in (figures.input_psi, figures.output_psi) if psi is not None]
    if not known:
        return "unknown"
    if max(known) < STABLE:
        return "stable"
    return "some" if max(known) < MOVED else "moved"


def _features(baseline: Baseline, whole: ModelTotals, steps: list[ModelTotals]) -> list[FeatureFigures]:
    found = []
    for feature in baseline.features:
        counts = _counts(feature, whole)
        psi, ks = _one(feature, counts)
        each = [_one(feature, _counts(feature, totals)) for totals in steps]
        kept = whole.features.get(feature.name)
        found.append(
            FeatureFigures(
                feature=feature,
                of="answer" if baseline.is_of_answer(feature.name) else "input",
                counts=counts,
                mean=kept.mean_sum / kept.mean_requests if kept is not None and kept.mean_requests else None,
                psi=psi,
                ks=ks,
                step_psi=[psi for psi, _ in each],
                step_ks=[ks for _, ks in each],
            )
        )
    return sorted(found, key=lambda one: -(one.psi or 0.0))


def _one(feature: Feature, counts: list[int]) -> tuple[float | None, float | None]:
    if sum(counts) < d.REQUESTS_MIN:
        return None, None
    return d.psi_unbiased(feature.counts, counts), d.ks(feature.counts, counts)


def _counts(feature: Feature, totals: ModelTotals) -> list[int]:
    kept = totals.features.get(feature.name)
    if kept is None or len(kept.counts) != len(feature.counts):
        return [0] * len(feature.counts)
    return kept.counts


def _step_ms(from_ms: int, to_ms: int) -> int:
    for hours in _STEPS_HOURS:
        if (to_ms - from_ms) // (hours * HOUR_MS) < STEPS_MAX:
            return hours * HOUR_MS
    return -(-(to_ms - from_ms) // STEPS_MAX // HOUR_MS) * HOUR_MS
