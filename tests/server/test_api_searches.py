"""Searches over the API: what is asked, what is told while it runs, and how a trial's artifact is had."""

from typing import Any

import pytest
from search_story import enrol, join, make_trial
from server_story import Browser, Clock

from edgepress_server.store import Store
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.searches import Kept, Outcome, Seat

ASKED: dict[str, Any] = {
    "model": "lenet",
    "profile": "raspberry-pi-4",
    "budget": {"latency_us": 500.0, "artifact_bytes": 2000},
    "options": {"seconds": 60},
}


@pytest.fixture
def searching(store: Store) -> Store:
    facts = ModelFacts(100, 8000, 2000, None, [], [])
    store.models.add("lenet", store.blobs.put(b"onnx"), facts, None, actor="ada")
    return store


def running(store: Store, operator: Browser) -> tuple[str, Seat]:
    """A search with the original, one point in the budget, and one that nothing is gained by."""
    made = operator.post("/searches", ASKED, 201)
    seat = join(store)
    make_trial(store, seat, b"a" * 8000, accuracy=0.98, drop=0.0, latency_us=1000.0, artifact_bytes=8000)
    make_trial(store, seat, b"b" * 1500, accuracy=0.97, drop=0.01, latency_us=400.0, artifact_bytes=1500)
    make_trial(store, seat, b"c" * 9000, accuracy=0.90, drop=0.08, latency_us=1200.0, artifact_bytes=9000)
    return made["id"], seat


def test_a_search_is_queued_with_its_budget_in_words(searching: Store, operator: Browser) -> None:
    made = operator.post("/searches", {**ASKED, "reason": "p95 was 41 ms"}, 201)
    assert (made["state"], made["progress"], made["front"]) == ("queued", 0.0, [])
    assert "2.0 kB" in made["budget_words"]
    assert made["options"] == {"seconds": 60, "workers": 1, "seed": 0}
    assert made["basis"] == "datasheet (roofline, expect a factor of 2)"
    assert [one["id"] for one in operator.get("/searches?model=lenet")] == [made["id"]]
    assert operator.get("/searches?model=other") == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "no-such"}, 404, "model_unknown"),
        ({"profile": "no-such"}, 404, "profile_unknown"),
        ({"dataset": "no-such"}, 404, "dataset_unknown"),
        ({"budget": {}}, 400, "empty_budget"),
        ({"budget": {"latency_us": -1}}, 400, "bad_budget"),
        ({"budget": {"latency_us": 1e300}}, 400, "bad_budget"),
        ({"budget": {"max_drop": 2}}, 400, "bad_budget"),
        ({"budget": {"max_drop": 0.01}}, 400, "no_dataset"),
        ({"budget": {"latency": 3}}, 400, "invalid_request"),
        ({"options": {"seconds": 1}}, 400, "invalid_request"),
        ({"options": {"device": "nobody"}}, 404, "device_unknown"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_a_sentence(
    searching: Store, operator: Browser, change: dict[str, Any], status: int, code: str
) -> None:
    answer = operator.post("/searches", {**ASKED, **change}, status)
    assert operator.refused(answer) == code


def test_a_device_that_cannot_measure_for_it_is_refused(searching: Store, operator: Browser) -> None:
    enrol(searching, "pc", "x86-pc")
    searching.devices.register("new", "raspberry-pi-4", {}, actor="ada")
    for device, code in (("pc", "device_profile"), ("new", "device_not_enrolled")):
        answer = operator.post("/searches", {**ASKED, "options": {"device": device}}, 409)
        assert operator.refused(answer) == code


def test_a_viewer_reads_and_starts_nothing(searching: Store, viewer: Browser) -> None:
    viewer.get("/searches")
    viewer.post("/searches", ASKED, 403)


def test_the_front_is_told_while_it_runs(searching: Store, operator: Browser) -> None:
    search_id, _ = running(searching, operator)
    found = operator.get(f"/searches/{search_id}")
    assert (found["state"], found["front"], found["best"], found["nearest"]) == ("running", [1, 0], 1, None)
    assert found["trials"] == {"running": 0, "done": 3, "failed": 0}
    trials = operator.get(f"/searches/{search_id}/trials")
    assert [(one["on_front"], one["within"]) for one in trials] == [
        (True, False),
        (True, True),
        (False, False),
    ]


def test_no_predicted_figure_looks_measured(searching: Store, operator: Browser) -> None:
    search_id, _ = running(searching, operator)
    figures = operator.get(f"/searches/{search_id}/trials")[1]["figures"]
    assert figures["predicted"] == ["latency_us"]
    assert figures["latency_basis"] == "predicted: datasheet (roofline, expect a factor of 2)"
    assert figures["bytes_basis"] == "the artifact's own bytes"
    assert figures["accuracy_basis"] == "decoded artifact on 100 samples of rows held out to choose by"
    assert figures["energy_mj"] is None and figures["energy_basis"] is None


def test_a_trial_has_its_recipe_as_a_file_that_runs_again(searching: Store, operator: Browser) -> None:
    search_id, _ = running(searching, operator)
    toml = operator.get(f"/searches/{search_id}/trials/1")["toml"]
    assert 'name = "try-1"' in toml and "[[passes]]" in toml and "samples = 32" in toml
    assert operator.refused(operator.get(f"/searches/{search_id}/trials/9", 404)) == "trial_unknown"


def test_an_impossible_budget_says_the_nearest_point_and_what_blocks(
    searching: Store, operator: Browser
) -> None:
    made = operator.post("/searches", {**ASKED, "budget": {"latency_us": 1.0}}, 201)
    seat = join(searching)
    make_trial(searching, seat, None, accuracy=0.98, drop=0.0, latency_us=1000.0, artifact_bytes=8000)
    found = operator.get(f"/searches/{made['id']}")
    assert (found["best"], found["nearest"]) == (None, 0)
    assert "smallest latency found is 1 ms" in found["blocked"][0]


def test_a_kept_file_becomes_an_artifact_and_a_dropped_one_is_made_again(
    searching: Store, operator: Browser
) -> None:
    search_id, _ = running(searching, operator)
    path = f"/searches/{search_id}/trials/1/artifact"
    kept = operator.post(path)
    assert kept["job"] is None
    artifact = operator.get(f"/artifacts/{kept['digest']}")
    assert (artifact["bytes"], artifact["recipe"]) == (1500, f"search-{search_id[:6]}-1")
    assert artifact["report"]["accuracy"]["after"] == 0.97
    assert "latency_us" not in artifact["report"], "it was predicted, and a report holds what was measured"
    assert any("predicted" in warning for warning in artifact["report"]["warnings"])
    searching.search_trials.forget_file(kept["digest"])
    again = operator.post(path, status=202)
    assert again["digest"] is None
    assert again["job"]["options"] == {"search": search_id, "seed": 0, "trial": 1}
    assert operator.post(path, status=202)["job"]["id"] == again["job"]["id"]


def test_the_best_ones_artifact_is_the_one_made_from_all_the_data(
    searching: Store, operator: Browser
) -> None:
    search_id, seat = running(searching, operator)
    made = searching.blobs.put(b"from all the data")
    outcome = Outcome(front=[1, 0], best=1, nearest=None, notes=["Chosen by 100 rows."], chosen=made)
    searching.searches.finish(seat, outcome, [Kept(made, "try-1", 17, {"bytes": {"artifact": 17}})])
    found = operator.get(f"/searches/{search_id}")
    assert (found["state"], found["chosen"], found["progress"]) == ("done", made, 1.0)
    assert found["notes"] == ["Chosen by 100 rows."]
    assert operator.post(f"/searches/{search_id}/trials/1/artifact")["digest"] == made
    assert operator.post(f"/searches/{search_id}/trials/0/artifact")["digest"] != made


def test_cancelling_keeps_the_trials(searching: Store, operator: Browser, clock: Clock) -> None:
    search_id, seat = running(searching, operator)
    assert operator.post(f"/searches/{search_id}/cancel")["cancelling"] is True
    searching.searches.leave(seat)
    found = operator.get(f"/searches/{search_id}")
    assert (found["state"], found["cancelling"], found["front"]) == ("cancelled", False, [1, 0])


def test_events_tell_of_a_search(searching: Store, operator: Browser) -> None:
    search_id, _ = running(searching, operator)
    told = [(one["action"], one["subject"]) for one in operator.get("/events") if one["kind"] == "search"]
    assert ("queued", search_id) in told and ("started", search_id) in told and ("trial", search_id) in told


def test_an_artifact_that_is_there_is_pushed_as_it_is(searching: Store, operator: Browser) -> None:
    search_id, _ = running(searching, operator)
    digest = operator.post(f"/searches/{search_id}/trials/1/artifact")["digest"]
    enrol(searching, "pi", "raspberry-pi-4")
    enrol(searching, "pc", "x86-pc")
    body = {"model": "lenet", "artifact": digest}
    push = operator.post("/push", {**body, "devices": ["pi"]}, 201)
    assert (push["artifacts"], push["jobs"]) == ({"raspberry-pi-4": digest}, [])
    assert push["recipe"] == f"search-{search_id[:6]}-1"
    refused = operator.post("/push", {**body, "devices": ["pi", "pc"]}, 409)
    assert operator.refused(refused) == "artifact_profile"
    both = operator.post("/push", {**body, "recipe": "int8", "devices": ["pi"]}, 400)
    assert operator.refused(both) == "push_what"
