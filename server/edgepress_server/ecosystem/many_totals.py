"""Totals of many devices' rows at once: one pass over all rows instead of one for each device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import HISTOGRAMS, INDEX, METRICS
from edgepress_devices.protocol import Histogram
from edgepress_server.ecosystem.totals import COUNTS, Total
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.histograms import HistogramColumn

Ints = NDArray[np.int64]
Place = tuple[str, str]  # device, artifact ("" = no model)

_COUNT_COLUMNS: Final = [INDEX[name] for name in COUNTS]
_GAUGES: Final = tuple(metric for metric in METRICS if metric.kind != "count")
_GAUGE_COLUMNS: Final = [INDEX[metric.name] for metric in _GAUGES]
_RESOLUTION: Final = np.array([metric.resolution for metric in _GAUGES])
_COVERED: Final = INDEX["covered_ms"]


@dataclass(frozen=True)
class ManyTotals:
    """Of rows that began before a moment, and of the others; gauges of each device's newest minute."""

    before: dict[Place, Total]
    since: dict[Place, Total]
    gauges: dict[Place, dict[str, float]]  # means, in the metric's unit


def many_totals(frames: Mapping[str, Frame], moment_ms: int) -> ManyTotals:
    """``frames``: device -> rows with all histograms. Devices without rows are left out."""
    there = [(device, frame) for device, frame in frames.items() if len(frame)]
    if not there:
        return ManyTotals({}, {}, {})
    names = [device for device, _ in there]
    rows = [frame for _, frame in there]
    artifacts = {code: text for frame in rows for code, text in frame.artifacts.items()}
    owner = np.repeat(np.arange(len(rows)), [len(frame) for frame in rows])
    at, artifact, sums, counts = (
        np.concatenate([getattr(frame, name) for frame in rows])
        for name in ("at", "artifact", "sums", "counts")
    )
    since = (at >= moment_ms).astype(np.int64)
    keys, group = np.unique(np.stack([owner, artifact, since], axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    totals = _totals(rows, group, len(keys), at, sums, counts)
    parts: tuple[dict[Place, Total], dict[Place, Total]] = ({}, {})
    for (number, code, side), total in zip(keys.tolist(), totals, strict=True):
        parts[side][names[number], artifacts.get(code, "")] = total
    newest = np.full(len(rows), np.iinfo(np.int64).min)
    np.maximum.at(newest, owner, at)
    gauges = {}
    for i in np.flatnonzero(at == newest[owner]).tolist():
        gauges[names[owner[i]], artifacts.get(int(artifact[i]), "")] = _means(sums[i], counts[i])
    return ManyTotals(parts[0], parts[1], gauges)


def _totals(rows: list[Frame], group: Ints, groups: int, at: Ints, sums: Ints, counts: Ints) -> list[Total]:
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    total = np.add.reduceat(sums[:, _COUNT_COLUMNS][order], first)
    known = np.add.reduceat(counts[:, _COUNT_COLUMNS][order], first)
    samples = np.add.reduceat(counts[:, _COVERED][order], first).tolist()
    last_at = np.maximum.reduceat(at[order], first).tolist()
    merged: dict[str, list[Histogram | None]] = {
        name: list(HistogramColumn.joined([frame.histograms[name] for frame in rows]).merged(group, groups))
        for name in HISTOGRAMS
    }
    return [
        Total(
            sums={
                name: value
                for name, value, count in zip(COUNTS, total[i].tolist(), known[i].tolist(), strict=True)
                if count
            },
            samples=samples[i],
            histograms={name: found for name, column in merged.items() if (found := column[i]) is not None},
            last_at=last_at[i],
        )
        for i in range(groups)
    ]


def _means(sums: Ints, counts: Ints) -> dict[str, float]:
    count = counts[_GAUGE_COLUMNS]
    means = sums[_GAUGE_COLUMNS] / np.maximum(count, 1) * _RESOLUTION
    return {
        metric.name: value
        for metric, value, n in zip(_GAUGES, means.tolist(), count.tolist(), strict=True)
        if n
    }
