"""Hostile payloads in the compiled decoders: no harm under the sanitizers, the same answers on every machine.

A bounded run of what `make fuzz` does at length; see compression/native/fuzz.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "compression/native/fuzz"
MACHINES = {"sanitized", "native", "wasm", "aarch64", "armv7l"}


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FUZZ / "campaign.py"), "--json", "--keep", str(folder), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"EDGEPRESS_NATIVE": ""}
    )


@pytest.fixture(scope="module")
def machines() -> list[str]:
    """Those that this machine can run; in CI every one."""
    asked = "import builds, json; print(json.dumps({m: builds.missing(m) for m in builds.EXACT}))"
    done = subprocess.run([sys.executable, "-c", asked], cwd=FUZZ, capture_output=True, text=True, check=True)
    missing = {machine: reason for machine, reason in json.loads(done.stdout).items() if reason}
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"in CI nothing is left out: {missing}")
    found = sorted(MACHINES - set(missing))
    if len(found) < 2:
        pytest.skip(f"nothing to compare: {missing}")
    return found


@pytest.fixture(scope="module")
def built(machines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs and the seeds, each tried once."""
    folder = tmp_path_factory.mktemp("fuzz")
    done = run("--runs", "0", "--on", ",".join(machines), folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(900)
def test_hostile_payloads_do_no_harm_and_mean_the_same_everywhere(machines, built):
    done = run("--again", "--runs", "1500", "--on", ",".join(machines), folder=built)
    assert done.returncode == 0, done.stderr
    sums = {}
    for row in json.loads(done.stdout):
        sums.setdefault(row["target"], {})[row["machine"]] = row["checksum"]
        assert row["refused_seeds"] == 0
    assert set(sums) >= {"stream", "gaps", "rans", "bloomier", "context", "floats_few", "text", "untangle"}
    for target, by_machine in sums.items():
        assert sorted(by_machine) == machines
        assert len(set(by_machine.values())) == 1, (target, by_machine)


@pytest.mark.timeout(900)
def test_a_planted_overrun_is_found_on_every_machine(machines, built):
    for machine in machines:
        done = run("--again", "--runs", "20000", "--only", "planted", "--on", machine, folder=built)
        assert done.returncode == 1, (machine, done.stdout)
        said = "heap-buffer-overflow" if machine == "sanitized" else "written after the end of a buffer"
        assert said in done.stderr, machine
        kept = built / "crash-planted.bin"
        assert kept.stat().st_size > 10, machine
        kept.unlink()


@pytest.mark.timeout(900)
def test_encoders_and_their_callers_stay_inside_their_buffers(machines, tmp_path):
    if "sanitized" not in machines:
        pytest.skip("gcc is missing (Debian: apt-get install gcc)")
    command = [sys.executable, str(FUZZ / "round_trips.py"), "--tensors", "60", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "through every coder and back" in done.stdout
