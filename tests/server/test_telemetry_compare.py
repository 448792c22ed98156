"""A model in the fleet and a rollout's arms: before and after, canary and control, predicted and measured."""

from __future__ import annotations

import pytest
from server_story import Browser, Clock
from telemetry_fleet import Fleet, histogram

from edgepress_devices.protocol import Sample
from edgepress_server.api.rollout_compare import CompareAnswer
from edgepress_server.api.telemetry_models import FieldAnswer
from edgepress_server.store import Store
from edgepress_server.store.artifact_predictions import Predicted

OLD, NEW = "a" * 64, "b" * 64
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
PROFILE = "raspberry-pi-4"


def runs(digest: str, latency_us: float, errors: int = 0) -> object:
    return lambda at: Sample(
        at, 60_000, digest, 20, errors, histogram(*[latency_us] * 20), rss_bytes=64 << 20
    )


@pytest.fixture
def told_at(store: Store, clock: Clock) -> int:
    """Six boards ran OLD for a day; two of them were told to run NEW, which is twice as fast, an hour ago."""
    fleet = Fleet(store)
    fleet.artifact(OLD)
    fleet.artifact(NEW)
    store.artifact_predictions.put(PROFILE, NEW, "identity", Predicted(600.0, "calibration", 0.08))
    now = store.now_ms()
    told = now - HOUR_MS
    for n in range(6):
        fleet.device(f"pi-{n}")
        until = told if n < 2 else now
        fleet.steady(f"pi-{n}", now - 26 * HOUR_MS, until, runs(OLD, 1000.0), every_ms=60_000)  # type: ignore[arg-type]
        if n < 2:
            fleet.steady(f"pi-{n}", told, now, runs(NEW, 500.0, errors=1), every_ms=60_000)  # type: ignore[arg-type]
        fleet.say(f"pi-{n}", running=NEW if n < 2 else OLD, release=2 if n < 2 else 1)
    with store.transaction() as connection:
        for number, (digest, at) in enumerate(((OLD, now - 30 * HOUR_MS), (NEW, told)), 1):
            connection.execute(
                "INSERT INTO releases (id, model, counter, created_at) VALUES (?, 'kws', ?, ?)",
                (f"r{number}", number, at),
            )
            connection.execute(
                "INSERT INTO release_artifacts (release, profile, digest, statement) VALUES (?, ?, ?, '')",
                (f"r{number}", PROFILE, digest),
            )
        connection.execute(
            "INSERT INTO rollouts (id, release, state, policy, created_at, stage_since)"
            " VALUES ('roll', 'r2', 'canary', '{}', ?, ?)",
            (told, told),
        )
        for n in range(6):
            connection.execute(
                "INSERT INTO rollout_devices (rollout, device, digest, profile, stage, wave, state,"
                " updated_at, told_at) VALUES ('roll', ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    f"pi-{n}",
                    NEW,
                    PROFILE,
                    "canary" if n < 2 else "ramp",
                    0 if n < 2 else 1,
                    "committed" if n < 2 else "waiting",
                    told,
                    told if n < 2 else None,
                ),
            )
    fleet.settle(clock)
    return told


def test_canaries_stand_beside_devices_that_were_not_told(viewer: Browser, told_at: int) -> None:
    found = viewer.get("/rollouts/roll/compare?step_ms=600000")
    CompareAnswer.model_validate(found)
    assert (found["told_at"], found["release"], found["model"]) == (told_at, 2, "kws")
    (profile,) = found["profiles"]
    canary, control, before = profile["canary"], profile["control"], profile["before"]
    assert (canary["devices"], canary["names"]) == (2, ["pi-0", "pi-1"])
    assert (control["devices"], control["names"]) == (4, ["pi-2", "pi-3", "pi-4", "pi-5"])
    assert canary["figures"]["p95_us"] == pytest.approx(500, rel=0.011)
    assert canary["figures"]["inferences"] == 2 * 20 * 60
    assert canary["figures"]["error_ratio"] == pytest.approx(1 / 21)
    assert control["figures"]["p95_us"] == pytest.approx(1000, rel=0.011) == before["p95_us"]
    assert before["error_ratio"] == 0
    curve = dict(zip(found["t"], canary["series"]["p95_us"], strict=True))
    assert curve[told_at - 600_000] == pytest.approx(1000, rel=0.011)
    assert curve[told_at + 600_000] == pytest.approx(500, rel=0.011)


def test_a_rollout_that_is_not_there_is_not_compared(viewer: Browser) -> None:
    assert viewer.get("/rollouts/none/compare", 404)


def test_a_model_in_the_fleet_before_and_after_its_release(viewer: Browser, told_at: int) -> None:
    found = viewer.get("/models/kws/telemetry")
    FieldAnswer.model_validate(found)
    old, new = found["artifacts"]
    assert (old["digest"], old["devices"], old["release"]) == (OLD, 4, 1)
    assert (new["digest"], new["devices"], new["release"]) == (NEW, 2, 2)
    assert new["figures"]["p50_us"] == pytest.approx(500, rel=0.011)
    assert new["predicted"] == {"latency_us": 600.0, "basis": "calibration", "error": 0.08}
    assert new["ratio"] == pytest.approx(1.2, rel=0.011) and old["predicted"] is None
    assert found["profiles"] == [{"profile": PROFILE, "devices": 6, "online": 6, "running": {OLD: 4, NEW: 2}}]
    second, first = found["releases"]
    (on,) = second["profiles"]
    assert (second["counter"], on["previous"], on["first_at"]) == (2, OLD, told_at)
    assert on["before"]["p95_us"] == pytest.approx(1000, rel=0.011)
    assert on["after"]["p95_us"] == pytest.approx(500, rel=0.011) and on["after"]["inferences"] == 2 * 20 * 60
    assert first["profiles"][0]["previous"] is None and first["profiles"][0]["before"] is None


def test_an_artifact_in_the_fleet_is_told_alone(viewer: Browser, told_at: int) -> None:
    found = viewer.get(f"/artifacts/{NEW}/telemetry")
    assert [one["digest"] for one in found["artifacts"]] == [NEW]
    assert [one["profiles"][0]["digest"] for one in found["releases"]] == [NEW]
    assert viewer.get(f"/artifacts/{'c' * 64}/telemetry", 404)
    assert viewer.get("/models/none/telemetry", 404)


def test_a_group_has_series_as_a_device_has(viewer: Browser, told_at: int) -> None:
    asked = f"from={told_at}&to={told_at + HOUR_MS}&step_ms=600000&metric=p95_us,error_ratio,inferences"
    of_artifact = viewer.get(f"/telemetry/series?group=artifact:{NEW}&{asked}")
    assert of_artifact["series"]["p95_us"] == pytest.approx([500] * 6, rel=0.011)
    of_fleet = viewer.get(f"/telemetry/series?group=fleet&{asked}")
    assert of_fleet["series"]["inferences"] == [6 * 20 * 10] * 6
    one = viewer.get(f"/telemetry/series?device=pi-0&{asked}")
    assert one["series"]["inferences"] == [20 * 10] * 6
    for wrong in ("group=all", f"group=fleet&device=pi-0&{asked}", "metric=p95_us"):
        assert viewer.get(f"/telemetry/series?{wrong}&metric=p95_us", 400)
