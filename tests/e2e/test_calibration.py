"""A real agent is asked to measure itself, and its profile learns from what it found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from installation import Installation, wait_for

import edgepress_agent
from edgepress_devices.microbench.nets import write_net

pytestmark = pytest.mark.e2e

SECONDS = 30  # of measuring: enough for more than half of the nets on two cores
MORE_SECONDS = 90  # where something else has the machine: a device throws out what it was disturbed in


def calibrate(installation: Installation) -> Any:
    """As a person does it, who asks again with more seconds when the device says that it had too few."""
    asked = ("profile", "calibrate", "x86-pc", "--device", "shelf-pc", "--seconds")
    try:
        return installation.cli(*asked, str(SECONDS))
    except AssertionError:
        newest = installation.api.get("/profiling?device=shelf-pc")[0]
        assert newest["message"].endswith("Ask again with more seconds."), newest
        return installation.cli(*asked, str(MORE_SECONDS))


def test_a_device_is_asked_and_its_profile_predicts_better_from_then_on(
    installation: Installation, tmp_path: Path
) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(write_net("lenet-28", "fp32"))
    installation.start_server()
    installation.enrol("shelf-pc", "x86-pc")
    installation.start_agent("shelf-pc")
    installation.cli("model", "add", str(model), "--name", "net")
    (job,) = installation.cli("compress", "net", "--recipe", "none", "--profile", "x86-pc")
    release = installation.cli("release", "create", "net")
    installation.cli("rollout", "create", release["id"], "--all")
    wait_for("the artifact's start", lambda: installation.device("shelf-pc")["running"], 60)

    before = installation.cli("profile", "calibration", "x86-pc")
    assert before["active"] is None
    made = calibrate(installation)
    (measured,) = made["jobs"]
    assert (measured["state"], measured["percent"]) == ("done", 100)
    active = made["calibration"]["active"]
    assert active["devices"] == ["shelf-pc"] and active["rejected"] == []
    assert active["error_after"] < active["error_before"], active["message"]
    assert installation.device("shelf-pc")["running"]["digest"] == job["artifact"]

    # What it runs is measured too, by itself and by what it answers, and held against the prediction.
    about = installation.api.post("/devices/shelf-pc/profiling", {"what": "model", "seconds": 5})
    detail = wait_for(
        "the report about the artifact",
        lambda: found if (found := installation.api.get(f"/profiling/{about['id']}"))["report"] else None,
        120,
    )
    assert detail["digest"] == job["artifact"] and detail["report"]["nets"][0]["p50_us"] > 0
    shape = installation.api.get("/models/net")["inputs"][0]["shape"]
    program = edgepress_agent.connect(installation.agent_url("shelf-pc"))

    def compared() -> bool:
        for _ in range(20):
            program.infer({"x0": np.ones(shape, np.float32)})
        return bool(installation.api.get("/profiles/x86-pc/calibration")["errors"])

    wait_for("the comparison of prediction and telemetry", compared, 60)
    (error,) = installation.api.get("/profiles/x86-pc/calibration")["errors"]
    assert error["digest"] == job["artifact"] and error["basis"] == "calibration"

    reverted = installation.cli("profile", "calibration", "x86-pc", "--revert")
    assert reverted["active"] is None
    assert [row["state"] for row in installation.cli("profile", "calibration", "x86-pc", "--history")] == [
        "reverted"
    ]


def test_a_device_that_goes_away_in_the_middle_is_said_so_and_goes_on_when_it_is_back(
    installation: Installation,
) -> None:
    installation.start_server()
    installation.enrol("shelf-pc", "x86-pc")
    installation.start_agent("shelf-pc")
    wait_for("the device", lambda: installation.device("shelf-pc")["status"] == "online")
    job = installation.api.post("/devices/shelf-pc/profiling", {"what": "device", "seconds": 120})
    path = f"/profiling/{job['id']}"
    wait_for("its begin", lambda: installation.api.get(path)["percent"] > 0)
    installation.kill_agent("shelf-pc")
    wait_for("the words", lambda: "went away at" in installation.api.get(path)["message"])
    installation.start_agent("shelf-pc")
    wait_for("its return", lambda: "went away" not in installation.api.get(path)["message"])
    assert installation.api.get(path)["state"] in ("sent", "running")
    installation.api.post(f"{path}/cancel")
    wait_for(
        "the agent's stop",
        lambda: (
            installation.device("shelf-pc")["status"] == "online"
            and installation.api.get(path)["state"] == "cancelled"
        ),
    )
    assert installation.api.get("/profiles/x86-pc/calibration")["newest"] is None
