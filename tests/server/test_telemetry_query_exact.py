"""Answers equal brute force over the single samples: whatever is asked, of whatever was stored."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_story import Clock
from telemetry_fleet import Fleet, histogram

from edgepress_devices.metrics import BY_NAME, HISTOGRAMS
from edgepress_devices.protocol import ErrorKinds, Reading, Sample
from edgepress_server.store import Store, database, open_store
from edgepress_server.telemetry_query.desk import TelemetryDesk
from edgepress_server.telemetry_query.measures import QUANTILES, RATIOS, aggregates
from edgepress_server.telemetry_query.query import Result, question

A, B, C = "a" * 64, "b" * 64, "c" * 64
MODELS = {A: "kws", B: "kws", C: "vision", "": ""}
HOUR_MS = 3_600_000
ERROR = 0.0110  # of a quantile: 1.09 %, and what rounding adds

Told = tuple[str, Sample, dict[str, list[float]]]  # device, sample, what its histograms were made of


class World:
    """A fleet whose every sample is also kept as a plain object."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.rng = random.Random(seed)
        self.fleet = Fleet(store)
        self.told: list[Told] = []
        for digest, model in ((A, "kws"), (B, "kws"), (C, "vision")):
            self.fleet.artifact(digest, model)
        self.profiles = {
            "pi-1": "raspberry-pi-4",
            "pi-2": "raspberry-pi-4",
            "pi-3": "raspberry-pi-5",
            "jet": "jetson",
        }
        self.sites = {"pi-1": "hall-1", "pi-2": "hall-2", "pi-3": "hall-1", "jet": None}
        for name, profile in self.profiles.items():
            site = self.sites[name]
            self.fleet.device(name, profile, **({} if site is None else {"site": site}))
        self.end = store.now_ms() // HOUR_MS * HOUR_MS
        for name in self.profiles:
            self._report(name)
        while store.telemetry.step():  # some is sealed in blocks now, the newest is not
            pass
        self.desk = TelemetryDesk(store)

    def _report(self, name: str) -> None:
        rng = self.rng
        times = sorted(rng.sample(range(self.end - 3 * HOUR_MS, self.end, 1000), 150))
        for first in range(0, len(times), 40):
            batch = [self._sample(at) for at in times[first : first + 40]]
            rng.shuffle(batch)  # late and out of order
            self.fleet.tell(name, [sample for sample, _ in batch])
            self.told += [(name, sample, values) for sample, values in batch]

    def _sample(self, at: int) -> tuple[Sample, dict[str, list[float]]]:
        rng = self.rng
        artifact = rng.choice((A, A, B, C, None))
        values = {
            stage: [rng.lognormvariate(7, 1) for _ in range(rng.randint(1, 8))]
            for stage in ("latency_us", "queue_us")
            if rng.random() < 0.8
        }
        inferences = len(values.get("latency_us", []))
        errors = rng.choice((0, 0, 0, 2))
        return (
            Sample(
                at_ms=at,
                interval_ms=rng.choice((1000, 10_000)),
                artifact=artifact,
                inferences=inferences,
                errors=errors,
                latency_us=histogram(*values["latency_us"]) if "latency_us" in values else None,
                queue_us=histogram(*values["queue_us"]) if "queue_us" in values else None,
                error_kinds=ErrorKinds(runtime=errors) if rng.random() < 0.5 else None,
                cpu_percent=rng.choice((None, rng.uniform(0, 100))),
                temp_c=rng.choice((None, rng.uniform(-20, 90))),
                rss_bytes=rng.choice((None, rng.randrange(2**30))),
                mem_used_bytes=rng.randrange(2**30),
                mem_total_bytes=2**31,
                throttled=rng.choice((None, False, True)),
                power_mw=rng.choice((None, Reading(rng.uniform(1, 9000), "ina3221", "board"))),
                net_rx_bytes=rng.choice((None, rng.randrange(10**6))),
            ),
            values,
        )


@pytest.fixture(scope="module", params=[1, 2])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "SYNCHRONOUS", "OFF")
        folder: Path = tmp_path_factory.mktemp("world")
        clock = Clock()
        clock.forward(1234)
        store = open_store(folder, clock)
        made = World(store, request.param)
        yield made
        made.desk.close()
        store.close()


WHERE: dict[str, Callable[[World, str], bool]] = {
    "": lambda world, name: True,
    "profile = raspberry-pi-4": lambda world, name: world.profiles[name] == "raspberry-pi-4",
    "site = hall-1": lambda world, name: world.sites[name] == "hall-1",
    "name = pi-*": lambda world, name: name.startswith("pi-"),
    "not site": lambda world, name: world.sites[name] is None,
}
GROUPS: dict[str, Callable[[World, str, Sample], str]] = {
    "none": lambda world, name, sample: "",
    "device": lambda world, name, sample: name,
    "profile": lambda world, name, sample: world.profiles[name],
    "artifact": lambda world, name, sample: sample.artifact or "",
    "model": lambda world, name, sample: MODELS[sample.artifact or ""],
    "label:site": lambda world, name, sample: world.sites[name] or "",
}
METRICS = [
    "inferences",
    "errors",
    "errors_runtime",
    "cpu_percent",
    "temp_c",
    "rss_bytes",
    "mem_used_bytes",
    "throttled",
    "power_mw",
    "net_rx_bytes",
    "battery_percent",
    "latency_us",
    "queue_us",
]
asked = st.sampled_from(METRICS).flatmap(
    lambda metric: st.tuples(st.just(metric), st.sampled_from(aggregates(metric)))
)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    asked=asked,
    group_by=st.sampled_from(list(GROUPS)),
    where=st.sampled_from(list(WHERE)),
    only=st.sampled_from([("", ""), ("artifact", A), ("artifact", B[:8]), ("model", "kws")]),
    back_ms=st.integers(1000, 3 * HOUR_MS),
    length_ms=st.integers(1000, 3 * HOUR_MS),
    step_ms=st.sampled_from([None, 1000, 7000, 60_000, 300_000, HOUR_MS]),
)
def test_a_question_is_answered_as_brute_force_would(
    world: World,
    asked: tuple[str, str],
    group_by: str,
    where: str,
    only: tuple[str, str],
    back_ms: int,
    length_ms: int,
    step_ms: int | None,
) -> None:
    metric, aggregate = asked
    from_ms = world.end - back_ms
    result = world.desk.engine.ask(
        question(
            metric=metric,
            aggregate=aggregate,
            group_by=group_by,
            from_ms=from_ms,
            to_ms=min(from_ms + length_ms, world.end),
            step_ms=step_ms,
            where=where,
            **({only[0]: only[1]} if only[0] else {}),  # type: ignore[arg-type]
        )
        if from_ms < min(from_ms + length_ms, world.end)
        else question(metric=metric, aggregate=aggregate, from_ms=0, to_ms=1000)
    )
    assert (result.to_ms - result.from_ms) % result.step_ms == 0 and result.left_out == 0
    groups: dict[str, list[Told]] = {}
    for name, sample, values in world.told:
        if (
            result.from_ms <= sample.at_ms < result.to_ms
            and WHERE[result.query.where](world, name)
            and (not only[0] or only[0] == "model" or (sample.artifact or "").startswith(only[1]))
            and (only[0] != "model" or MODELS[sample.artifact or ""] == only[1])
        ):
            groups.setdefault(GROUPS[result.query.group_by](world, name, sample), []).append(
                (name, sample, values)
            )
    if "" in groups and result.query.group_by in ("artifact", "model") and not where:
        del groups[""]  # the store merges live by artifact; samples without one are of none
    assert {one.name for one in result.series} == set(groups)
    now = world.store.now_ms()
    for one in result.series:
        mine = groups[one.name]
        _same(by_hand(result, mine, min(result.to_ms, now) - result.from_ms), one.total, aggregate)
        if one.devices is not None:
            assert one.devices == len({name for name, _, _ in mine})
        for t, value in zip(result.t, one.values, strict=True):
            inside = [told for told in mine if t <= told[1].at_ms < t + result.step_ms]
            _same(by_hand(result, inside, min(t + result.step_ms, now) - t), value, aggregate)


def _same(expected: float | None, found: float | None, aggregate: str) -> None:
    if expected is None or found is None:
        assert expected is found
    elif aggregate in QUANTILES:
        assert found == pytest.approx(expected, rel=ERROR)
    elif aggregate == "mean":
        assert found == pytest.approx(expected, rel=ERROR if expected > 1e3 else 1e-9)
    else:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def by_hand(result: Result, told: list[Told], clock_ms: int) -> float | None:  # noqa: PLR0911 - cases
    """The figure from the samples themselves, slowly."""
    metric, aggregate = result.query.metric, result.query.aggregate
    if metric in HISTOGRAMS:
        values = sorted(value for _, _, each in told for value in each.get(metric, []))
        if aggregate == "count":
            return float(len(values)) if told else None
        if not values:
            return None
        if aggregate == "throughput":
            return len(values) * 1000 / clock_ms
        if aggregate == "mean":
            return sum(values) / len(values)
        return values[max(1, math.ceil(QUANTILES[aggregate] * len(values))) - 1]
    kept = [value for _, sample, _ in told if (value := _kept(sample, metric)) is not None]
    if aggregate == "count":
        return float(len(kept)) if told else None
    if aggregate == "ratio":
        if BY_NAME[metric].kind == "gauge":
            return float(sum(kept) / (len(kept) * _whole_of_memory())) if kept else None
        whole = sum(_kept(sample, name) or 0 for _, sample, _ in told for name in RATIOS[metric])
        return float(Fraction(sum(kept)) / whole) if kept and whole else None
    if not kept:
        return None
    resolution = BY_NAME[metric].resolution
    if aggregate == "min":
        return min(kept) * resolution
    if aggregate == "max":
        return max(kept) * resolution
    if aggregate == "mean":
        return float(Fraction(sum(kept), len(kept))) * resolution
    total = sum(kept) * resolution
    if aggregate == "sum":
        return total
    if aggregate == "throughput":
        return total * 1000 / clock_ms
    return total * 1000 / sum(sample.interval_ms for _, sample, _ in told)  # rate


def _whole_of_memory() -> Fraction:
    return Fraction(2**31) / Fraction(BY_NAME["mem_total_bytes"].resolution)


def _kept(sample: Sample, metric: str) -> int | None:
    """As a whole number of the metric's resolution."""
    if metric.startswith("errors_"):
        value = (
            None
            if sample.error_kinds is None
            else getattr(sample.error_kinds, metric.removeprefix("errors_"))
        )
    elif metric == "power_mw":
        value = None if sample.power_mw is None else sample.power_mw.value
    else:
        value = getattr(sample, metric)
    return None if value is None else BY_NAME[metric].steps(value)
