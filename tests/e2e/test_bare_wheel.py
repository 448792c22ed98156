"""What a board installs: the wheel alone, no extras. It runs the agent, and nothing heavy comes along."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from installation import ENV, Installation, wait_for

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
HEAVY = {"torch", "flask", "sqlite-utils", "onnx", "gunicorn", "iotcore", "scikit-learn", "pillow", "rich"}


def pip(python: Path, *args: str) -> str:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *args]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=ENV, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, f"pip {' '.join(args)} failed:\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment with nothing but the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("bare")
    pip(Path(sys.executable), "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), ".")
    (wheel,) = folder.glob("edgepress-*.whl")
    assert "manylinux" in wheel.name  # a wheel with the compiled codec, for this platform
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    pip(python, "install", "--quiet", "--constraint", "constraints.txt", str(wheel))
    return python


def test_nothing_heavy_is_installed(bare: Path) -> None:
    installed = {row["name"].lower() for row in json.loads(pip(bare, "list", "--format", "json"))}
    assert "edgepress" in installed
    assert installed & HEAVY == set()


def test_the_compiled_codec_came_along(bare: Path) -> None:
    asked = (
        "from edgepress_compression.codec import native;"
        " print(native.available(), native.status('ep_abi') == native.ABI, native.LIBRARY)"
    )
    env = {**os.environ, "PYTHONPATH": "", "EDGEPRESS_NATIVE": ""}
    said = subprocess.check_output([str(bare), "-c", asked], env=env, text=True).split()
    assert said[:2] == ["True", "True"]
    assert Path(said[2]).is_relative_to(bare.parents[1])  # the wheel's own, not that of this checkout


def test_the_agent_of_the_bare_wheel_does_the_main_job(
    bare: Path, installation: Installation, digits: tuple[Path, Path]
) -> None:
    installation.agent_command = [str(bare.with_name("edgepress-agent"))]
    installation.start_server()
    installation.enrol("board", "raspberry-pi-zero-2w")
    installation.start_agent("board")
    model, data = digits
    installation.cli("dataset", "add", str(data), "--name", "digits")
    installation.cli("model", "add", str(model), "--name", "digits-cnn", "--dataset", "digits")
    installation.cli("compress", "digits-cnn", "--recipe", "none", "--profile", "raspberry-pi-zero-2w")
    release = installation.cli("release", "create", "digits-cnn")
    installation.cli("rollout", "create", release["id"], "--all")
    wait_for("the installation", lambda: installation.device("board")["running"])


def test_the_operators_command_says_which_extra_it_needs(bare: Path) -> None:
    said = subprocess.run(
        [str(bare.with_name("edgepress")), "device", "list"],
        env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 1
    assert "pip install 'edgepress[server]'" in said.stderr
    assert "Traceback" not in said.stderr
