"""Raw samples as arrays, one row each: from the wire, to and from hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import HISTOGRAMS
from edgepress_server.store.series.frame import NO_LEAST, NO_MOST, WIDTH, Frame
from edgepress_server.store.series.histograms import HistogramColumn, ranges

Ints = NDArray[np.int64]

ABSENT: Final = np.iinfo(np.int64).min  # in ``values``: the board could not tell
NAMES: Final = tuple(HISTOGRAMS)
_PLAIN: Final = 3  # columns of a hot row beside the values: artifact, power_how, energy_how
_HEAD: Final = np.dtype(
    [("row", "<u4"), ("which", "u1"), ("scale", "i1"), ("length", "<u2"), ("offset", "<i4"), ("zeros", "<u8")]
)


@dataclass(frozen=True)
class SampleTable:
    """n samples. ``power_how`` and ``energy_how`` are codes of "method|scope"."""

    at: Ints  # [n] Unix ms
    artifact: Ints  # [n] codes
    power_how: Ints  # [n]
    energy_how: Ints  # [n]
    values: Ints  # [n, WIDTH] in steps of the metric's resolution, or ABSENT
    histograms: dict[str, HistogramColumn]

    def __len__(self) -> int:
        return len(self.at)

    def take(self, rows: NDArray[np.intp]) -> SampleTable:
        return SampleTable(
            self.at[rows],
            self.artifact[rows],
            self.power_how[rows],
            self.energy_how[rows],
            self.values[rows],
            {name: column.take(rows) for name, column in self.histograms.items()},
        )

    def in_time(self) -> SampleTable:
        """Ascending."""
        if (np.diff(self.at) >= 0).all():
            return self
        return self.take(np.argsort(self.at, kind="stable"))

    @staticmethod
    def joined(tables: Sequence[SampleTable]) -> SampleTable:
        if len(tables) == 1:
            return tables[0]
        if not tables:
            return empty()
        names = {name for table in tables for name in table.histograms}
        at, artifact, power_how, energy_how, values = (
            np.concatenate([getattr(table, name) for table in tables])
            for name in ("at", "artifact", "power_how", "energy_how", "values")
        )
        return SampleTable(
            at,
            artifact,
            power_how,
            energy_how,
            values,
            {
                name: HistogramColumn.joined(
                    [table.histograms.get(name) or HistogramColumn.empty(len(table)) for table in tables]
                )
                for name in names
            },
        )

    def frame(self, artifacts: dict[int, str] | None = None, histograms: Sequence[str] = NAMES) -> Frame:
        """Each sample as a row; ``span_ms`` 0."""
        there = self.values != ABSENT
        return Frame(
            self.at,
            0,
            self.artifact,
            np.where(there, self.values, 0),
            np.where(there, self.values, NO_LEAST),
            np.where(there, self.values, NO_MOST),
            there.astype(np.int64),
            {name: self.histograms.get(name) or HistogramColumn.empty(len(self)) for name in histograms},
            artifacts or {},
        )


def empty() -> SampleTable:
    none = np.zeros(0, np.int64)
    return SampleTable(none, none, none, none, np.zeros((0, WIDTH), np.int64), {})


# --- hot rows: a few samples of one device as they came, quick to write ------------------------------------


class HotRow(NamedTuple):
    """``mask``: bit i set = metric i is there. ``width``: bytes of a cell, 4 or 8. ``wide``: of a count."""

    first_at: int
    last_at: int
    rows: int
    mask: int
    width: int
    cells: bytes  # [rows, 1 + 3 + metrics] at - first_at, artifact, power_how, energy_how, values
    heads: bytes  # of the histograms that are there
    wide: int
    counts: bytes


def hot_rows(table: SampleTable, first: Ints) -> list[HotRow]:
    """The i-th hot row: rows first[i] to first[i + 1] - 1 of the table, one device's, ascending in time.

    All have one form, that of the whole table: to be written quickly counts more than bytes that live for
    minutes.
    """
    if len(first) == 0:
        return []
    last = np.append(first[1:], len(table))
    there = (table.values != ABSENT).any(axis=0)
    plain = [table.at - np.repeat(table.at[first], last - first)]
    plain += [table.artifact, table.power_how, table.energy_how]
    cells = np.concatenate([np.stack(plain, axis=1), table.values[:, there]], axis=1)
    absent = cells == ABSENT
    width = 4 if bool((np.abs(np.where(absent, 0, cells)) < 2**31 - 1).all()) else 8
    if width == 4:
        cells = np.where(absent, np.iinfo(np.int32).min, cells)
    heads, flat = _heads(table)
    block = np.searchsorted(first, heads["row"], side="right") - 1
    blocks = np.arange(len(first))
    head_first, head_last = np.searchsorted(block, blocks), np.searchsorted(block, blocks, side="right")
    ends = np.concatenate([[0], np.cumsum(heads["length"].astype(np.int64))])
    heads["row"] -= first[block].astype(np.uint32)
    wide = 2 if len(flat) == 0 or int(flat.max()) < 2**16 else 8
    row_bytes, head_bytes = width * cells.shape[1], _HEAD.itemsize
    all_cells, all_heads = cells.astype(f"<i{width}").tobytes(), heads.tobytes()
    all_counts = flat.astype(f"<u{wide}").tobytes()
    mask = int(there @ (1 << np.arange(WIDTH, dtype=np.int64)))
    return [
        HotRow(
            first_at,
            last_at,
            b - a,
            mask,
            width,
            all_cells[a * row_bytes : b * row_bytes],
            all_heads[c * head_bytes : d * head_bytes],
            wide,
            all_counts[e * wide : f * wide],
        )
        for a, b, first_at, last_at, c, d, e, f in zip(
            first.tolist(),
            last.tolist(),
            table.at[first].tolist(),
            table.at[last - 1].tolist(),
            head_first.tolist(),
            head_last.tolist(),
            ends[head_first].tolist(),
            ends[head_last].tolist(),
            strict=True,
        )
    ]


def _heads(table: SampleTable) -> tuple[NDArray[np.void], Ints]:
    """(heads by row, their counts one after the other)."""
    parts, starts, flats, base = [], [], [], 0
    for name, column in table.histograms.items():
        rows = np.flatnonzero((column.length > 0) | (column.zeros > 0))
        part = np.zeros(len(rows), _HEAD)
        part["row"], part["which"] = rows, NAMES.index(name)
        part["scale"], part["length"] = column.scale[rows], column.length[rows]
        part["offset"], part["zeros"] = column.offset[rows], column.zeros[rows]
        parts.append(part)
        starts.append(column.start[rows] + base)
        flats.append(column.counts)
        base += len(column.counts)
    if not parts:
        return np.zeros(0, _HEAD), np.zeros(0, np.int64)
    heads, start, flat = np.concatenate(parts), np.concatenate(starts), np.concatenate(flats)
    order = np.lexsort((heads["which"], heads["row"]))
    heads, start = heads[order], start[order]
    return heads, flat[ranges(start, heads["length"].astype(np.int64))]


def from_hot(rows: Sequence[HotRow]) -> SampleTable:
    """All of them as one table, in the order given."""
    tables = []
    start = 0
    while start < len(rows):  # neighbours of one form are read together
        end = start + 1
        form = (rows[start].mask, rows[start].width, rows[start].wide)
        while end < len(rows) and (rows[end].mask, rows[end].width, rows[end].wide) == form:
            end += 1
        tables.append(_of_one_form(rows[start:end]))
        start = end
    return SampleTable.joined(tables)


def _of_one_form(rows: Sequence[HotRow]) -> SampleTable:
    mask, width, wide = rows[0].mask, rows[0].width, rows[0].wide
    there = np.array([mask >> i & 1 for i in range(WIDTH)], bool)
    counts = np.array([row.rows for row in rows], np.int64)
    cells = np.frombuffer(b"".join([row.cells for row in rows]), f"<i{width}").reshape(
        int(counts.sum()), 1 + _PLAIN + int(there.sum())
    )
    whole = cells.astype(np.int64)
    if width == 4:
        whole[whole == np.iinfo(np.int32).min] = ABSENT
    values = np.full((len(whole), WIDTH), ABSENT)
    values[:, there] = whole[:, 1 + _PLAIN :]
    at = whole[:, 0] + np.repeat(np.array([row.first_at for row in rows], np.int64), counts)
    heads = np.frombuffer(b"".join([row.heads for row in rows]), _HEAD)
    flat = np.frombuffer(b"".join([row.counts for row in rows]), f"<u{wide}").astype(np.int64)
    base = np.repeat(np.cumsum(counts) - counts, [len(row.heads) // _HEAD.itemsize for row in rows])
    return SampleTable(
        at, whole[:, 1], whole[:, 2], whole[:, 3], values, _columns(heads, heads["row"] + base, flat, len(at))
    )


def _columns(heads: NDArray[np.void], row: Ints, flat: Ints, n: int) -> dict[str, HistogramColumn]:
    length = heads["length"].astype(np.int64)
    start = np.cumsum(length) - length
    found = {}
    for which in np.unique(heads["which"]).tolist():
        mine = np.flatnonzero(heads["which"] == which)
        mine = mine[np.argsort(row[mine], kind="stable")]
        column = HistogramColumn.empty(n)
        scale, offset, lengths, zeros = (
            np.array(each) for each in (column.scale, column.offset, column.length, column.zeros)
        )
        where = row[mine]
        scale[where], offset[where] = heads["scale"][mine], heads["offset"][mine]
        lengths[where], zeros[where] = length[mine], heads["zeros"][mine]
        places = ranges(start[mine], length[mine])
        found[NAMES[which]] = HistogramColumn(scale, offset, lengths, zeros, flat[places])
    return found
