"""Answers questions about telemetry.

A question about everything reads the rows that the store merges live for the fleet, each profile and each
artifact. Any other reads the rows of the devices it is about, in parts, and merges them: see `cells`.

A device counts in the group that it is in now (profile, labels); rows merged live are of the profile that the
device had when it sent them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import HISTOGRAMS
from edgepress_server.rollout.query import Subject
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import FLEET, SeriesKey
from edgepress_server.telemetry_query import measures
from edgepress_server.telemetry_query.cells import Cells
from edgepress_server.telemetry_query.directory import Directory, Fleet
from edgepress_server.telemetry_query.plan import MINUTE_MS, SECOND_MS, TIER_MS, Plan, plan
from edgepress_server.telemetry_query.query import Query, Result, Series
from edgepress_server.telemetry_query.source import Source

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PART_ROWS: Final = 50_000  # read and merged at a time: some 60 MB of all columns
PART_SERIES: Final = 500
LIVE_LABELS_FROM: Final = (
    200  # devices: of fewer, their own rows are as quick and follow a changed label at once
)


@dataclass(frozen=True)
class _Member:
    """A series to read and the group its rows go to; None: the artifact of each row says."""

    key: SeriesKey
    group: int | None


@dataclass(frozen=True)
class _Groups:
    names: list[str]
    members: list[_Member]
    live: bool  # rows of groups, which do not tell how many devices they are of
    left_out: int = 0
    left_out_devices: int = 0
    devices: int = 0  # that the question is about


@dataclass(frozen=True)
class _Merged:
    cells: Cells  # keys: group * steps + step
    names: list[str]  # of the groups
    devices: Counter[int]  # group -> series that had rows


class Engine:
    """Safe to share between threads: it keeps nothing between questions."""

    def __init__(self, source: Source, directory: Directory, now_ms: Callable[[], int]) -> None:
        self._source = source
        self._directory = directory
        self._now_ms = now_ms

    def plan(self, query: Query) -> Plan:
        """Which rows it reads, and the steps that it is answered in. Raises InvalidInputError."""
        fleet = self._directory.fleet()
        live = self._is_live(query, fleet)
        series = 1 if live else len(fleet.where(query.where))
        return plan(
            query.from_ms,
            query.to_ms,
            query.step_ms,
            now_ms=self._now_ms(),
            series=series,
            grouped=live,
            # Within a second a device counts nothing, or all of its interval
            least_ms=MINUTE_MS if query.aggregate == "throughput" else SECOND_MS,
        )

    def ask(self, query: Query) -> Result:
        """Raises InvalidInputError: the target query, an unknown artifact or model, the range."""
        made = self.plan(query)
        fleet = self._directory.fleet()
        wanted = self._artifacts(query, fleet)
        groups = self._groups(query, fleet, wanted, made)
        merged = self._merge(query, made, groups, wanted)
        return self._result(query, made, groups, merged, fleet)

    # --- which series ---------------------------------------------------------------------------------

    def _is_live(self, query: Query, fleet: Fleet) -> bool:
        """Whether groups that the store merges live answer it."""
        whole = not query.artifact and not query.model
        if query.where or query.group_by == "device":
            return False
        if query.group_by.startswith("label:"):
            key = query.group_by.removeprefix("label:")
            everyone = len(fleet.devices) >= LIVE_LABELS_FROM and fleet.has_all(key)
            return whole and everyone and fleet.is_live(key)
        return whole or query.group_by != "profile"

    def _artifacts(self, query: Query, fleet: Fleet) -> list[str] | None:
        """Digests whose rows count; None: all rows."""
        if query.artifact:
            return [fleet.artifact(query.artifact)]
        return fleet.artifacts_of(query.model) if query.model else None

    def _groups(self, query: Query, fleet: Fleet, wanted: list[str] | None, made: Plan) -> _Groups:
        by_artifact = query.group_by in ("artifact", "model")
        if self._is_live(query, fleet):
            return _live_groups(query, fleet, wanted)
        devices = fleet.where(query.where)
        if by_artifact:
            members = [_Member(SeriesKey("device", device.name), None) for device in devices]
            return _Groups([], members, live=False, devices=len(devices))
        if query.group_by == "device" and len(devices) > query.limit:
            kept = self._highest(query, made, devices, wanted)
            out = len(devices) - len(kept)
            return _of_devices(kept, lambda device: device.name, out, out, len(devices))
        group_of = _group_of(query.group_by)
        counted = Counter(group_of(device) for device in devices)
        largest = sorted(counted, key=lambda name: (-counted[name], name))[: query.limit]
        kept_names = set(largest)
        kept = [device for device in devices if group_of(device) in kept_names]
        return _of_devices(
            kept, group_of, len(counted) - len(kept_names), len(devices) - len(kept), len(devices)
        )

    def _highest(
        self, query: Query, made: Plan, devices: Sequence[Subject], wanted: list[str] | None
    ) -> Sequence[Subject]:
        """Of too many devices those whose figure is highest."""
        groups = _of_devices(devices, lambda device: device.name, 0, 0, len(devices))
        whole = Plan(made.tier, made.from_ms, made.to_ms, made.to_ms - made.from_ms)
        merged = self._merge(query, whole, groups, wanted)
        clock_ms = np.full(len(merged.cells), whole.step_ms, np.int64)
        figures = measures.values(merged.cells, query.metric, query.aggregate, clock_ms)
        order = np.lexsort((merged.cells.key, -np.nan_to_num(figures, nan=-np.inf)))
        names = [merged.names[merged.cells.key[i]] for i in order[: query.limit]]
        by_name = {device.name: device for device in devices}
        return [by_name[name] for name in names]

    # --- rows -----------------------------------------------------------------------------------------

    def _merge(self, query: Query, made: Plan, groups: _Groups, wanted: list[str] | None) -> _Merged:
        histograms = (query.metric,) if query.metric in HISTOGRAMS else ()
        metrics = measures.columns(query.metric, query.aggregate)
        names = list(groups.names)
        index = {name: i for i, name in enumerate(names)}
        fleet = self._directory.fleet()
        devices: Counter[int] = Counter()
        parts: list[Cells] = [
            Cells.of(Frame.empty(made.step_ms, histograms), np.zeros(0, np.int64), metrics, histograms)
        ]
        filtered = wanted is not None and not groups.live
        for part in _parts(groups.members, made):
            found = self._source.frames(
                [member.key for member in part],
                made.from_ms,
                made.to_ms,
                span=made.tier,
                histograms=histograms,
            )
            pieces = []
            for member in part:
                frame = found[member.key]
                if filtered and wanted is not None:
                    codes = [code for code, name in frame.artifacts.items() if name in wanted]
                    frame = frame.take(np.flatnonzero(np.isin(frame.artifact, codes)))
                if len(frame) == 0:
                    continue
                if member.group is None:
                    group = _by_row(query, frame, fleet, names, index)
                    devices.update(np.unique(group).tolist())
                else:
                    group = np.full(len(frame), member.group, np.int64)
                    devices[member.group] += 1
                key = group * made.steps + (frame.at - made.from_ms) // made.step_ms
                pieces.append(Cells.of(frame, key, metrics, histograms))
            if pieces:
                parts.append(Cells.joined(pieces).merged())
        return _Merged(Cells.joined(parts).merged(), names, devices)

    # --- figures --------------------------------------------------------------------------------------

    def _result(self, query: Query, made: Plan, groups: _Groups, merged: _Merged, fleet: Fleet) -> Result:
        cells, steps, now = merged.cells, made.steps, self._now_ms()
        group, step = cells.key // steps, cells.key % steps
        begins = made.from_ms + step * made.step_ms
        clock_ms = np.clip(np.minimum(begins + made.step_ms, now) - begins, SECOND_MS, None)
        figures = measures.values(cells, query.metric, query.aggregate, clock_ms)
        whole = cells.keyed(group).merged()
        whole_ms = np.full(
            len(whole), max(SECOND_MS, min(made.to_ms, max(now, made.from_ms)) - made.from_ms), np.int64
        )
        totals = measures.values(whole, query.metric, query.aggregate, whole_ms)
        samples = _samples(whole, query)
        there = whole.key.tolist()
        order = range(len(there))
        left_out, kept = groups.left_out, list(order)
        if len(there) > query.limit:  # groups that only the rows told: the largest
            kept = sorted(order, key=lambda i: (-samples[i], merged.names[there[i]]))[: query.limit]
            left_out += len(there) - len(kept)
        series = []
        for i in kept:
            number = there[i]
            mine = np.flatnonzero(group == number)
            values: list[float | None] = [None] * steps
            for at, value in zip(step[mine].tolist(), figures[mine].tolist(), strict=True):
                values[at] = figure(value)
            name = merged.names[number]
            series.append(
                Series(
                    name,
                    _title(query, name, fleet),
                    values,
                    figure(float(totals[i])),
                    int(samples[i]),
                    None if groups.live else merged.devices[number],
                )
            )
        return Result(
            query=query,
            title=measures.title(query.metric, query.aggregate),
            unit=measures.unit(query.metric, query.aggregate),
            tier=made.tier,
            from_ms=made.from_ms,
            to_ms=made.to_ms,
            step_ms=made.step_ms,
            t=list(range(made.from_ms, made.to_ms, made.step_ms)),
            series=_sorted(query, series),
            left_out=left_out,
            left_out_devices=groups.left_out_devices,
            devices=groups.devices,
            notes=[*made.notes, *_notes(query, groups, left_out)],
        )


def figure(value: float) -> float | None:
    """As answered: ten digits, which hide what arithmetic adds to a resolution; None where there is none."""
    return None if math.isnan(value) else float(f"{value:.10g}")


def _parts(members: Sequence[_Member], made: Plan) -> Iterator[Sequence[_Member]]:
    rows = max(1, (made.to_ms - made.from_ms) // TIER_MS[made.tier])
    size = max(1, min(PART_SERIES, PART_ROWS // rows))
    for first in range(0, len(members), size):
        yield members[first : first + size]


def _of_devices(
    devices: Sequence[Subject],
    group_of: Callable[[Subject], str],
    left_out: int,
    left_out_devices: int,
    total: int,
) -> _Groups:
    index: dict[str, int] = {}
    members = [
        _Member(SeriesKey("device", device.name), index.setdefault(group_of(device), len(index)))
        for device in devices
    ]
    return _Groups(list(index), members, False, left_out, left_out_devices, total)


def _live_groups(query: Query, fleet: Fleet, wanted: list[str] | None) -> _Groups:
    """Groups that the store merges as telemetry comes; see `Engine._is_live`."""
    if query.group_by.startswith("label:"):
        return _live_labels(query, fleet)
    if query.group_by == "profile":
        names = sorted({device.profile for device in fleet.devices})
        members = [_Member(SeriesKey("profile", name), i) for i, name in enumerate(names)]
        return _Groups(names, members, live=True, devices=len(fleet.devices))
    if query.group_by == "none" and wanted is None:
        return _Groups([""], [_Member(FLEET, 0)], live=True, devices=len(fleet.devices))
    digests = sorted(fleet.models) if wanted is None else wanted
    names = [""] * len(digests) if query.group_by == "none" else _row_names(query, digests, fleet)
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    members = [
        _Member(SeriesKey("artifact", digest), index[name])
        for digest, name in zip(digests, names, strict=True)
    ]
    return _Groups(list(index), members, live=True, devices=len(fleet.devices))


def _live_labels(query: Query, fleet: Fleet) -> _Groups:
    key = query.group_by.removeprefix("label:")
    counted = Counter(device.labels[key] for device in fleet.devices)
    names = sorted(counted, key=lambda name: (-counted[name], name))
    kept = names[: query.limit]
    return _Groups(
        kept,
        [_Member(SeriesKey("label", f"{key}={name}"), i) for i, name in enumerate(kept)],
        True,
        len(names) - len(kept),
        sum(counted[name] for name in names[query.limit :]),
        len(fleet.devices),
    )


def _group_of(group_by: str) -> Callable[[Subject], str]:
    if group_by == "device":
        return lambda device: device.name
    if group_by == "profile":
        return lambda device: device.profile
    if group_by.startswith("label:"):
        key = group_by.removeprefix("label:")
        return lambda device: device.labels.get(key, "")
    return lambda _device: ""


def _row_names(query: Query, digests: Sequence[str], fleet: Fleet) -> list[str]:
    return [fleet.models.get(digest, "") if query.group_by == "model" else digest for digest in digests]


def _by_row(query: Query, frame: Frame, fleet: Fleet, names: list[str], index: dict[str, int]) -> Ints:
    """The group of each row by its artifact; new ones are added to names and index."""
    codes = np.unique(frame.artifact)
    numbers = []
    for name in _row_names(query, [frame.artifacts.get(code, "") for code in codes.tolist()], fleet):
        if name not in index:
            index[name] = len(names)
            names.append(name)
        numbers.append(index[name])
    return np.array(numbers, np.int64)[np.searchsorted(codes, frame.artifact)]


def _samples(rows: Cells, query: Query) -> list[int]:
    if query.metric in HISTOGRAMS:
        return [int(n) for n in rows.histograms[query.metric].totals()]
    return [int(n) for n in rows.samples(query.metric)]


def _title(query: Query, name: str, fleet: Fleet) -> str:
    if query.group_by.startswith("label:"):
        return name or f"without {query.group_by.removeprefix('label:')}"
    if query.group_by == "artifact":
        return f"{fleet.models.get(name, 'unknown model')} {name[:12]}" if name else "no model"
    if query.group_by == "model":
        return name or "no model, or one unknown here"
    return name or "all"


def _sorted(query: Query, series: list[Series]) -> list[Series]:
    if query.group_by == "device":
        return sorted(series, key=lambda one: (one.total is None, -(one.total or 0.0), one.name))
    return sorted(series, key=lambda one: one.title)


def _notes(query: Query, groups: _Groups, left_out: int) -> list[str]:
    if not left_out:
        return []
    what = "those with the highest figures" if query.group_by == "device" else "the largest"
    shown = f"The {query.limit} series shown are {what}; {left_out} more are left out"
    of = f", of {groups.left_out_devices} devices" if groups.left_out_devices else ""
    return [f"{shown}{of}. Narrow the question with `where`."]
