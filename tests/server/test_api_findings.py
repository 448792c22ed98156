"""Budgets and findings over the API: who may do what, what is refused, what is answered."""

from __future__ import annotations

import pytest
from fleet_story import MODEL
from loop_story import PROFILE, Loop
from server_story import Browser, Clock

from edgepress_compression.search.budget import Budget
from edgepress_server.store import Store

SLOW, OK = 41_000.0, 15_000.0
BUDGET = {"model": MODEL, "profile": PROFILE, "latency_us": 20_000, "max_drop": 0.01}


@pytest.fixture
def loop(store: Store, clock: Clock) -> Loop:
    return Loop(store, clock)


def test_a_budget_is_set_listed_with_what_devices_show_and_cleared(loop: Loop, operator: Browser) -> None:
    made = operator.post("/budgets", {**BUDGET, "search": {"seconds": 60}})
    assert made["words"] == "p95 20 ms, at most 1 points lost"
    assert (made["auto"], made["source"], made["search"]) == (False, None, {"seconds": 60})
    loop.minutes(3, OK)
    (found,) = operator.get(f"/budgets?model={MODEL}")
    assert [(n["kind"], n["state"], n["judged"]) for n in found["now"]] == [("latency", "kept", 2)]
    operator.delete(f"/budgets/{MODEL}/{PROFILE}", 204)
    assert operator.get("/budgets") == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"latency_us": None, "max_drop": None}, 400, "empty_budget"),
        ({"latency_us": -1}, 400, "invalid_request"),
        ({"max_drop": 2}, 400, "invalid_request"),
        ({"model": "nobody"}, 404, "model_unknown"),
        ({"profile": "toaster"}, 404, "profile_unknown"),
        ({"sustained_minutes": 20, "window_s": 600}, 400, "bad_budget"),
        ({"search": {"speed": 1}}, 400, "invalid_request"),
        ({"search": {"device": "nobody"}}, 404, "device_unknown"),
        ({"latency_ms": 20}, 400, "invalid_request"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(
    loop: Loop, operator: Browser, change: dict[str, object], status: int, code: str
) -> None:
    assert operator.refused(operator.post("/budgets", {**BUDGET, **change}, status)) == code


def test_viewers_look_and_change_nothing(loop: Loop, viewer: Browser) -> None:
    loop.budget()
    loop.minutes(3, SLOW)
    (finding,) = viewer.get("/findings?over=false")
    viewer.post("/budgets", BUDGET, 403)
    viewer.delete(f"/budgets/{MODEL}/{PROFILE}", 403)
    viewer.post(f"/findings/{finding['id']}/accept", {}, 403)
    viewer.post(f"/findings/{finding['id']}/dismiss", None, 403)


def test_a_finding_tells_its_story_and_is_accepted(loop: Loop, operator: Browser) -> None:
    loop.budget()
    loop.minutes(3, SLOW)
    (listed,) = operator.get(f"/findings?model={MODEL}")
    assert (listed["state"], listed["devices"], listed["steps"]) == ("proposed", ["pc-0", "pc-1"], [])
    found = operator.get(f"/findings/{listed['id']}")
    assert [step["what"] for step in found["steps"]] == ["missed", "proposed"]
    accepted = operator.post(f"/findings/{found['id']}/accept", {"release": False})
    assert (accepted["state"], accepted["accepted_by"]) == ("open", "operator")
    loop.look()
    loop.jobs_end()
    loop.look()
    loop.search_ends()
    loop.look()
    ready = operator.get(f"/findings/{found['id']}")
    assert ready["state"] == "proposed" and "Ready to be released" in ready["message"]
    operator.post(f"/findings/{found['id']}/accept", {})
    loop.look()
    released = operator.get(f"/findings/{found['id']}")
    assert released["state"] == "released"
    assert operator.get(f"/findings?rollout={released['new_rollout']}")[0]["id"] == found["id"]
    assert operator.refused(operator.post(f"/findings/{found['id']}/accept", {}, 409)) == "under_way"


def test_what_is_over_is_neither_accepted_nor_dismissed_anew(loop: Loop, operator: Browser) -> None:
    loop.budget()
    loop.minutes(3, SLOW)
    finding = loop.only().id
    loop.minutes(3, OK)
    assert operator.refused(operator.post(f"/findings/{finding}/accept", {}, 409)) == "finding_over"
    assert operator.refused(operator.post(f"/findings/{finding}/dismiss", None, 409)) == "finding_over"
    assert operator.refused(operator.get("/findings/nothing", 404)) == "finding_unknown"


def test_a_release_of_what_a_search_found_sets_its_budget_unless_one_is_set(
    loop: Loop, operator: Browser
) -> None:
    store = loop.store
    limits = {"latency_us": 25_000.0, "max_drop": 0.02}
    store.searches.submit(model=MODEL, profile=PROFILE, dataset=None, budget=limits, actor="ada")
    search = loop.search_ends()
    operator.post("/releases", {"model": MODEL, "artifacts": [search.chosen]}, 201)
    budget = store.budgets.get(MODEL, PROFILE)
    assert (budget.latency_us, budget.max_drop, budget.source, budget.auto) == (
        25_000,
        0.02,
        search.id,
        False,
    )
    store.budgets.put(MODEL, PROFILE, Budget(latency_us=9_000), actor="ada")
    operator.post("/releases", {"model": MODEL, "artifacts": [search.chosen]}, 201)
    assert store.budgets.get(MODEL, PROFILE).latency_us == 9_000
    store.budgets.clear(MODEL, PROFILE)
    operator.post("/releases", {"model": MODEL, "artifacts": [loop.first]}, 201)
    assert store.budgets.find(MODEL, PROFILE) is None
