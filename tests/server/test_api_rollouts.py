"""Releases, rollouts and the one-click push through the API; the worker's push steps beside it."""

from typing import Any

import pytest
from server_story import Browser

from edgepress_devices.protocol import Hardware
from edgepress_server.api.context import Context
from edgepress_server.jobs.push import advance_pushes
from edgepress_server.store import Store
from edgepress_server.store.jobs import Job, Result
from edgepress_server.store.models import ModelFacts


@pytest.fixture
def keys(app: Any) -> Any:
    context: Context = app.extensions["edgepress"]
    return context.keys


@pytest.fixture
def fleet(store: Store) -> Store:
    """A model, and two enrolled devices of two profiles and one that is only registered."""
    store.models.add("tiny", store.blobs.put(b"onnx"), ModelFacts(4, 4, 1, None, [], []), None, actor=None)
    for name, profile in (("pi-4", "raspberry-pi-4"), ("pi-5", "raspberry-pi-5")):
        store.devices.register(name, profile, {}, actor=None)
        code, _ = store.devices.new_code(name, actor=None)
        store.devices.enrol(code, "a2V5", Hardware(), "0.1.0")
    store.devices.register("new", "raspberry-pi-4", {}, actor=None)
    return store


def finish(store: Store, job: Job | None = None) -> str:
    """The worker's part: the next job is done."""
    job = job or store.jobs.take("w")
    assert job is not None
    digest = store.blobs.put(f"artifact of {job.id}".encode())
    store.jobs.finish(job, Result(digest, 10, {}))
    return digest


def artifact(store: Store, profile: str) -> str:
    store.jobs.submit(model="tiny", recipe="int8", profile=profile, dataset=None, actor=None)
    return finish(store)


def test_a_release_and_its_rollout_are_made_listed_paused_resumed_and_aborted(
    operator: Browser, fleet: Store
) -> None:
    digest = artifact(fleet, "raspberry-pi-4")
    release = operator.post("/releases", {"model": "tiny", "artifacts": [digest], "note": "first"}, 201)
    assert (release["counter"], release["artifacts"]) == (1, {"raspberry-pi-4": digest})
    assert operator.get("/releases") == [release]
    body = {"release": release["id"], "profiles": ["raspberry-pi-4"], "policy": {"soak_s": 60}}
    rollout = operator.post("/rollouts", body, 201)
    assert [device["device"] for device in rollout["devices"]] == ["pi-4"]
    assert rollout["policy"]["soak_s"] == 60 and rollout["counts"]["waiting"] == 1
    path = f"/rollouts/{rollout['id']}"
    assert operator.post(f"{path}/pause")["state"] == "paused"
    assert operator.refused(operator.post(f"{path}/pause", status=409))
    assert operator.post(f"{path}/resume")["state"] != "paused"
    assert operator.post(f"{path}/abort")["state"] in ("rolling_back", "aborted")
    assert operator.get("/rollouts")[0]["id"] == operator.get(path)["id"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"release": "none"}, 404),
        ({"release": "none", "policy": {"max_failed": -1}}, 400),
        ({"release": "none", "policy": {"typo": 1}}, 400),
        ({"release": "none", "policy": {"limits": {"p95_us": 0}}}, 400),
        ({}, 400),
    ],
)
def test_a_rollout_that_cannot_be_is_refused(operator: Browser, body: dict[str, Any], status: int) -> None:
    assert operator.refused(operator.post("/rollouts", body, status))


def test_a_push_compresses_what_is_missing_then_releases_and_rolls_out(
    operator: Browser, fleet: Store, keys: Any
) -> None:
    old = artifact(fleet, "raspberry-pi-5")
    push = operator.post("/push", {"model": "tiny", "recipe": "int8", "devices": ["pi-4", "pi-5"]}, 201)
    assert [job["profile"] for job in push["jobs"]] == ["raspberry-pi-4"]
    assert push["artifacts"] == {"raspberry-pi-5": old}
    advance_pushes(fleet, keys)
    assert operator.get(f"/push/{push['id']}")["state"] == "compressing"
    new = finish(fleet)
    advance_pushes(fleet, keys)
    advance_pushes(fleet, keys)
    push = operator.get(f"/push/{push['id']}")
    assert push["state"] == "rolling_out"
    rollout = operator.get(f"/rollouts/{push['rollout']}")
    assert {device["device"]: device["digest"] for device in rollout["devices"]} == {"pi-4": new, "pi-5": old}
    fleet.rollout_moves.set_state(push["rollout"], "paused", "two devices failed")
    advance_pushes(fleet, keys)
    assert operator.get(f"/push/{push['id']}")["message"] == "Paused: two devices failed"
    fleet.rollout_moves.set_state(push["rollout"], "done", "")
    advance_pushes(fleet, keys)
    assert operator.get(f"/push/{push['id']}")["state"] == "done"


def test_a_push_by_profile_takes_the_enrolled_devices_only(operator: Browser, fleet: Store) -> None:
    push = operator.post("/push", {"model": "tiny", "recipe": "int8", "profiles": ["raspberry-pi-4"]}, 201)
    assert push["devices"] == ["pi-4"]


def test_a_push_whose_compression_fails_says_why(operator: Browser, fleet: Store, keys: Any) -> None:
    push = operator.post("/push", {"model": "tiny", "recipe": "int8", "devices": ["pi-4"]}, 201)
    job = fleet.jobs.take("w")
    assert job is not None
    fleet.jobs.fail(job, "The data set does not fit the model.")
    advance_pushes(fleet, keys)
    push = operator.get(f"/push/{push['id']}")
    assert push["state"] == "failed" and "does not fit" in push["message"]


def test_a_push_whose_device_was_revoked_meanwhile_fails_and_makes_no_release(
    operator: Browser, fleet: Store, keys: Any
) -> None:
    push = operator.post("/push", {"model": "tiny", "recipe": "int8", "devices": ["pi-4"]}, 201)
    finish(fleet)
    fleet.devices.revoke("pi-4", actor=None)
    for _ in range(3):
        advance_pushes(fleet, keys)
    push = operator.get(f"/push/{push['id']}")
    assert push["state"] == "failed" and "revoked" in push["message"]
    assert operator.get("/releases") == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"devices": ["new"]}, "device_not_enrolled"),
        ({"devices": ["none"]}, "device_unknown"),
        ({"devices": []}, "push_target"),
        ({"devices": ["pi-4"], "profiles": ["raspberry-pi-4"]}, "push_target"),
        ({"profiles": ["jetson-nano"]}, "no_devices"),
        ({"devices": ["pi-4"], "recipe": "nothing"}, "recipe_unknown"),
    ],
)
def test_a_push_that_cannot_be_is_refused_and_starts_nothing(
    operator: Browser, fleet: Store, change: dict[str, Any], code: str
) -> None:
    answer = operator.client.post(
        "/api/v1/push", json={"model": "tiny", "recipe": "int8", **change}, headers=operator.headers
    )
    assert operator.refused(answer.json) == code
    assert fleet.jobs.list() == []
