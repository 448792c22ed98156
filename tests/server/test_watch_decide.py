"""Which telemetry counts as a missed budget: a table of cases, and what holds for any telemetry."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.histogram import LatencyRecorder, quantile
from edgepress_server.watch.decide import (
    MIN_INFERENCES,
    DeviceMinutes,
    Judgement,
    Kind,
    Limits,
    Minute,
    Scope,
    decide,
    lower_bound,
)

LIMIT_US = 20_000.0
MINUTE_MS = 60_000


def minute(
    number: int,
    latency_us: float | None,
    n: int = 60,
    *,
    rss: int | None = None,
    energy_mj: float | None = None,
    temp_c: float | None = None,
    throttled: bool = False,
    slow_us: float | None = None,
) -> Minute:
    """``n`` inferences of about ``latency_us``; one in ten takes ``slow_us`` where that is given."""
    recorder = LatencyRecorder()
    for i in range(n if latency_us is not None else 0):
        spread = 0.98 + 0.04 * (i % 7) / 6
        value = slow_us if slow_us is not None and i % 10 == 0 else latency_us
        recorder.record((value or 0.0) * spread)
    return Minute(number * MINUTE_MS, recorder.take(), rss, energy_mj, temp_c, throttled)


def device(name: str, *latencies_us: float | None, **more: object) -> DeviceMinutes:
    return DeviceMinutes(name, [minute(i, us, **more) for i, us in enumerate(latencies_us)])  # type: ignore[arg-type]


def fleet(count: int, *latencies_us: float | None, start: int = 0) -> list[DeviceMinutes]:
    return [device(f"pi-{i}", *latencies_us) for i in range(start, start + count)]


@dataclass
class Case:
    name: str
    devices: list[DeviceMinutes]
    expected: set[tuple[Kind, Scope, Judgement]]
    limits: Limits = field(default_factory=lambda: Limits(latency_us=LIMIT_US))
    running: int | None = None
    missing: tuple[str, ...] | None = None


OK, SLOW = 15_000.0, 41_000.0
CASES = [
    Case("all devices are slow", fleet(12, *[SLOW] * 4), {("latency", "profile", "missed")}),
    Case(
        "all devices are quick",
        fleet(12, *[OK] * 4),
        {("latency", "profile", "kept"), ("latency", "device", "kept")},
    ),
    Case("slow for two minutes only", fleet(3, OK, OK, SLOW, SLOW), {("latency", "profile", "unclear")}),
    Case("one slow minute among quick ones", fleet(3, OK, SLOW, OK), {("latency", "profile", "unclear")}),
    Case("too young to be judged", fleet(3, SLOW, SLOW), set()),
    Case("one inference a minute", [device("pi-0", *[SLOW] * 5, n=1)], set()),
    Case("too few inferences in all", [device("pi-0", *[SLOW] * 3, n=9)], set()),
    Case(
        "minutes without inferences are passed over",
        fleet(2, SLOW, None, SLOW, None, SLOW),
        {("latency", "profile", "missed")},
    ),
    Case(
        "one bad device among twelve is a problem of that device",
        [*fleet(11, *[OK] * 3), device("pi-hot", *[SLOW] * 3, throttled=True, temp_c=84.0)],
        {("latency", "device", "missed"), ("latency", "profile", "kept")},
        missing=("pi-hot",),
    ),
    Case(
        "most of the devices are the profile",
        [*fleet(1, *[OK] * 3), *fleet(2, *[SLOW] * 3, start=1)],
        {("latency", "profile", "missed")},
        missing=("pi-1", "pi-2"),
    ),
    Case(
        "one bad device of two does not speak for both",
        [*fleet(1, *[OK] * 3), *fleet(1, *[SLOW] * 3, start=1)],
        {("latency", "device", "missed"), ("latency", "profile", "unclear")},
        missing=("pi-1",),
    ),
    Case("one of two that can be judged does not speak for both", fleet(1, *[SLOW] * 3), set(), running=2),
    Case("too few of those that run it can be judged", fleet(2, *[SLOW] * 3), set(), running=12),
    Case("an only device is the profile", fleet(1, *[SLOW] * 3), {("latency", "profile", "missed")}),
    Case(
        "a quick median with a slow tail",
        [device("pi-0", *[OK] * 3, n=400, slow_us=60_000.0)],
        {("latency", "profile", "missed")},
    ),
    Case(
        "at the limit nothing is clear",
        [device("pi-0", *[LIMIT_US * 0.985] * 3)],
        {("latency", "profile", "unclear")},
    ),
    Case(
        "memory above its limit",
        [device("pi-0", *[OK] * 3, rss=70_000_000)],
        {("memory", "profile", "missed")},
        Limits(memory_bytes=64_000_000),
    ),
    Case(
        "energy within its limit",
        [device("pi-0", *[OK] * 3, energy_mj=4.0)],
        {("energy", "profile", "kept"), ("energy", "device", "kept")},
        Limits(energy_mj=5.0),
    ),
    Case("what is not measured is not judged", fleet(3, *[OK] * 3), set(), Limits(energy_mj=5.0)),
    Case(
        "slower than predicted",
        fleet(2, *[OK] * 3),
        {("prediction", "profile", "missed")},
        Limits(predicted_us=8_000.0, prediction_error=0.5),
    ),
    Case(
        "faster than predicted is wrong, too",
        fleet(2, *[OK] * 3),
        {("prediction", "profile", "missed")},
        Limits(predicted_us=30_000.0, prediction_error=0.5),
    ),
    Case(
        "as predicted",
        fleet(2, *[OK] * 3),
        {("prediction", "profile", "kept"), ("prediction", "device", "kept")},
        Limits(predicted_us=14_000.0, prediction_error=0.5),
    ),
    Case("nothing is limited", fleet(2, *[SLOW] * 3), set(), Limits()),
    Case("nothing runs", [], set()),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_budget_is_missed_when(case: Case) -> None:
    running = len(case.devices) if case.running is None else case.running
    found = decide(case.limits, case.devices, running=running)
    assert {(v.kind, v.scope, v.state) for v in found} == case.expected
    if case.missing is not None:
        assert next(v.devices for v in found if v.state == "missed") == case.missing


def test_a_hot_device_is_named_with_its_temperature() -> None:
    devices = [*fleet(3, *[OK] * 3), device("pi-hot", *[SLOW] * 3, throttled=True, temp_c=84.0)]
    found = next(v for v in decide(Limits(latency_us=LIMIT_US), devices, running=4) if v.state == "missed")
    assert found.throttled == ("pi-hot",)
    assert found.hot == (("pi-hot", 84.0),)


def test_since_is_where_the_unbroken_run_began() -> None:
    found = decide(Limits(latency_us=LIMIT_US), fleet(1, OK, SLOW, OK, SLOW, SLOW, SLOW, SLOW), running=1)
    assert found[0].since_ms == 3 * MINUTE_MS


def test_the_figure_of_a_profile_is_the_p95_of_all_inferences_together() -> None:
    devices = [*fleet(1, *[10_000.0] * 3), *fleet(2, *[50_000.0] * 3, start=1)]
    found = decide(Limits(latency_us=LIMIT_US), devices, running=3)[0]
    assert found.measured == pytest.approx(50_000.0, rel=0.04)
    assert found.inferences == 3 * 3 * 60


def test_few_inferences_widen_the_bound() -> None:
    few, many = (minute(0, 20_000.0, n, slow_us=40_000.0).latency for n in (40, 40_000))
    assert few is not None and many is not None
    assert lower_bound(few, 0.95) < 0.6 * lower_bound(many, 0.95)


latencies = st.lists(st.one_of(st.none(), st.floats(min_value=100.0, max_value=1e6)), min_size=0, max_size=8)
fleets = st.lists(latencies, max_size=6).map(
    lambda rows: [device(f"d-{i}", *row) for i, row in enumerate(rows)]
)


@given(fleets, st.floats(min_value=200.0, max_value=5e5), st.integers(min_value=1, max_value=5))
def test_never_missed_and_kept_at_once_and_never_without_reason(
    devices: list[DeviceMinutes], limit_us: float, sustained: int
) -> None:
    found = decide(Limits(latency_us=limit_us), devices, running=len(devices), sustained_minutes=sustained)
    assert len({(v.kind, v.scope) for v in found}) == len(found)
    for verdict in found:
        assert verdict.judged <= verdict.running
        if verdict.state == "missed":
            assert verdict.inferences >= MIN_INFERENCES
            for d in devices:
                if d.device in verdict.devices:
                    newest = [m for m in d.minutes if m.inferences >= 5][-sustained:]
                    assert len(newest) == sustained
                    assert all((quantile(m.latency, 0.95) or 0) > limit_us for m in newest if m.latency)
            if verdict.scope == "device":
                assert len(verdict.devices) < verdict.judged / 2 + 1
        if verdict.state == "kept":
            assert verdict.devices == ()


@given(fleets, st.floats(min_value=200.0, max_value=5e5))
def test_a_higher_limit_is_never_missed_where_a_lower_one_is_kept(
    devices: list[DeviceMinutes], limit_us: float
) -> None:
    def states(limit: float) -> dict[str, Judgement]:
        found = decide(Limits(latency_us=limit), devices, running=len(devices))
        return {v.scope: v.state for v in found}

    if states(limit_us).get("profile") == "kept":
        assert states(2 * limit_us).get("profile") != "missed"
