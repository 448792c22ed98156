"""Random questions to the query engine against brute force over the single samples, through the real ingest.

Equal means: sums, least, most, means and rates are those of the samples' values in steps of the metric's
resolution, to the last digit that a double holds; a quantile of latency lies within the histogram's stated
1.09 % of the nearest-rank latency itself, which was never stored.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_devices.metrics import BY_NAME
from edgepress_devices.protocol import TelemetryBatch
from edgepress_server.store import Store, open_store
from edgepress_server.store.telemetry import Received
from edgepress_server.telemetry_query.desk import TelemetryDesk
from edgepress_server.telemetry_query.measures import aggregates
from edgepress_server.telemetry_query.query import Query, Result, question
from telemetry_cases.board import METRICS, samples
from telemetry_cases.case import Options, Row
from telemetry_cases.load import ARTIFACTS
from telemetry_cases.packets import EPOCH, device, steps
from telemetry_cases.server import PROFILES, labels, plant

TITLE: Final = "Query: random questions, engine against brute force over the samples"
DEVICES: Final = 24
SAMPLES: Final = 3600
INTERVAL_MS: Final = 2000
QUESTIONS: Final = 300
QUANTILE_ERROR: Final = 0.0109 + 1e-4  # and what rounding to 0.1 us adds
HOUR_MS: Final = 3_600_000
END_MS: Final = 1_800_000_000_000 // HOUR_MS * HOUR_MS
ASKED: Final = ("mean", "min", "max", "sum", "rate", "p50", "p95", "p99")


@dataclass(frozen=True)
class Truth:
    """Everything that one device measured."""

    at: np.ndarray  # [n]
    steps: dict[str, np.ndarray]  # metric -> [n] whole numbers
    latencies: list[np.ndarray]  # [n] of each sample


def measure(options: Options) -> Iterator[Row]:
    devices = options.devices or DEVICES
    store = open_store(options.folder / "query", lambda: END_MS)
    desk = None
    try:
        plant(store, [device(n) for n in range(devices)])
        truths = _tell(store, devices)
        desk = TelemetryDesk(store)
        rng = random.Random(7)
        wrong: list[str] = []
        took, compared, worst = [], 0, 0.0
        for _ in range(QUESTIONS):
            asked = _question(rng)
            began = time.perf_counter()
            result = desk.engine.ask(asked)
            took.append((time.perf_counter() - began) * 1000)
            for found, true in _pairs(result, truths):
                compared += 1
                error = _error(found, true)
                quantile = asked.aggregate.startswith("p")
                worst = max(worst, error) if quantile else worst
                if error > (QUANTILE_ERROR if quantile else 1e-9):
                    wrong.append(
                        f"{asked.aggregate} of {asked.metric} by {asked.group_by}: {found} for {true}"
                    )
    finally:
        if desk is not None:
            desk.close()
        store.close()
    yield Row(
        case="query",
        what=f"{QUESTIONS} questions, {devices * SAMPLES:,} samples",
        measured=f"{compared - len(wrong):,} of {compared:,} figures equal"
        + (f"; {wrong[0]}" if wrong else ""),
        peer=f"quantiles at most {worst:.2%} off the latency; {statistics.median(took):.0f} ms a question",
        target="equal; quantiles within 1.09 %",
        met=not wrong and compared > 1000,
        numbers={"compared": compared, "wrong": wrong[:20], "worst_quantile": worst, "ms": took},
    )


def _tell(store: Store, devices: int) -> list[Truth]:
    truths = []
    start = END_MS - SAMPLES * INTERVAL_MS
    for n in range(devices):
        latencies: list[np.ndarray] = []
        made = samples(
            n,
            SAMPLES,
            start,
            interval_ms=INTERVAL_MS,
            artifact=ARTIFACTS[n % len(ARTIFACTS)],
            latencies=latencies,
        )
        for each in range(SAMPLES):
            if made[each].latency_us is None:
                latencies.insert(each, np.zeros(0))
        whole = [steps(sample) for sample in made]
        truths.append(
            Truth(
                np.array([sample.at_ms for sample in made]),
                {name: np.array([each[name] for each in whole]) for name in METRICS},
                latencies,
            )
        )
        batches = [
            TelemetryBatch(1, EPOCH, i // 100 + 1, made[i : i + 100], sent_at_ms=END_MS)
            for i in range(0, SAMPLES, 100)
        ]
        random.Random(n).shuffle(batches)  # they come late and out of order
        store.telemetry.store([Received(device(n), END_MS, batch) for batch in batches])
    while store.telemetry.step():
        pass
    return truths


def _question(rng: random.Random) -> Query:
    metric = rng.choice((*METRICS, "latency_us", "latency_us", "latency_us"))
    aggregate = rng.choice([each for each in aggregates(metric) if each in ASKED and _is_exact(metric, each)])
    from_ms = END_MS - rng.randint(60_000, SAMPLES * INTERVAL_MS)
    return question(
        metric=metric,
        aggregate=aggregate,
        group_by=rng.choice(("none", "device", "profile", "label:site")),
        from_ms=from_ms,
        to_ms=min(END_MS, from_ms + rng.randint(30_000, SAMPLES * INTERVAL_MS)),
        step_ms=rng.choice((None, 60_000, 300_000)),
    )


def _is_exact(metric: str, aggregate: str) -> bool:
    """A histogram keeps no sums: its mean is as good as its buckets, and no brute force is its equal."""
    return metric != "latency_us" or aggregate.startswith("p")


def _groups(group_by: str, devices: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for n in range(devices):
        name = {
            "none": "",
            "device": device(n),
            "profile": PROFILES[n % len(PROFILES)],
            "label:site": labels(n)["site"],
        }[group_by]
        found.setdefault(name, []).append(n)
    return found


def _pairs(result: Result, truths: list[Truth]) -> Iterator[tuple[float | None, float | None]]:
    """(answered, true) of each step of each series, and of the whole range."""
    groups = _groups(result.query.group_by, len(truths))
    for one in result.series:
        members = [truths[n] for n in groups[one.name]]
        yield one.total, _true(result, members, result.from_ms, result.to_ms)
        for t, value in zip(result.t, one.values, strict=True):
            yield value, _true(result, members, t, t + result.step_ms)


def _true(result: Result, members: list[Truth], from_ms: int, to_ms: int) -> float | None:
    metric, aggregate = result.query.metric, result.query.aggregate
    spans = [np.searchsorted(truth.at, [from_ms, to_ms]) for truth in members]
    if metric == "latency_us":
        parts = [each for truth, (a, b) in zip(members, spans, strict=True) for each in truth.latencies[a:b]]
        values = np.sort(np.concatenate(parts)) if parts else np.zeros(0)
        if not len(values):
            return None
        return float(values[max(1, math.ceil(int(aggregate[1:]) / 100 * len(values))) - 1])
    kept = np.concatenate([t.steps[metric][a:b] for t, (a, b) in zip(members, spans, strict=True)])
    if not len(kept):
        return None
    resolution = BY_NAME[metric].resolution
    if aggregate == "mean":
        return int(kept.sum()) / len(kept) * resolution
    if aggregate == "rate":
        covered = sum(int(t.steps["covered_ms"][a:b].sum()) for t, (a, b) in zip(members, spans, strict=True))
        return int(kept.sum()) * resolution * 1000 / covered
    return float({"min": kept.min, "max": kept.max, "sum": kept.sum}[aggregate]()) * resolution


def _error(found: float | None, true: float | None) -> float:
    if found is None or true is None:
        return 0.0 if found is true else math.inf
    return abs(found - true) / max(abs(true), 1e-12) if true else abs(found)
