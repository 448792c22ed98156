"""Half as many samples, and no count lost: what the outbox does to the oldest when it is full."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from edgepress_devices.histogram import merge
from edgepress_devices.metrics import BY_NAME
from edgepress_devices.model_messages import FeatureDrift, ModelStats
from edgepress_devices.protocol import ErrorKinds, Histogram, Sample

Part = TypeVar("Part")

_TRAFFIC: Final = ("disk_read_bytes", "disk_written_bytes", "net_rx_bytes", "net_tx_bytes")
_HISTOGRAMS: Final = ("latency_us", "queue_us", "pre_us", "post_us")


def thinned(samples: Sequence[Sample]) -> list[Sample]:
    """Each pair of neighbours of one artifact as one: counts, histograms and traffic are added, the board was
    held back where it was in either, and of all else the later figure stands where there is one.
    """
    result: list[Sample] = []
    pending: Sample | None = None
    for sample in samples:
        if pending is None:
            pending = sample
        elif pending.artifact != sample.artifact or _too_long(pending, sample):
            result.append(pending)
            pending = sample
        else:
            result.append(_joined(pending, sample))
            pending = None
    return result if pending is None else [*result, pending]


def _too_long(first: Sample, second: Sample) -> bool:
    """Whether both together cover more than servers take for the time of one sample."""
    return first.interval_ms + second.interval_ms > BY_NAME["covered_ms"].high


def _joined(first: Sample, second: Sample) -> Sample:
    joined = {
        name: _either(getattr(first, name), later, _later)
        for name, later in msgspec.structs.asdict(second).items()
    }
    joined.update(
        interval_ms=first.interval_ms + second.interval_ms,
        inferences=first.inferences + second.inferences,
        errors=first.errors + second.errors,
        throttled=_either(first.throttled, second.throttled, bool.__or__),
        error_kinds=_either(first.error_kinds, second.error_kinds, _kinds),
        model=_either(first.model, second.model, _stats),
    )
    for name in _TRAFFIC:
        joined[name] = _either(getattr(first, name), getattr(second, name), int.__add__)
    for name in _HISTOGRAMS:
        joined[name] = _either(getattr(first, name), getattr(second, name), _merged)
    return msgspec.structs.replace(second, **joined)


def _either(
    first: Part | None, second: Part | None, both: Callable[[Part, Part], Part | None]
) -> Part | None:
    """What there is of two, or what ``both`` makes of them."""
    if first is None or second is None:
        return first if second is None else second
    return both(first, second)


def _later(_first: Part, second: Part) -> Part:
    return second


def _merged(first: Histogram, second: Histogram) -> Histogram | None:
    return merge((first, second))


def _kinds(first: ErrorKinds, second: ErrorKinds) -> ErrorKinds:
    return ErrorKinds(
        first.input + second.input,
        first.runtime + second.runtime,
        first.timeout + second.timeout,
        first.busy + second.busy,
    )


def _stats(first: ModelStats, second: ModelStats) -> ModelStats:
    """Counts are added; a drift of both together would need the baseline, so the worse of the two stands;
    means are weighted by the requests that were looked at.
    """
    return ModelStats(
        window_ms=first.window_ms + second.window_ms,
        looked_at=first.looked_at + second.looked_at,
        input_psi=_either(first.input_psi, second.input_psi, max),
        input_ks=_either(first.input_ks, second.input_ks, max),
        output_psi=_either(first.output_psi, second.output_psi, max),
        output_ks=_either(first.output_ks, second.output_ks, max),
        confidence=_mean(first.confidence, first.looked_at, second.confidence, second.looked_at),
        confidence_counts=_bins(first.confidence_counts, second.confidence_counts),
        class_counts=_bins(first.class_counts, second.class_counts),
        features=_features(first.features, second.features),
        compared=first.compared + second.compared,
        agreed=first.agreed + second.agreed,
    )


def _mean(first: float | None, first_count: int, second: float | None, second_count: int) -> float | None:
    if first is None or second is None or first_count + second_count == 0:
        return first if second is None else second
    return (first * first_count + second * second_count) / (first_count + second_count)


def _bins(first: list[int], second: list[int]) -> list[int]:
    """Bin by bin; of one artifact both have the same bins, and none where nothing was counted."""
    shorter, longer = sorted((first, second), key=len)
    return [n + (shorter[i] if i < len(shorter) else 0) for i, n in enumerate(longer)]


def _features(first: list[FeatureDrift], second: list[FeatureDrift]) -> list[FeatureDrift]:
    found = {feature.name: feature for feature in first}
    for feature in second:
        before = found.get(feature.name)
        found[feature.name] = feature if before is None else _feature(before, feature)
    return list(found.values())


def _feature(first: FeatureDrift, second: FeatureDrift) -> FeatureDrift:
    return FeatureDrift(
        first.name,
        _either(first.psi, second.psi, max),
        _either(first.ks, second.ks, max),
        _bins(first.counts, second.counts),
        _mean(first.mean, sum(first.counts), second.mean, sum(second.counts)),
    )
