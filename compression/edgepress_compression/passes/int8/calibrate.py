"""Ranges of activations, from what the float model computes on real inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from edgepress_compression.evaluate import open_session, run
from edgepress_compression.passes.int8.entropy_range import least_divergence_range

BINS = 2048
Method = Literal["minmax", "percentile", "mse", "entropy"]


@dataclass
class Observed:
    """What one tensor was seen to hold."""

    low: float
    high: float
    histogram: np.ndarray  # (BINS,) int64, over low..high
    channel_mean: (
        np.ndarray | None
    )  # (C,) mean over samples and positions; axis 1, or the last of a 2-d or 3-d tensor


def observe(
    proto: onnx.ModelProto,
    names: Sequence[str],
    batches: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    *,
    threads: int = 1,
    check: Callable[[float], None] = lambda fraction: None,
) -> dict[str, Observed]:
    """Runs the model twice over the batches: for the extremes, then for histograms between them.

    `names` are activations or inputs of the model. `check` gets 0..1 after each batch and may raise.
    """
    session = open_session(_with_outputs(proto, names), threads=threads)
    outputs = [one.name for one in session.get_outputs()]
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    total: dict[str, np.ndarray] = {}
    seen = 0
    for feed in batches():
        seen += 1
        values = dict(feed) | dict(zip(outputs, run(session, feed), strict=True))
        for name in names:
            low[name] = min(low[name], float(values[name].min()))
            high[name] = max(high[name], float(values[name].max()))
            mean = _channel_mean(values[name])
            if mean is not None:
                total[name] = total.get(name, 0.0) + mean
        check(0.0)
    histograms = {name: np.zeros(BINS, dtype=np.int64) for name in names}
    for done, feed in enumerate(batches(), start=1):
        values = dict(feed) | dict(zip(outputs, run(session, feed), strict=True))
        for name in names:
            histograms[name] += _histogram(values[name], low[name], high[name])
        check(done / seen)
    return {
        name: Observed(
            low[name],
            high[name],
            histograms[name],
            total[name] / seen if name in total else None,
        )
        for name in names
    }


def _with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> bytes:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    inputs = {one.name for one in copy.graph.input}
    have = {one.name for one in copy.graph.output} | inputs
    for name in names:
        if name not in have:
            copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return bytes(copy.SerializeToString())


def _channel_mean(values: np.ndarray) -> np.ndarray | None:
    if values.ndim == 4:
        mean: np.ndarray = values.mean(axis=(0, 2, 3), dtype=np.float64)
        return mean
    if values.ndim in (2, 3):
        mean = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
        return mean
    return None


def _histogram(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:
        counts = np.zeros(BINS, dtype=np.int64)
        counts[0] = values.size
        return counts
    scaled = (values.ravel() - np.float32(low)) * np.float32(BINS / (high - low))
    return np.bincount(np.clip(scaled.astype(np.int32), 0, BINS - 1), minlength=BINS)


def chosen_range(
    seen: Observed, method: Method, *, percentile: float, steps: int = 255
) -> tuple[float, float]:
    """The range low <= 0 <= high that the integers should cover: 0 must be exact, for zero padding."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if method == "minmax" or high <= low or seen.high <= seen.low:
        return low, high
    edges = np.linspace(seen.low, seen.high, BINS + 1)
    if method == "percentile":
        share = np.concatenate([[0.0], np.cumsum(seen.histogram) / seen.histogram.sum()])
        tail = (100.0 - percentile) / 100.0
        return (
            min(float(np.interp(tail, share, edges)), 0.0) if seen.low < 0 else 0.0,
            max(float(np.interp(1 - tail, share, edges)), 0.0),
        )
    if method == "entropy":
        return least_divergence_range(edges, seen.histogram, steps)
    return _least_squares_range(low, high, (edges[:-1] + edges[1:]) / 2, seen.histogram, steps)


def _least_squares_range(
    low: float, high: float, centres: np.ndarray, counts: np.ndarray, steps: int
) -> tuple[float, float]:
    """Shrinks the range until clipping would cost more than finer steps gain (expected squared error)."""
    weight = counts / counts.sum()
    best, best_error = (low, high), np.inf
    shrinks = np.linspace(1.0, 0.2, 81)
    for cut_high in shrinks:
        # both sides shrink together; a one-sided range has nothing to shrink below
        candidate = (low * cut_high, high * cut_high)
        step = (candidate[1] - candidate[0]) / steps
        clipped = np.clip(centres, *candidate)
        # rounding inside the range costs step^2 / 12 on average (uniform error)
        inside = (centres >= candidate[0]) & (centres <= candidate[1])
        error = float((weight * ((centres - clipped) ** 2 + inside * step * step / 12)).sum())
        if error < best_error:
            best, best_error = candidate, error
    return best
