"""The read side of the series: frames of any series and time, newest samples, samples for export. Read only.

Raw samples, minutes and hours come from sealed blocks and from what is not sealed yet; rows of one minute
that lie in several places are added.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, Literal

import msgspec
import numpy as np

from edgepress_devices.metrics import INDEX, METRICS
from edgepress_devices.protocol import ErrorKinds, Reading, Sample
from edgepress_server.errors import StoreError
from edgepress_server.store.database import Database
from edgepress_server.store.series.block import BlockError
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import SeriesIds, SeriesKey
from edgepress_server.store.series.rows import from_stored
from edgepress_server.store.series.seal import HOUR_MS, MINUTE_MS, RAW_KEPT_MS, SEAL_MS
from edgepress_server.store.series.sealed import open_rollup, open_samples
from edgepress_server.store.series.table import ABSENT, NAMES, SampleTable, from_hot
from edgepress_server.store.series.tables import HOURS, MINUTES, RAW, SeriesTables
from edgepress_server.store.series.texts import Texts

log = logging.getLogger(__name__)

Span = Literal["raw", "minute", "hour"]
RAW_RANGE_MS: Final = HOUR_MS
MINUTES_RANGE_MS: Final = 2 * 24 * HOUR_MS
EXPORT_WINDOW_MS: Final = SEAL_MS
AT_A_TIME: Final = 500  # series whose blocks are in memory together


class Clock(msgspec.Struct, frozen=True):
    """A device whose clock is wrong: its times are corrected by ``offset_ms``."""

    device: str
    offset_ms: int
    since_at: int
    seen_at: int


class SeriesRead:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables = SeriesTables(database)
        self._ids = SeriesIds(database)
        self._texts = Texts(database)

    # --- frames -------------------------------------------------------------------------------------------

    def span(self, from_ms: int, to_ms: int) -> Span:
        """The finest that a range deserves."""
        if to_ms - from_ms <= RAW_RANGE_MS and from_ms >= self._database.now_ms() - RAW_KEPT_MS:
            return "raw"
        return "minute" if to_ms - from_ms <= MINUTES_RANGE_MS else "hour"

    def frame(
        self,
        key: SeriesKey,
        from_ms: int,
        to_ms: int,
        *,
        span: Span | None = None,
        histograms: Collection[str] = (),
    ) -> Frame:
        """Rows that begin in this time; empty where there are none. Groups have no raw samples: minutes then.

        Raises StoreError.
        """
        return self.frames([key], from_ms, to_ms, span=span, histograms=histograms)[key]

    def frames(
        self,
        keys: Iterable[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: Span | None = None,
        histograms: Collection[str] = (),
    ) -> dict[SeriesKey, Frame]:
        """`frame` of many; those without rows are empty. Raises StoreError."""
        keys = list(dict.fromkeys(keys))
        span = span or self.span(from_ms, to_ms)
        if span == "raw" and any(key.kind != "device" for key in keys):
            span = "minute"
        span_ms = {"raw": 0, "minute": MINUTE_MS, "hour": HOUR_MS}[span]
        empty = Frame.empty(span_ms, list(histograms))
        found: dict[SeriesKey, Frame] = dict.fromkeys(keys, empty)
        codes: set[int] = set()
        with self._database.snapshot():
            ids = self._ids.find(keys)
            names = {number: key for key, number in ids.items()}
            for first in range(0, len(ids), AT_A_TIME):
                some = list(names)[first : first + AT_A_TIME]
                frames = (
                    self._raw(some, from_ms, to_ms, histograms)
                    if span == "raw"
                    else self._rollups(some, from_ms, to_ms, span_ms, histograms)
                )
                for number, frame in frames.items():
                    found[names[number]] = frame
                    codes.update(np.unique(frame.artifact).tolist())
            artifacts = self._texts.names(codes)
        return {key: _named(frame, artifacts) for key, frame in found.items()}

    def _raw(
        self, series: Sequence[int], from_ms: int, to_ms: int, histograms: Collection[str]
    ) -> dict[int, Frame]:
        return {
            number: self._samples(number, from_ms, to_ms).frame(histograms=tuple(histograms))
            for number in series
        }

    def _samples(self, series: int, from_ms: int, to_ms: int) -> SampleTable:
        tables = []
        for row in self._tables.blocks([series], RAW, from_ms, to_ms):
            try:
                tables.append(open_samples(row["block"]))
            except BlockError as error:
                raise _damaged(row, error) from error
        hot = self._tables.hot(series, from_ms, to_ms)
        if hot:
            tables.append(from_hot(hot))
        table = SampleTable.joined(tables).in_time()
        first, last = np.searchsorted(table.at, [from_ms, to_ms])
        return table.take(np.arange(first, last))

    def _rollups(
        self, series: Sequence[int], from_ms: int, to_ms: int, span_ms: int, histograms: Collection[str]
    ) -> dict[int, Frame]:
        tier = MINUTES if span_ms == MINUTE_MS else HOURS
        first_ms = from_ms // span_ms * span_ms
        parts: dict[int, list[Frame]] = {}
        rows = self._tables.blocks(series, tier, first_ms, to_ms)
        for number, blocks in groupby(rows, key=lambda row: int(row["series"])):
            for row in blocks:
                try:
                    frame = open_rollup(row["block"], span_ms, histograms)
                except BlockError as error:
                    raise _damaged(row, error) from error
                parts.setdefault(number, []).append(frame)
        last_ms = -(-to_ms // span_ms) * span_ms  # an hour that begins before ``to`` is told whole
        open_rows = self._tables.open_rows(series, first_ms, last_ms)
        for number, mine in groupby(open_rows, key=lambda row: int(row["series"])):
            minutes = from_stored(list(mine)).frame
            columns = {name: minutes.histograms[name] for name in histograms}
            parts.setdefault(number, []).append(
                Frame(
                    minutes.at // span_ms * span_ms,
                    span_ms,
                    minutes.artifact,
                    minutes.sums,
                    minutes.least,
                    minutes.most,
                    minutes.counts,
                    columns,
                )
            )
        return {
            number: Frame.merged(frames).between(first_ms, to_ms).steps(span_ms, by_artifact=True)
            for number, frames in parts.items()
        }

    # --- newest -------------------------------------------------------------------------------------------

    def latest(self) -> dict[str, Sample]:
        """Device -> its newest sample."""
        rows = self._database.rows("SELECT device, sample FROM latest")
        return {row["device"]: _sample.decode(row["sample"]) for row in rows}

    def latest_of(self, device: str) -> Sample | None:
        row = self._database.row("SELECT sample FROM latest WHERE device = ?", (device,))
        return None if row is None else _sample.decode(row["sample"])

    def heard_at(self) -> dict[str, int]:
        """Device -> when its newest sample was received, Unix ms."""
        rows = self._database.rows("SELECT device, received_at FROM latest")
        return {row["device"]: row["received_at"] for row in rows}

    def methods(self, device: str) -> dict[str, str]:
        """power_mw, energy_mj -> where the newest figure came from."""
        return {
            name: f"{how} ({scope})" for name, (how, scope) in self.readings([device]).get(device, {}).items()
        }

    def readings(self, devices: Sequence[str]) -> dict[str, dict[str, tuple[str, str]]]:
        """Device -> power_mw, energy_mj -> (method, scope) of the newest figure."""
        rows = self._tables.methods(devices)
        return {
            name: {
                metric: (method, scope)
                for metric, code in (("power_mw", power), ("energy_mj", energy))
                if code
                for method, _, scope in [self._texts.name(code).partition("|")]
            }
            for name, power, energy in rows
        }

    def clocks(self) -> dict[str, Clock]:
        """Devices whose clock is wrong."""
        rows = self._database.rows("SELECT device, offset_ms, since_at, seen_at FROM clocks")
        return {row["device"]: Clock(**dict(row)) for row in rows}

    def labels(self) -> list[str]:
        """ "key=value" of every label whose devices are added up as a series."""
        return self._ids.labels()

    # --- export -------------------------------------------------------------------------------------------

    def export(self, device: str | None, from_ms: int, to_ms: int) -> Iterator[tuple[str, Sample]]:
        """(device, sample), by device and time; a window at a time, so that a slow reader holds little."""
        where = "kind = 'device' AND (? IS NULL OR name = ?)"
        devices = self._database.rows(
            f"SELECT id, name FROM series WHERE {where} ORDER BY name",  # noqa: S608 - a constant
            (device, device),
        )
        now = self._database.now_ms()
        from_ms = max(from_ms, now - RAW_KEPT_MS - 2 * SEAL_MS)
        to_ms = min(to_ms, now + SEAL_MS)  # what comes from later than now is moved to now
        for row in devices:
            for first_ms in range(from_ms, to_ms, EXPORT_WINDOW_MS):
                last_ms = min(first_ms + EXPORT_WINDOW_MS, to_ms)
                with self._database.snapshot():
                    table = self._samples(row["id"], first_ms, last_ms)
                    texts = self._texts.names(
                        {*table.artifact.tolist(), *table.power_how.tolist(), *table.energy_how.tolist()}
                    )
                for sample in samples_of(table, texts):
                    yield row["name"], sample


def samples_of(table: SampleTable, texts: dict[int, str]) -> Iterator[Sample]:
    """Samples as the wire has them, values in the resolution that is kept."""
    columns = {name: list(column) for name, column in table.histograms.items()}
    values = table.values.tolist()
    for i, (at, artifact, power, energy) in enumerate(
        zip(
            table.at.tolist(),
            table.artifact.tolist(),
            table.power_how.tolist(),
            table.energy_how.tolist(),
            strict=True,
        )
    ):
        sample = Sample(at_ms=at, interval_ms=int(_number(values[i], "covered_ms") or 0))
        sample.artifact = texts[artifact] or None
        for name in _FIELDS:
            setattr(sample, name, _number(values[i], name))
        for name in _FLAGS:
            flag = _number(values[i], name)
            setattr(sample, name, None if flag is None else bool(flag))
        sample.inferences = sample.inferences or 0
        sample.errors = sample.errors or 0
        kinds = [_number(values[i], f"errors_{kind}") for kind in ErrorKinds.__struct_fields__]
        if any(kind is not None for kind in kinds):
            sample.error_kinds = ErrorKinds(*(int(kind or 0) for kind in kinds))
        for name, how in (("power_mw", power), ("energy_mj", energy)):
            value = _number(values[i], name)
            if value is not None:
                method, _, scope = texts[how].partition("|")
                setattr(sample, name, Reading(value, method, scope))
        for name in NAMES:
            if name in columns:
                setattr(sample, name, columns[name][i])
        yield sample


def _number(values: Sequence[int], name: str) -> float | int | None:
    i = INDEX[name]
    if values[i] == ABSENT:
        return None
    resolution = METRICS[i].resolution
    return int(values[i] * resolution) if resolution >= 1 else round(values[i] * resolution, 6)


def _named(frame: Frame, artifacts: dict[int, str]) -> Frame:
    return frame if not len(frame) else frame.named(artifacts)


def _damaged(row: sqlite3.Row, error: BlockError) -> StoreError:
    return StoreError(
        "store_damaged",
        f"Block {row['id']} of the telemetry cannot be read ({error}). Stop the server and put a back-up of "
        "the store in its place.",
    )


_sample = msgspec.json.Decoder(Sample)
_FLAGS: Final = [metric.name for metric in METRICS if metric.kind == "flag"]
_FIELDS: Final = [
    metric.name
    for metric in METRICS
    if metric.name in Sample.__struct_fields__
    and metric.kind != "flag"
    and metric.name not in ("power_mw", "energy_mj")
]
