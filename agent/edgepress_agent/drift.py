"""From counts to figures: what a model's requests of the last minutes say about drift.

* No figure of fewer than 50 requests: counts are carried over, for at most ten minutes. After that they are
  sent as they are, without figures: the server adds them up.
* ``input_psi`` and ``output_psi`` are what is left of PSI beyond what chance gives in 19 of 20 minutes
  (divergence.py, with its source); a feature's own ``psi`` is less what chance gives in the mean.
* KS is of the binned samples, as it is.
* Of an answer that is no classifier's the two output figures are those of its own features, the worst.
* Classes are put into at most 20 groups of about equal share, or chance would be all there is to see.
"""

from typing import TYPE_CHECKING, Final

from edgepress_agent.sketch import Window
from edgepress_devices.protocol import FeatureDrift, ModelStats

if TYPE_CHECKING:
    from edgepress_compression.artifact.baseline import Baseline

CARRY_MAX_MS: Final = 600_000


def is_due(window: Window, window_ms: int) -> bool:
    """Whether these counts are to be sent, or carried over to the next minute."""
    from edgepress_compression.artifact.divergence import REQUESTS_MIN

    return window.looked_at >= REQUESTS_MIN or (window.looked_at > 0 and window_ms >= CARRY_MAX_MS)


def model_stats(baseline: "Baseline", window: Window, window_ms: int) -> ModelStats:
    """The message for what was counted in ``window_ms``."""
    from edgepress_compression.artifact import divergence as d

    stats = ModelStats(max(0, window_ms), window.looked_at)
    enough = window.looked_at >= d.REQUESTS_MIN
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}  # (PSI, KS) of inputs, of answers
    features = len(baseline.features)
    for row, feature in enumerate(baseline.features):
        counts, seen = window.features[row], window.numbers[row]
        drift = FeatureDrift(feature.name, None, None, list(counts))
        if seen:
            drift.mean = _finite(window.sums[row] / seen)
        if enough and any(counts):
            drift.psi = d.psi_unbiased(feature.counts, counts)
            drift.ks = d.ks(feature.counts, counts)
            beyond = d.psi_beyond_chance(feature.counts, counts, features)
            found[baseline.is_of_answer(feature.name)].append((beyond, drift.ks))
        stats.features.append(drift)
    if found[False]:
        stats.input_psi, stats.input_ks = map(max, zip(*found[False], strict=True))
    if found[True]:
        stats.output_psi, stats.output_ks = map(max, zip(*found[True], strict=True))
    _answers(stats, baseline, window)
    return stats


def _answers(stats: ModelStats, baseline: "Baseline", window: Window) -> None:
    from edgepress_compression.artifact import divergence as d

    answer = baseline.answer
    if answer is None or answer.form == "values":
        return
    stats.class_counts = list(window.classes)
    stats.confidence_counts = list(window.confidence)
    answered = sum(window.confidence)
    if answered >= d.REQUESTS_MIN:
        stats.confidence = window.confidence_sum / answered
        stats.output_ks = d.ks(answer.confidence, window.confidence)
    if sum(window.classes) >= d.REQUESTS_MIN:
        groups = d.class_groups(answer.classes)
        stats.output_psi = d.psi_beyond_chance(
            d.grouped(answer.classes, groups), d.grouped(window.classes, groups)
        )


def _finite(value: float) -> float | None:
    return value if abs(value) <= 1e15 else None  # the wire's range
