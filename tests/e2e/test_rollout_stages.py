"""A rollout as an operator drives it: real server, real agents, the command line, a policy in a file."""

from pathlib import Path
from typing import Any

import pytest
from installation import Installation, wait_for
from test_delivery import compressed, next_version

pytestmark = pytest.mark.e2e

PROFILE = "x86-pc"
FLEET = ("hall-1", "hall-2", "hall-3")
POLICY = """
canary_per_profile = 1

[[waves]]
percent = 60

[[waves]]
percent = 100
approve = true

[gates]
max_failure_ratio = 0.5
"""


def state(installation: Installation, rollout: str, *wanted: str) -> dict[str, Any]:
    """The rollout, once it is in one of these states."""

    def there() -> dict[str, Any] | None:
        found: dict[str, Any] = installation.api.get(f"/rollouts/{rollout}")
        return found if found["state"] in wanted else None

    return wait_for(f"the rollout {' or '.join(wanted)}", there, 120)


def running(installation: Installation) -> set[str | None]:
    return {(installation.device(name)["running"] or {}).get("digest") for name in FLEET}


def test_waves_wait_for_approval_a_bad_model_stops_at_the_canary_and_all_goes_back(
    installation: Installation, digits: tuple[Path, Path], tmp_path: Path
) -> None:
    model, data = digits
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    installation.start_server()
    for name in FLEET:
        installation.enrol(name, PROFILE)
        installation.start_agent(name)
    installation.cli("dataset", "add", str(data), "--name", "digits")
    installation.cli("model", "add", str(model), "--name", "digits-1", "--dataset", "digits")
    second = next_version(model, tmp_path / "next.onnx")
    installation.cli("model", "add", str(second), "--name", "digits-2", "--dataset", "digits")
    first, then = compressed(installation, "digits-1"), compressed(installation, "digits-2")
    one = installation.api.post("/releases", {"model": "digits-1", "artifacts": [first]})["id"]
    two = installation.api.post("/releases", {"model": "digits-2", "artifacts": [then]})["id"]
    installation.cli("group", "create", "halls", f"profile = {PROFILE} and online")

    plan = installation.cli(
        "rollout", "create", one, "--group", "halls", "--policy", str(policy), "--dry-run"
    )
    assert plan["devices_total"] == 3, plan
    assert installation.api.get("/rollouts") == []

    made = installation.cli("rollout", "create", one, "--group", "halls", "--policy", str(policy))["id"]

    def waits_for_a_person() -> bool:
        return "approve" in installation.api.get(f"/rollouts/{made}")["waiting"]

    wait_for("the last wave waiting for a person", waits_for_a_person, 120)
    assert running(installation) == {first, None}
    installation.cli("rollout", "approve", made)
    state(installation, made, "done")
    assert running(installation) == {first}
    said = " ".join(f"{d['what']} {d['why']}" for d in installation.cli("rollout", "log", made))
    assert "approved" in said and "passed" in said

    stopped = installation.cli("rollout", "create", two, "--all", "--max-p95", "0.001")["id"]
    found = state(installation, stopped, "paused")
    assert "95th percentile" in found["reason"], found["reason"]
    assert running(installation) == {first}
    installation.cli("rollout", "abort", stopped)
    state(installation, stopped, "aborted")

    good = installation.cli("rollout", "create", two, "--all")["id"]
    state(installation, good, "done")
    assert running(installation) == {then}
    installation.cli("rollout", "rollback", good)
    state(installation, good, "aborted")
    assert running(installation) == {first}
    # They went back under a new release counter: no device had to lower its floor.
    assert all(installation.device(name)["running"]["release_counter"] > 2 for name in FLEET)
