"""Keys change under a running fleet: a real server, a real agent, release and root keys on a stick."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from installation import EDGEPRESS, ENV, Installation, wait_for
from test_whole_system import add_digits, rollout_ends

pytestmark = pytest.mark.e2e


def keys(installation: Installation, *arguments: str, here: bool = True) -> str:
    """``edgepress keys ...``: on the server's folder, or on a machine that has none."""
    where = ["--data", str(installation.data_dir)] if here else []
    done = subprocess.run(
        [*EDGEPRESS, "keys", *arguments, *where],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"edgepress keys {' '.join(arguments)} failed:\n{done.stderr}"
    return done.stdout


def state(installation: Installation) -> dict[str, Any]:
    found: dict[str, Any] = installation.device("pi")["state"] or {}
    return found


def test_a_release_signed_on_another_machine_reaches_a_device_that_followed_every_root(
    installation: Installation, digits: tuple[Path, Path], tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    passphrase = ["--passphrase-file", str(tmp_path / "passphrase")]
    installation.start_server()
    installation.enrol("pi", "x86-pc")
    installation.start_agent("pi")
    add_digits(installation, digits)
    first = installation.cli("compress", "digits-cnn", "--recipe", "none", "--profile", "x86-pc")
    release = installation.cli("release", "create", "digits-cnn")
    rollout = installation.cli("rollout", "create", release["id"], "--all")
    assert rollout_ends(installation, rollout["id"])["state"] == "done"

    # The ceremony: the root and the release key leave the server, and the director gets a new one.
    keys(installation, "init", str(stick), "--role", "release", *passphrase, here=False)
    (public,) = stick.glob("release-*.pub.pem")
    keys(installation, "rotate", "release", "--key", str(public))
    keys(installation, "take-offline", "root", str(stick), *passphrase)
    assert "waits for signatures" in keys(installation, "rotate", "director")
    bundle = str(tmp_path / "bundle")
    keys(installation, "export", "root", "-o", bundle)
    (root_key,) = stick.glob("root-*.pem")
    said = keys(installation, "sign", bundle, "--key", str(root_key), "--yes", *passphrase, here=False)
    assert "director key" in said
    assert "TUF root 3 is published" in keys(installation, "import", bundle)
    wait_for("the device to follow both roots", lambda: state(installation).get("root") == 3)
    assert installation.device("pi")["running"]["digest"] == first[0]["artifact"]  # it went on running

    # The next release waits for the stick, and reaches the device when it is signed.
    second = installation.cli("compress", "digits-cnn", "--recipe", "int8", "--profile", "x86-pc")
    release = installation.cli("release", "create", "digits-cnn")
    assert release["state"] == "awaiting_signature"
    rollout = installation.cli("rollout", "create", release["id"], "--all")
    keys(installation, "export", release["id"], "-o", bundle)
    release_key = public.with_name(public.name.replace(".pub.pem", ".pem"))
    said = keys(installation, "sign", bundle, "--key", str(release_key), "--yes", *passphrase, here=False)
    assert second[0]["artifact"] in said
    assert installation.api.get(f"/rollouts/{rollout['id']}")["counts"].get("committed", 0) == 0
    assert "it is signed" in keys(installation, "import", bundle)
    found = rollout_ends(installation, rollout["id"])
    assert found["state"] == "done", found["reason"]
    assert installation.device("pi")["running"]["digest"] == second[0]["artifact"]
    assert "All is well" in keys(installation, "verify")
