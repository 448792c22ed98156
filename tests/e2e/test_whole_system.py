"""The main job without a browser: on a real mosquitto, and through kill -9 of the server."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, wait_for

pytestmark = pytest.mark.e2e


def add_digits(installation: Installation, digits: tuple[Path, Path]) -> None:
    model, data = digits
    installation.cli("dataset", "add", str(data), "--name", "digits")
    installation.cli("model", "add", str(model), "--name", "digits-cnn", "--dataset", "digits")


def rollout_ends(installation: Installation, rollout: str) -> dict[str, Any]:
    def final() -> dict[str, Any] | None:
        found: dict[str, Any] = installation.api.get(f"/rollouts/{rollout}")
        return found if found["state"] in {"done", "paused", "aborted"} else None

    return wait_for("the rollout's end", final, 120)


@pytest.mark.skipif(
    shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
    reason="no mosquitto here; Debian: sudo apt-get install mosquitto",
)
def test_the_main_job_runs_on_a_real_mosquitto(tmp_path: Path, digits: tuple[Path, Path]) -> None:
    installation = Installation(tmp_path, broker="mosquitto")
    try:
        installation.start_server()
        installation.enrol("pi", "raspberry-pi-5")
        installation.start_agent("pi")
        add_digits(installation, digits)
        jobs = installation.cli("compress", "digits-cnn", "--recipe", "int8", "--profile", "raspberry-pi-5")
        assert [j["state"] for j in jobs] == ["done"]
        release = installation.cli("release", "create", "digits-cnn")
        rollout = installation.cli("rollout", "create", release["id"], "--device", "pi")
        assert rollout_ends(installation, rollout["id"])["state"] == "done"
        device = installation.device("pi")
        assert device["running"]["digest"] == jobs[0]["artifact"]
        wait_for("telemetry", lambda: installation.api.get("/telemetry/latest").get("pi"))
    finally:
        installation.close()


def test_a_server_killed_in_the_middle_of_a_job_finishes_it_after_a_restart(
    installation: Installation, digits: tuple[Path, Path]
) -> None:
    installation.start_server()
    add_digits(installation, digits)
    job = installation.api.post(
        "/jobs", {"model": "digits-cnn", "recipe": "deep-compression", "profiles": ["raspberry-pi-4"]}
    )[0]

    def under_way() -> bool:
        found = installation.api.get(f"/jobs/{job['id']}")
        assert found["state"] in {"queued", "running"}, f"too fast to be killed in the middle: {found}"
        return bool(found["state"] == "running" and found["progress"] > 0)

    wait_for("the job's first progress", under_way)
    installation.kill_server()
    installation.start_server()

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = installation.api.get(f"/jobs/{job['id']}")
        return found if found["state"] not in {"queued", "running"} else None

    found = wait_for("the job's end after the restart", ended, 180)
    assert found["state"] == "done", found["message"]
    artifacts = installation.api.get("/artifacts")
    assert [a["digest"] for a in artifacts] == [found["artifact"]]


def test_a_server_killed_in_the_middle_of_a_rollout_finishes_it_after_a_restart(
    installation: Installation, digits: tuple[Path, Path]
) -> None:
    installation.start_server()
    for name in ("first", "second"):
        installation.enrol(name, "x86-pc")
    add_digits(installation, digits)
    installation.cli("compress", "digits-cnn", "--recipe", "none", "--profile", "x86-pc")
    release = installation.cli("release", "create", "digits-cnn")
    rollout = installation.cli("rollout", "create", release["id"], "--all")
    # Only the canary is there: the rollout stands in its middle.
    installation.start_agent("first")
    wait_for(
        "the first device's commit",
        lambda: installation.api.get(f"/rollouts/{rollout['id']}")["counts"]["committed"] == 1 or None,
    )
    installation.kill_server()
    installation.start_server()
    installation.start_agent("second")
    found = rollout_ends(installation, rollout["id"])
    assert found["state"] == "done", found["reason"]
    assert {d["device"]: d["state"] for d in found["devices"]} == {
        "first": "committed",
        "second": "committed",
    }


def test_an_agent_killed_during_and_after_an_installation_ends_running_the_release(
    installation: Installation, digits: tuple[Path, Path]
) -> None:
    """Each single step is in test_agent.py; here the whole system lives through it."""
    installation.start_server()
    installation.enrol("pi", "x86-pc")
    add_digits(installation, digits)
    jobs = installation.cli("compress", "digits-cnn", "--recipe", "none", "--profile", "x86-pc")
    release = installation.cli("release", "create", "digits-cnn")
    rollout = installation.cli("rollout", "create", release["id"], "--all")
    installation.start_agent("pi")
    wait_for("a sign of life", lambda: installation.device("pi")["status"] == "online" or None)
    installation.kill_agent("pi")  # somewhere in the middle: it has just read what it should run
    wait_for("its will", lambda: installation.device("pi")["status"] == "offline" or None)
    installation.start_agent("pi")
    assert rollout_ends(installation, rollout["id"])["state"] == "done"
    installation.kill_agent("pi")
    wait_for("its will", lambda: installation.device("pi")["status"] == "offline" or None)
    installation.start_agent("pi")
    wait_for("its return", lambda: installation.device("pi")["status"] == "online" or None)
    assert installation.device("pi")["running"]["digest"] == jobs[0]["artifact"]
