"""What moved: devices, and profiles with an artifact, whose figures are now far from what was usual for them.

Now is the last ten whole minutes; usual the 24 hours before the last one. A fleet is looked at in slices, one
each time, so that a look costs the same whatever the fleet's size; 10,000 devices take minutes.
Usual figures are kept for an hour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import BY_NAME
from edgepress_server.store.fleet_pages import DeviceRow
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.telemetry_query import measures
from edgepress_server.telemetry_query.cells import Cells
from edgepress_server.telemetry_query.figures import MEASURES, title
from edgepress_server.telemetry_query.plan import HOUR_MS, MINUTE_MS
from edgepress_server.telemetry_query.source import Source
from edgepress_server.telemetry_query.words import clock, figure_in_words

Floats = NDArray[np.float64]
Figures = dict[str, float]  # by name; what was not measured is not in it

NOW_MS: Final = 10 * MINUTE_MS
USUAL_MS: Final = 24 * HOUR_MS
SLICE: Final = 250
SINCE_MS: Final = 6 * HOUR_MS  # how far back the beginning is looked for
SINCE_STEP_MS: Final = 5 * MINUTE_MS
LISTED: Final = 20
INFERENCES_MIN: Final = 50  # fewer have no p95 worth comparing
SAMPLES_MIN: Final = 5

_METRICS: Final = ("rss_bytes", "power_mw", "temp_c", "errors", "inferences", "input_psi", "output_psi")
_HISTOGRAM: Final = "latency_us"


@dataclass(frozen=True)
class _Rule:
    """When a figure has moved."""

    factor: float  # at least so many times as much, or as little
    least: float  # and by at least this much, in its unit
    floor: float = 0.0  # added to both before they are divided: from 0 to a little is no infinite factor


_RULES: Final[Mapping[str, _Rule]] = {
    "p95_us": _Rule(1.25, 50.0),
    "rss_bytes": _Rule(1.2, 8e6),
    "power_mw": _Rule(1.2, 100.0),
    "temp_c": _Rule(1.1, 8.0),
    "error_ratio": _Rule(2.0, 0.005, 0.001),
}


@dataclass(frozen=True)
class Mover:
    device: str | None  # None: a profile with an artifact
    profile: str
    digest: str | None
    metric: str  # of _RULES
    now: float
    usual: float
    factor: float
    score: float
    devices: int = 1
    since: int | None = None  # Unix ms; None: longer than SINCE_MS, or it came and went
    sentence: str = ""


@dataclass
class Seen:
    """What is known of the fleet: read by the page, written by `Watch.look`."""

    now: dict[str, Figures] = field(default_factory=dict)  # device ->
    movers: list[Mover] = field(default_factory=list)
    at: int = 0  # when the newest slice was looked at, Unix ms
    seen: int = 0  # devices looked at in this cycle, or all once there was a whole one
    of: int = 0


class Watch:
    """Not safe to share between threads: one thread looks."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._usual: dict[str, tuple[int, Figures, Cells | None]] = {}  # device -> (until, figures, rows)
        self._device_movers: dict[str, list[Mover]] = {}
        self._queue: list[DeviceRow] = []
        self._pairs: dict[tuple[str, str], int] = {}  # (profile, digest) -> key
        self._parts_now: list[Cells] = []
        self._parts_usual: list[Cells] = []
        self._pair_devices: dict[int, int] = {}
        self._groups: list[Mover] = []
        self._since: dict[tuple[str | None, str, str | None, str], int | None] = {}
        self._whole = False
        self.seen = Seen()

    def look(self, devices: Sequence[DeviceRow], now_ms: int) -> None:
        """The next slice of them."""
        if not self._queue:
            self._end_cycle(devices)
        part, self._queue = self._queue[:SLICE], self._queue[SLICE:]
        if part:
            self._look_at(part, now_ms)
        names = {device.name for device in devices}
        by_device = [
            mover for name, movers in self._device_movers.items() if name in names for mover in movers
        ]
        found = sorted([*by_device, *self._groups], key=lambda mover: -mover.score)[:LISTED]
        self.seen = Seen(
            now={name: figures for name, figures in self.seen.now.items() if name in names},
            movers=[self._told(mover, now_ms) for mover in found],
            at=now_ms,
            seen=len(devices) if self._whole else len(devices) - len(self._queue),
            of=len(devices),
        )

    def _end_cycle(self, devices: Sequence[DeviceRow]) -> None:
        if self._parts_now:
            self._whole = True
            self._groups = self._moved_groups()
        self._parts_now, self._parts_usual, self._pair_devices = [], [], {}
        self._queue = [device for device in devices if device.status in ("online", "offline")]
        there = {device.name for device in self._queue}
        for kept in (self._usual, self._device_movers):
            for name in kept.keys() - there:
                del kept[name]
        self._since.clear()

    def _look_at(self, part: Sequence[DeviceRow], now_ms: int) -> None:
        end_ms = now_ms // MINUTE_MS * MINUTE_MS
        recent = self._cells(part, end_ms - NOW_MS, end_ms, "minute")
        stale = [device for device in part if self._usual.get(device.name, (0,))[0] <= now_ms]
        hour_ms = now_ms // HOUR_MS * HOUR_MS
        usual_to_ms = (now_ms - HOUR_MS) // HOUR_MS * HOUR_MS  # what moved within the hour is not usual yet
        before = self._cells(stale, usual_to_ms - USUAL_MS, usual_to_ms, "hour")
        for number, device in enumerate(stale):
            rows = before.take_key(number)
            self._usual[device.name] = (hour_ms + HOUR_MS, _figures(rows), rows)
        for number, device in enumerate(part):
            rows = recent.take_key(number)
            figures = _figures(rows)
            if figures:
                self.seen.now[device.name] = figures
            else:
                self.seen.now.pop(device.name, None)
            usual = self._usual[device.name]
            self._device_movers[device.name] = [
                Mover(device.name, device.profile, device.running, *moved)
                for moved in _moved(figures, usual[1])
            ]
            if device.running is not None and len(rows):
                key = self._pairs.setdefault((device.profile, device.running), len(self._pairs))
                self._pair_devices[key] = self._pair_devices.get(key, 0) + 1
                self._parts_now.append(rows.keyed(np.full(len(rows), key, np.int64)))
                if usual[2] is not None and len(usual[2]):
                    self._parts_usual.append(usual[2].keyed(np.full(len(usual[2]), key, np.int64)))
        for parts in (self._parts_now, self._parts_usual):
            if parts:
                parts[:] = [Cells.joined(parts).merged()]

    def _cells(self, devices: Sequence[DeviceRow], from_ms: int, to_ms: int, span: str) -> Cells:
        """A row a device, keyed by its place."""
        keys = [SeriesKey("device", device.name) for device in devices]
        frames = self._source.frames(
            keys, from_ms, to_ms, span="hour" if span == "hour" else "minute", histograms=(_HISTOGRAM,)
        )
        empty = Cells.of(Frame.empty(MINUTE_MS, [_HISTOGRAM]), np.zeros(0, np.int64), _METRICS, (_HISTOGRAM,))
        pieces = [empty]
        for number, key in enumerate(keys):
            frame = frames[key]
            if len(frame):
                pieces.append(Cells.of(frame, np.full(len(frame), number, np.int64), _METRICS, (_HISTOGRAM,)))
        return Cells.joined(pieces).merged()

    def _moved_groups(self) -> list[Mover]:
        now = self._parts_now[0]
        usual = self._parts_usual[0] if self._parts_usual else now.take_key(-1)
        pairs = {key: pair for pair, key in self._pairs.items()}
        found = []
        for key in now.key.tolist():
            profile, digest = pairs[key]
            many = self._pair_devices.get(key, 0)
            if many < 2:  # a single device is told as itself
                continue
            for moved in _moved(_figures(now.take_key(key)), _figures(usual.take_key(key))):
                mover = Mover(None, profile, digest, *moved, devices=many)
                # Many devices that moved together outrank one that moved as far.
                found.append(_with(mover, score=mover.score * (1 + math.log10(many))))
        return found

    def _told(self, mover: Mover, now_ms: int) -> Mover:
        which = (mover.device, mover.profile, mover.digest, mover.metric)
        if which not in self._since:
            self._since[which] = self._began(mover, now_ms)
        since = self._since[which]
        return _with(mover, since=since, sentence=_sentence(mover, since))

    def _began(self, mover: Mover, now_ms: int) -> int | None:
        if mover.device is not None:
            key = SeriesKey("device", mover.device)
        else:
            key = SeriesKey("artifact", mover.digest or "")
        from_ms = (now_ms - SINCE_MS) // SINCE_STEP_MS * SINCE_STEP_MS
        histogram, measure = MEASURES[mover.metric]
        frame = self._source.frame(
            key, from_ms, now_ms, span="minute", histograms=() if histogram is None else (histogram,)
        ).steps(SINCE_STEP_MS, from_ms)
        return began(frame.at.tolist(), measure(frame).tolist(), mover.now, mover.usual, from_ms)


def began(at: Sequence[int], values: Sequence[float], now: float, usual: float, from_ms: int) -> int | None:
    """Where the run begins, up to the end, of steps nearer to what is now than to what was usual."""
    middle = (now + usual) / 2
    start = None
    for moment, value in zip(reversed(at), reversed(values), strict=True):
        if math.isnan(value):
            continue
        if (value > middle) != (now > usual):
            break
        start = moment
    return None if start is None or start <= from_ms else start


def _figures(rows: Cells) -> Figures:
    """Of one row; without what rests on too little."""
    if len(rows) == 0:
        return {}
    found: Figures = {}
    timed = int(rows.histograms[_HISTOGRAM].totals()[0])
    if timed >= INFERENCES_MIN:
        found["p95_us"] = float(rows.histograms[_HISTOGRAM].quantiles(0.95)[0])
    for name in ("rss_bytes", "power_mw", "temp_c", "input_psi", "output_psi"):
        least = 1 if BY_NAME[name].resolution == 0.0001 else SAMPLES_MIN  # drift is told once a minute
        if int(rows.samples(name)[0]) >= least:
            found[name] = float(rows.mean(name)[0])
    requests = np.nansum([rows.total("inferences")[0], rows.total("errors")[0]])
    if requests >= INFERENCES_MIN:
        found["error_ratio"] = float(np.nan_to_num(measures.ratio(rows, "errors")[0]))
    return found


def _moved(now: Figures, usual: Figures) -> list[tuple[str, float, float, float, float]]:
    """(metric, now, usual, factor, score) of those that moved."""
    found = []
    for metric, rule in _RULES.items():
        if metric not in now or metric not in usual:
            continue
        a, b = now[metric] + rule.floor, usual[metric] + rule.floor
        if a <= 0 or b <= 0 or abs(a - b) < rule.least:
            continue
        factor = a / b
        if max(factor, 1 / factor) < rule.factor:
            continue
        # What grew is what people look for; what shrank is told behind it.
        score = abs(math.log2(factor)) * (1.0 if factor > 1 else 0.5)
        found.append((metric, now[metric], usual[metric], factor, score))
    return found


def _with(mover: Mover, **changes: object) -> Mover:
    return Mover(**{**vars(mover), **changes})


def _sentence(mover: Mover, since: int | None) -> str:
    who = mover.device or f"{mover.devices} devices of {mover.profile}"
    of = f" with {mover.digest[:12]}" if mover.device is None and mover.digest else ""
    now, usual = figure_in_words(mover.metric, mover.now), figure_in_words(mover.metric, mover.usual)
    if mover.factor >= 1:
        far = f"{mover.factor:.1f} times the usual {usual}"
    else:
        far = f"down from the usual {usual}"
    begun = f", since {clock(since)} UTC" if since is not None else ", for hours"
    name = title(mover.metric)
    return f"{who}{of}: {name[:1].lower()}{name[1:]} is {now}, {far}{begun}."
