"""A server with TLS from its own authority, real agents and mosquitto: joining, renewing, leaving."""

import json
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import AGENT, EDGEPRESS, ENV, Installation, wait_for

from edgepress_server.cli.client import Api

pytestmark = pytest.mark.e2e

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
    reason="no mosquitto here; Debian: sudo apt-get install mosquitto",
)


class TlsInstallation(Installation):
    """`edgepress serve --tls`; people trust its authority by ``EDGEPRESS_CA``, agents by the fingerprint."""

    def __init__(self, folder: Path, broker: str, *options: str) -> None:
        super().__init__(folder, broker)
        self._options = ["--tls", *options]

    @property
    def ca(self) -> Path:
        return self.data_dir / "pki" / "ca.pem"

    @property
    def api(self) -> Api:
        return Api(self.url, self._env["EDGEPRESS_TOKEN"], self.ca.read_text())

    def _start(self, name: str, command: list[str]) -> "subprocess.Popen[bytes]":
        return super()._start(name, [*command, *self._options] if name == "server" else command)

    def change(self, *options: str) -> None:
        """From the next start on."""
        self._options += options

    def agent(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*AGENT, *arguments], env=ENV, capture_output=True, text=True, timeout=60, check=False
        )

    def enrolment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.agent_dir(name) / "enrolment.json").read_text())
        return found

    def is_online(self, name: str) -> bool:
        return bool(self.device(name)["status"] == "online")


def started(folder: Path, monkeypatch: pytest.MonkeyPatch, broker: str, *options: str) -> TlsInstallation:
    made = TlsInstallation(folder, broker, *options)
    monkeypatch.setenv("EDGEPRESS_CA", str(made.ca))
    monkeypatch.setitem(ENV, "EDGEPRESS_CA", str(made.ca))
    made.start_server()
    return made


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patched:
        yield patched


@needs_mosquitto
@pytest.mark.parametrize("auth", ["secret", "certificate"])
def test_a_device_joins_by_fingerprint_renews_is_revoked_and_joins_again(
    tmp_path: Path, patch: pytest.MonkeyPatch, auth: str
) -> None:
    hub = started(tmp_path, patch, "mosquitto", "--device-auth", auth)
    try:
        assert hub.url.startswith("https://")
        hub.enrol("press", "x86-pc")
        first = hub.enrolment("press")
        assert first["mqtt"]["tls"] and "BEGIN CERTIFICATE" in first["ca"]
        assert (first["mqtt"].get("certificate") is not None) == (auth == "certificate")
        hub.start_agent("press")
        wait_for("press to be online", lambda: hub.is_online("press"))

        # The running agent renews when it is told to, and comes back with what is new.
        done = hub.agent("renew", "--state", str(hub.agent_dir("press")))
        assert done.returncode == 0, done.stderr
        wait_for("new credentials", lambda: hub.enrolment("press")["mqtt"] != first["mqtt"])
        wait_for("the old ones to count no more", lambda: hub.enrolment("press").get("offered") is None)
        wait_for("press to say so", lambda: "credentials renewed" in hub.log("press"))
        wait_for("press to be back", lambda: hub.is_online("press"))
        second = hub.enrolment("press")
        if auth == "certificate":
            assert not (hub.agent_dir("press") / first["mqtt"]["certificate"]).exists()
            assert hub.device("press")["certificate_expires_at"] is not None

        hub.cli("device", "revoke", "press", "--yes")
        assert hub.device("press")["status"] == "revoked"
        wait_for("press to be refused", lambda: "no connection to the broker" in hub.log("press"))
        refused = hub.agent("renew", "--state", str(hub.agent_dir("press")))
        assert refused.returncode == 0, "the running agent does it"
        wait_for("the refusal", lambda: "Nobody has shown to be the device" in hub.log("press"))
        hub.kill_agent("press")

        # The board is flashed anew: same name, new keys.
        shutil.rmtree(hub.agent_dir("press"))
        made = hub.cli("device", "register", "press", "--profile", "x86-pc", "--replace", "--expires", "2h")
        done = hub.agent("enroll", made["enrol_url"], "--state", str(hub.agent_dir("press")))
        assert done.returncode == 0, done.stderr
        assert hub.enrolment("press")["mqtt"] != second["mqtt"]
        hub.start_agent("press")
        wait_for("press to be online again", lambda: hub.is_online("press"))
        again = hub.agent("enroll", made["enrol_url"], "--state", str(tmp_path / "other"))
        assert again.returncode == 1 and "used already" in again.stderr
    finally:
        hub.close()


@needs_mosquitto
def test_a_fleet_with_secrets_follows_a_broker_that_wants_certificates(
    tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    hub = started(tmp_path, patch, "mosquitto")
    try:
        hub.enrol("press", "x86-pc")
        hub.start_agent("press")
        wait_for("press to be online", lambda: hub.is_online("press"))
        assert hub.enrolment("press")["mqtt"].get("certificate") is None
        hub.kill_server()
        hub.change("--device-auth", "certificate")
        hub.start_server()
        wait_for("a certificate", lambda: hub.enrolment("press")["mqtt"].get("certificate"), 120)
        wait_for("press to be online again", lambda: hub.is_online("press"))
    finally:
        hub.close()


@pytest.mark.attack(
    "wrong server", "an authority with another fingerprint is sent nothing, the code stays good"
)
def test_a_device_sends_nothing_to_a_server_with_another_authority(
    tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub").mkdir()
    hub = started(tmp_path / "hub", patch, "embedded")
    try:
        url = hub.cli("device", "register", "press", "--profile", "x86-pc")["enrol_url"]
        fingerprint = url.rpartition(".")[2]
        assert len(fingerprint) == 32
        other = ("A" if fingerprint[0] != "A" else "B") + fingerprint[1:]
        done = hub.agent("enroll", url.replace(fingerprint, other), "--state", str(tmp_path / "press"))
        assert done.returncode == 1
        assert "another fingerprint" in done.stderr and "Nothing was sent" in done.stderr
        assert "Traceback" not in done.stderr
        bare = hub.agent("enroll", url.removesuffix(f".{fingerprint}"), "--state", str(tmp_path / "press"))
        assert bare.returncode == 1 and "its certificate is not good" in bare.stderr
        assert not (tmp_path / "press" / "enrolment.json").exists()
        done = hub.agent("enroll", url, "--state", str(tmp_path / "press"))
        assert done.returncode == 0, "the code has not been used"
        assert done.stderr == ""

        # The command line: not trusted until told by a file or the fingerprint, then kept for this address.
        env = {**ENV, "XDG_CONFIG_HOME": str(tmp_path / "config"), "EDGEPRESS_PASSWORD": hub.password}
        del env["EDGEPRESS_CA"]
        login = [*EDGEPRESS, "login", "--url", hub.url, "--name", "admin"]
        for options, code in (([], 1), (["--fingerprint", other], 1), (["--fingerprint", fingerprint], 0)):
            done = subprocess.run([*login, *options], env=env, capture_output=True, text=True, check=False)
            assert done.returncode == code, (options, done.stderr)
            assert "Traceback" not in done.stderr
        listed = subprocess.run(
            [*EDGEPRESS, "device", "list", "--url", hub.url],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert listed.returncode == 0 and "press" in listed.stdout, listed.stderr

        answer = urllib.request.urlopen(
            f"{hub.url}/api/v1/health", context=ssl.create_default_context(cafile=str(hub.ca))
        )
        assert "max-age" in answer.headers["Strict-Transport-Security"]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(hub.url.replace("https", "http"))
    finally:
        hub.close()


@needs_mosquitto
def test_two_boards_from_one_sd_card_are_said_to_be(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    hub = started(tmp_path, patch, "mosquitto")
    try:
        hub.enrol("press", "x86-pc")
        shutil.copytree(hub.agent_dir("press"), hub.agent_dir("press-copy"))
        hub.start_agent("press")
        wait_for("press to be online", lambda: hub.is_online("press"))
        assert hub.device("press")["cloned_at"] is None
        hub.start_agent("press-copy")
        wait_for("the warning", lambda: hub.device("press")["cloned_at"], 90)
    finally:
        hub.close()
