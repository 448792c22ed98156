"""Sealed blocks: many rows of one series as few bytes, and back.

::

    zstd of:
        version u8 = 1, kind u8 (0 samples, 1 rollup), histograms u8 (bit i: the i-th is there), mask u64
        table      `block.pack`, see `_sample_columns`, `_rollup_columns`
        counts     `block.pack` of one column, for each histogram

A rollup keeps least and most of gauges as distances from the mean, and how many samples a value had as how
many it lacked: both are mostly small. Least and most of counts and flags are not kept.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from edgepress_devices.metrics import INDEX, METRICS
from edgepress_server.store.series.block import BlockError, pack, unpack
from edgepress_server.store.series.frame import NO_LEAST, NO_MOST, WIDTH, Frame
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.store.series.table import ABSENT, NAMES, SampleTable

Ints = NDArray[np.int64]

VERSION: Final = 1
SAMPLES: Final = 0
ROLLUP: Final = 1
BLOCK_MAX_BYTES: Final = 1 << 28  # unpacked: what a damaged head may ask for
_HEAD: Final = struct.Struct("<BBBQ")
_LEVEL: Final = 3
_GAUGES: Final = np.array([metric.kind == "gauge" for metric in METRICS])
_COVERED: Final = INDEX["covered_ms"]
_HISTOGRAM_COLUMNS: Final = 4  # scale, offset, length, zeros


def seal_samples(table: SampleTable) -> bytes:
    """Samples of one series, ascending."""
    present = table.values != ABSENT
    used = present.any(axis=0)
    there = present[:, used]
    # In gaps the least value stands: it costs nothing, and ``there`` says that it is none.
    values = np.where(
        there, table.values[:, used], np.where(there, table.values[:, used], NO_LEAST).min(axis=0)
    )
    columns = [
        np.stack([table.at, table.artifact, table.power_how, table.energy_how], axis=1),
        values,
        there.astype(np.int64),
    ]
    return _sealed(SAMPLES, used, columns, table.histograms)


def open_samples(data: bytes) -> SampleTable:
    """Raises BlockError."""
    used, table, histograms = _opened(data, SAMPLES, 4, 2)
    count = int(used.sum())
    values = np.full((len(table), WIDTH), ABSENT)
    mine = table[:, 4 : 4 + count]
    values[:, used] = np.where(table[:, 4 + count :] != 0, mine, ABSENT)
    return SampleTable(table[:, 0], table[:, 1], table[:, 2], table[:, 3], values, histograms)


def seal_rollup(frame: Frame) -> bytes:
    """Minutes or hours of one series, ascending."""
    used: NDArray[np.bool_] = np.array((frame.counts > 0).any(axis=0))
    used[_COVERED] = True
    sums, counts = frame.sums[:, used], frame.counts[:, used]
    rows = frame.counts[:, _COVERED]
    gauges = used & _GAUGES
    mean = frame.sums[:, gauges] // np.maximum(frame.counts[:, gauges], 1)
    none = frame.counts[:, gauges] == 0
    below = np.where(none, 0, mean - np.where(none, 0, frame.least[:, gauges]))
    above = np.where(none, 0, np.where(none, 0, frame.most[:, gauges]) - mean)
    columns = [
        np.stack([frame.at // frame.span_ms, frame.artifact, rows], axis=1),
        sums,
        rows[:, None] - counts,
        below,
        above,
    ]
    return _sealed(ROLLUP, used, columns, frame.histograms)


def open_rollup(data: bytes, span_ms: int, histograms: Collection[str] = NAMES) -> Frame:
    """``artifacts`` of the frame is empty: the caller knows the codes. Raises BlockError."""
    used, table, found = _opened(data, ROLLUP, 3, None, histograms)
    gauges = used & _GAUGES
    n, count, extra = len(table), int(used.sum()), int(gauges.sum())
    rows = table[:, 2]
    sums = np.zeros((n, WIDTH), np.int64)
    counts = np.zeros((n, WIDTH), np.int64)
    least = np.full((n, WIDTH), NO_LEAST)
    most = np.full((n, WIDTH), NO_MOST)
    sums[:, used] = table[:, 3 : 3 + count]
    counts[:, used] = rows[:, None] - table[:, 3 + count : 3 + 2 * count]
    mean = sums[:, gauges] // np.maximum(counts[:, gauges], 1)
    none = counts[:, gauges] == 0
    below = table[:, 3 + 2 * count : 3 + 2 * count + extra]
    above = table[:, 3 + 2 * count + extra :]
    least[:, gauges] = np.where(none, NO_LEAST, mean - below)
    most[:, gauges] = np.where(none, NO_MOST, mean + above)
    columns = {name: found.get(name) or HistogramColumn.empty(n) for name in histograms}
    return Frame(table[:, 0] * span_ms, span_ms, table[:, 1], sums, least, most, counts, columns)


def _sealed(
    kind: int, used: NDArray[np.bool_], columns: Sequence[Ints], histograms: Mapping[str, HistogramColumn]
) -> bytes:
    there = {name: column for name, column in histograms.items() if not column.is_empty}
    names = [name for name in NAMES if name in there]
    heads = [
        np.stack([c.scale, c.offset, c.length, c.zeros], axis=1) for c in (there[name] for name in names)
    ]
    bits = sum(1 << NAMES.index(name) for name in names)
    mask = int(used @ (1 << np.arange(WIDTH, dtype=np.int64)))
    parts = [_HEAD.pack(VERSION, kind, bits, mask), pack(np.concatenate([*columns, *heads], axis=1))]
    parts += [pack(there[name].counts[:, None]) for name in names]
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(b"".join(parts))


def _opened(
    data: bytes, kind: int, plain: int, times: int | None, wanted: Collection[str] = NAMES
) -> tuple[NDArray[np.bool_], Ints, dict[str, HistogramColumn]]:
    """(metrics that are there, table without the histograms' columns, histograms)."""
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size > BLOCK_MAX_BYTES:
            raise BlockError(f"{size} bytes")
        body = zstandard.ZstdDecompressor().decompress(data, max_output_size=BLOCK_MAX_BYTES)
    except zstandard.ZstdError as error:
        raise BlockError(str(error)) from error
    if len(body) < _HEAD.size:
        raise BlockError("it ends in its head")
    version, found_kind, bits, mask = _HEAD.unpack_from(body)
    if (version, found_kind) != (VERSION, kind):
        raise BlockError(f"version {version}, kind {found_kind}")
    used = np.array([mask >> i & 1 for i in range(WIDTH)], bool)
    names = [name for i, name in enumerate(NAMES) if bits >> i & 1]
    table, at = unpack(body, _HEAD.size)
    count = int(used.sum())
    extra = int((used & _GAUGES).sum())
    own = plain + (2 * count if times is not None else 2 * count + 2 * extra)
    if table.shape[1] != own + _HISTOGRAM_COLUMNS * len(names):
        raise BlockError(f"{table.shape[1]} columns")
    histograms = {}
    for i, name in enumerate(names):
        flat, at = unpack(body, at)
        if name not in wanted:
            continue
        scale, offset, length, zeros = table[:, own + _HISTOGRAM_COLUMNS * i :].T[:_HISTOGRAM_COLUMNS]
        if flat.shape[1] != 1 or int(length.sum()) != len(flat) or (length < 0).any():
            raise BlockError("buckets do not fit their histograms")
        histograms[name] = HistogramColumn(scale, offset, length, zeros, flat[:, 0])
    return used, table[:, :own], histograms
