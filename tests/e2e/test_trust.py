"""Keys change under a running fleet: a real server, a real agent, release and root keys on a stick."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from installation import Installation, wait_for
from test_whole_system import add_digits, rollout_ends

from edgepress_server.cli.main import edgepress

pytestmark = pytest.mark.e2e


def keys(installation: Installation, *arguments: str, here: bool = True) -> str:
    """``edgepress keys ...``: on the server's folder while it runs, or on a machine that has none."""
    where = ["--data", str(installation.data_dir)] if here else []
    done = CliRunner().invoke(edgepress, ["keys", *arguments, *where])
    assert done.exit_code == 0, f"edgepress keys {' '.join(arguments)} failed:\n{done.output}"
    return done.output


def root_version(installation: Installation) -> int:
    """Of the newest root that the agent has on its disk."""
    followed = installation.agent_dir("pi") / "roots"
    return 1 + len(list(followed.glob("*.json")))


def test_a_release_signed_on_another_machine_reaches_a_device_that_followed_every_root(
    installation: Installation, digits: tuple[Path, Path], tmp_path: Path
) -> None:
    stick, bundle = tmp_path / "stick", str(tmp_path / "bundle")
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    passphrase = ["--passphrase-file", str(tmp_path / "passphrase")]
    installation.start_server()
    installation.enrol("pi", "x86-pc")
    installation.start_agent("pi")
    wait_for("the device", lambda: installation.device("pi")["status"] == "online" or None)

    # The ceremony: the root and the release key leave the server, and the director gets a new one.
    keys(installation, "init", str(stick), "--role", "release", *passphrase, here=False)
    (public,) = stick.glob("release-*.pub.pem")
    keys(installation, "rotate", "release", "--key", str(public))
    keys(installation, "take-offline", "root", str(stick), *passphrase)
    assert "waits for signatures" in keys(installation, "rotate", "director")
    keys(installation, "export", "root", "-o", bundle)
    (root_key,) = stick.glob("root-*.pem")
    said = keys(installation, "sign", bundle, "--key", str(root_key), "--yes", *passphrase, here=False)
    assert "director key" in said
    assert "TUF root 3 is published" in keys(installation, "import", bundle)
    wait_for("the device to follow both roots", lambda: root_version(installation) == 3 or None)

    # A release waits for the stick, and reaches the device when it is signed.
    add_digits(installation, digits)
    jobs = installation.cli("compress", "digits-cnn", "--recipe", "none", "--profile", "x86-pc")
    digest = jobs[0]["artifact"]
    release = installation.api.post("/releases", {"model": "digits-cnn", "artifacts": [digest]})
    assert release["state"] == "awaiting_signature"
    rollout = installation.api.post("/rollouts", {"release": release["id"], "devices": ["pi"]})
    keys(installation, "export", release["id"], "-o", bundle)
    release_key = public.with_name(public.name.replace(".pub.pem", ".pem"))
    said = keys(installation, "sign", bundle, "--key", str(release_key), "--yes", *passphrase, here=False)
    assert digest in said
    assert installation.device("pi")["running"] is None
    assert "it is signed" in keys(installation, "import", bundle)
    found = rollout_ends(installation, rollout["id"])
    assert found["state"] == "done", found["reason"]
    assert installation.device("pi")["running"]["digest"] == digest
    assert "All is well" in keys(installation, "verify")
