"""What travels: a delta to a device that runs the version before, and HTTPS where the rules say so."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from installation import Installation, wait_for
from onnx import numpy_helper

pytestmark = pytest.mark.e2e

PROFILE = "x86-pc"
DEVICE = "hall-3"


def next_version(model: Path, target: Path, seed: int = 1) -> Path:
    """The same network with a last layer that learned a little more."""
    proto = onnx.load(model)
    consumed = proto.graph.node[-1] if proto.graph.node[-1].op_type == "Gemm" else None
    last = consumed or [node for node in proto.graph.node if node.op_type == "Gemm"][-1]
    rng = np.random.default_rng(seed)
    for tensor in proto.graph.initializer:
        if tensor.name == last.input[1]:
            values = numpy_helper.to_array(tensor)
            moved = values + 0.02 * values.std() * rng.normal(size=values.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))
    onnx.save(proto, target)
    return target


def compressed(installation: Installation, name: str) -> str:
    """Digest of the model's artifact."""
    job = installation.api.post("/jobs", {"model": name, "recipe": "int8", "profiles": [PROFILE]})[0]

    def done() -> dict[str, Any] | None:
        found: dict[str, Any] = installation.api.get(f"/jobs/{job['id']}")
        assert found["state"] in ("queued", "running", "done"), found["message"]
        return found if found["state"] == "done" else None

    return str(wait_for("the compression", done, 120)["artifact"])


def rolled_out(installation: Installation, model: str, digest: str, **policy: str) -> dict[str, Any]:
    """The device's state once it runs the artifact."""
    release = installation.api.post("/releases", {"model": model, "artifacts": [digest]})
    body = {"release": release["id"], "devices": [DEVICE], "policy": policy}
    installation.api.post("/rollouts", body)

    def committed() -> dict[str, Any] | None:
        found = installation.device(DEVICE)
        return found if (found["running"] or {}).get("digest") == digest else None

    return wait_for("the installation", committed, 90)


def test_the_next_version_travels_as_a_delta_and_by_https_where_rules_say_so(
    installation: Installation, digits: tuple[Path, Path], tmp_path: Path
) -> None:
    model, data = digits
    installation.start_server()
    installation.enrol(DEVICE, PROFILE)
    installation.start_agent(DEVICE)
    installation.cli("dataset", "add", str(data), "--name", "digits")
    installation.cli("model", "add", str(model), "--name", "digits-1", "--dataset", "digits")
    second = next_version(model, tmp_path / "next.onnx")
    installation.cli("model", "add", str(second), "--name", "digits-2", "--dataset", "digits")
    first, then = compressed(installation, "digits-1"), compressed(installation, "digits-2")

    rolled_out(installation, "digits-1", first)
    device = rolled_out(installation, "digits-2", then)
    whole = next(a["bytes"] for a in installation.api.get("/artifacts") if a["digest"] == then)
    assert device["delta"], device
    assert device["received_bytes"] < whole / 5, (device["received_bytes"], whole)

    third = next_version(model, tmp_path / "third.onnx", seed=2)
    installation.cli("model", "add", str(third), "--name", "digits-3", "--dataset", "digits")
    installation.cli("delivery", "set", "--transport", "https")
    whole_again = compressed(installation, "digits-3")
    device = rolled_out(installation, "digits-3", whole_again, delta="never")
    assert not device["delta"]
    assert device["received_bytes"] >= whole * 0.9
    assert "over HTTPS" in installation.log(DEVICE)

    # What ran before still lies in the other slot: going back fetches nothing.
    back = rolled_out(installation, "digits-2", then)
    assert back["running"]["digest"] == then
