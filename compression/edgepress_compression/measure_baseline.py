"""What a model's inputs and answers look like on rows that it was not trained on: artifact/baseline.py.

The model is run as devices run it, in onnxruntime; an artifact holds an ONNX file bit for bit, so what is
measured here is what is decoded there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact import looks
from edgepress_compression.artifact.baseline import (
    ANSWER_FEATURES,
    BASELINE_MAX_BYTES,
    CLASSES_MAX,
    CONFIDENCE_BINS,
    FEATURES_MAX,
    NAME_MAX_CHARS,
    QUANTILES,
    ROWS_MAX,
    Answer,
    Baseline,
    Feature,
    size_bytes,
)
from edgepress_compression.data.dataset import Split
from edgepress_compression.evaluate import BATCH_SIZE, fixed_batch, open_session, run


def measure_baseline(
    onnx_model: bytes,
    split: Split,
    *,
    threads: int = 1,
    rows_max: int = ROWS_MAX,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Baseline | None:
    """The baseline of a model on rows spread evenly over ``split``; None: there is nothing to look at.

    The same arguments give the same baseline on one kind of machine. ``progress`` gets 0..1 and may raise.
    Raises GraphError when the model does not run on the data.
    """
    rows = np.unique(np.linspace(0, len(split) - 1, min(rows_max, len(split))).astype(np.int64))
    if not len(rows):
        return None
    session = open_session(onnx_model, threads=threads)
    size = fixed_batch(session) or BATCH_SIZE
    output = session.get_outputs()[0].name
    first = split.fetch(rows[: min(size, len(rows))])
    chosen = looks.choose_looks(first, unknown=split.unknown_token)
    names = looks.feature_names(chosen, first)
    features: list[list[float]] = []
    answers: list[NDArray[Any]] = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        feed = split.fetch(part)
        features += [looks.input_features(chosen, feed, row) for row in range(len(part))]
        if len(part) < size and fixed_batch(session) is not None:
            feed = {
                name: np.concatenate([a, np.repeat(a[-1:], size - len(a), 0)]) for name, a in feed.items()
            }
        answers.append(run(session, feed)[0][: len(part)])
        progress((start + len(part)) / len(rows))
    table = np.array(features, np.float64).reshape(len(rows), -1)  # (rows, features)
    said = _features(names, table)
    answer: Answer | None = None
    whole = np.concatenate(answers)
    if len(output) <= NAME_MAX_CHARS and whole.ndim >= 1 and len(whole) == len(rows):
        form = "values" if split.decode is not None else looks.answer_form(whole)
        if form == "values":
            answer = Answer(output, "values")
            values = np.array([looks.values_features(row) for row in whole])
            said += _features(list(ANSWER_FEATURES), values)
        else:
            shares = np.array([looks.class_shares(form, row) for row in whole])  # (rows, classes)
            answer = _classes(output, form, shares)
    return _fitting(
        Baseline(rows=len(rows), looks=chosen, features=tuple(said[:FEATURES_MAX]), answer=answer)
    )


def bin_edges(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Edges of at most 22 bins over samples of one feature: its tenths, rounded to what their spread needs.

    Edges lie in the middle between neighbouring values: rounding of another processor moves no sample.
    """
    distinct, times = np.unique(values[np.isfinite(values)], return_counts=True)
    if not len(distinct):
        return ()
    until = np.cumsum(times)
    tenths = np.searchsorted(until, until[-1] * np.arange(1, QUANTILES) / QUANTILES)
    frequent = np.flatnonzero(times * QUANTILES >= until[-1])  # such a value has a bin of its own
    cuts = np.unique(np.concatenate([tenths, frequent, frequent - 1]))
    cuts = cuts[(cuts >= 0) & (cuts < len(distinct) - 1)]
    edges = ((distinct[cuts] + distinct[cuts + 1]) / 2).tolist()
    ends = [0, *(cuts + 1).tolist(), len(distinct)]
    if ends[1] - ends[0] == 1:  # one value alone: what is less has not been seen
        edges.insert(0, float(distinct[0]) - _margin(distinct, 0))
    if ends[-1] - ends[-2] == 1:
        edges.append(float(distinct[-1]) + _margin(distinct, -1))
    spread = (max(edges) - min(edges)) or abs(edges[0]) or 1.0
    digits = 3 - math.floor(math.log10(spread))
    return tuple(dict.fromkeys(round(edge, digits) + 0.0 for edge in edges))


def _margin(distinct: NDArray[np.float64], end: int) -> float:
    """Half of the way to the next value would be; a hundredth of a value that is alone."""
    if len(distinct) > 1:
        return float(distinct[1] - distinct[0] if end == 0 else distinct[-1] - distinct[-2]) / 2
    return max(abs(float(distinct[0])) * 0.01, 1e-3)


def _features(names: list[str], table: NDArray[np.float64]) -> list[Feature]:
    """Of a table (rows, features); what is never a number is left out."""
    found = []
    for name, values in zip(names, table.T, strict=True):
        edges = bin_edges(values)
        if edges and len(name) <= NAME_MAX_CHARS and max(abs(edge) for edge in edges) < 1e15:
            found.append(Feature(name, edges, tuple(bin_counts(edges, values).tolist())))
        else:
            found.append(Feature(name[:NAME_MAX_CHARS], (), (len(values),)))
    return found


def bin_counts(edges: tuple[float, ...], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(edges + 1,): how many values lie in which bin."""
    bins = np.searchsorted(np.array(edges), values, side="left")
    counts: NDArray[np.int64] = np.bincount(bins, minlength=len(edges) + 1).astype(np.int64)
    return counts


def _classes(output: str, form: Any, shares: NDArray[np.float64]) -> Answer:
    classes = shares.shape[1]
    labels = np.bincount(shares.argmax(axis=1), minlength=classes)
    confidence = confidence_counts(shares.max(axis=1))
    return Answer(
        output, form, tuple(labels.tolist()) if classes <= CLASSES_MAX else (), tuple(confidence.tolist())
    )


def confidence_counts(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """(20,): bins of equal width over 0..1; what is no number counts as no confidence."""
    bins = np.clip(np.nan_to_num(confidence) * CONFIDENCE_BINS, 0, CONFIDENCE_BINS - 1).astype(np.int64)
    counts: NDArray[np.int64] = np.bincount(bins, minlength=CONFIDENCE_BINS).astype(np.int64)
    return counts


def _fitting(baseline: Baseline) -> Baseline | None:
    """As much of it as a header takes: the last features go first."""
    while size_bytes(baseline) > BASELINE_MAX_BYTES and baseline.features:
        baseline = msgspec.structs.replace(baseline, features=baseline.features[:-1])
    if size_bytes(baseline) > BASELINE_MAX_BYTES and baseline.answer is not None:
        baseline = msgspec.structs.replace(
            baseline, answer=msgspec.structs.replace(baseline.answer, classes=())
        )
    return baseline if baseline.features or baseline.answer is not None else None
