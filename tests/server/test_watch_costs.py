"""What a search is asked for: the budget in its own terms, by what the running artifact shows."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

import msgspec
import pytest
from loop_story import PROFILE, Loop
from server_story import Clock

from edgepress_devices.prediction import Basis, Prediction
from edgepress_server.store import Store
from edgepress_server.store.budgets import FleetBudget
from edgepress_server.watch.costs import ask, timed_here

BUDGET = FleetBudget(
    model="m", profile="p", latency_us=20_000, memory_bytes=100_000_000, energy_mj=10, max_drop=0.01
)


def predicted(basis: Basis = "calibration") -> Prediction:
    return Prediction(latency_us=10_000, memory_bytes=70_000_000, energy_mj=4.0, basis=basis, error=0.1)


@dataclass
class Case:
    name: str
    measured: dict[str, float]
    latency_us: float = 20_000
    memory_bytes: int = 100_000_000
    energy_mj: float = 10
    said: int = 1
    prediction: Prediction | None = field(default_factory=predicted)
    timed_us: float | None = None


CASES = [
    Case("nothing was measured: the budget as it is", {}, said=0),
    Case("nothing was predicted: the budget as it is", {"p95_us": 40_000}, prediction=None, said=0),
    Case("four times slower than predicted: a quarter, less a margin", {"p95_us": 40_000}, 0.9 * 5_000),
    Case("faster than predicted: more", {"p95_us": 5_000}, 0.9 * 40_000),
    Case("what the agent holds beside the model stays", {"rss_bytes": 120e6}, memory_bytes=50_000_000),
    Case("beside the model there is no room at all", {"rss_bytes": 200e6}, said=0),
    Case("twice the energy predicted: half, less a margin", {"energy_mj": 8.0}, energy_mj=0.9 * 5),
    Case(
        "without a calibration a search counts in the server's own time",
        {"p95_us": 40_000},
        0.9 * 20_000 * 6_000 / 40_000,
        prediction=predicted("datasheet"),
        timed_us=6_000,
    ),
    Case("with one it does not", {"p95_us": 40_000}, 0.9 * 5_000, timed_us=6_000),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_search_is_asked_for(case: Case) -> None:
    limits, said = ask(BUDGET, case.measured, case.prediction, case.timed_us)
    assert limits.latency_us == pytest.approx(case.latency_us)
    assert limits.memory_bytes == pytest.approx(case.memory_bytes)
    assert limits.energy_mj == pytest.approx(case.energy_mj)
    assert limits.max_drop == BUDGET.max_drop
    assert len(said) == case.said


def test_what_the_server_timed_counts_only_for_machines_of_its_kind(store: Store, clock: Clock) -> None:
    loop = Loop(store, clock, devices=1)
    report = {"latency_us": {"after": {"p50": 1234.5}}}
    store.artifacts.add(
        loop.first, model="digits", profile=PROFILE, recipe="none", size_bytes=1, report=report, job=None
    )
    profile = store.profiles.resolve(PROFILE)
    same = msgspec.structs.replace(
        profile, cpu=msgspec.structs.replace(profile.cpu, machine=platform.machine())
    )
    other = msgspec.structs.replace(profile, cpu=msgspec.structs.replace(profile.cpu, machine="pdp11"))
    assert timed_here(store, loop.first, same) == 1234.5
    assert timed_here(store, loop.first, other) is None
    assert timed_here(store, "f" * 64, same) is None
