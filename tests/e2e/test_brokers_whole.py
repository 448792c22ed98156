"""The whole job on a managed mosquitto with TLS and certificates, whose store gets lost in the middle."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from installation import ENV, Installation, wait_for

from edgepress_server.cli.client import Api

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
        reason="no mosquitto here; Debian: sudo apt-get install mosquitto",
    ),
]

PROFILE = "x86-pc"
FIRST, LATE = "hall-1", "hall-2"


class Hub(Installation):
    """`edgepress serve --tls --device-auth certificate --broker mosquitto`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "mosquitto")

    @property
    def ca(self) -> Path:
        return self.data_dir / "pki" / "ca.pem"

    @property
    def api(self) -> Api:
        return Api(self.url, self._env["EDGEPRESS_TOKEN"], self.ca.read_text())

    def _start(self, name: str, command: list[str]) -> "subprocess.Popen[bytes]":
        options = ["--tls", "--device-auth", "certificate"] if name == "server" else []
        return super()._start(name, [*command, *options])

    def mosquitto(self) -> psutil.Process:
        assert self._server is not None
        return next(
            p for p in psutil.Process(self._server.pid).children(recursive=True) if p.name() == "mosquitto"
        )

    def mosquitto_pid_after(self, dead: int) -> int | None:
        """Of the one that came after it."""
        try:
            pid = self.mosquitto().pid
        except (StopIteration, psutil.NoSuchProcess):
            return None
        return pid if pid != dead else None

    def compressed(self, model: str) -> str:
        job = self.api.post("/jobs", {"model": model, "recipe": "int8", "profiles": [PROFILE]})[0]

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.api.get(f"/jobs/{job['id']}")
            assert found["state"] in ("queued", "running", "done"), found["message"]
            return found if found["state"] == "done" else None

        return str(wait_for("the compression", done, 120)["artifact"])

    def wait_until_running(self, device: str, digest: str) -> None:
        wait_for(
            f"{device} to run it", lambda: (self.device(device)["running"] or {}).get("digest") == digest, 90
        )


@pytest.mark.fault(
    "a broker that restarts empty", "killed, its file deleted: a device that comes then still gets all"
)
def test_the_whole_job_over_tls_with_certificates(
    tmp_path: Path, digits: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(tmp_path)
    monkeypatch.setenv("EDGEPRESS_CA", str(hub.ca))
    monkeypatch.setitem(ENV, "EDGEPRESS_CA", str(hub.ca))
    model, data = digits
    try:
        hub.start_server()
        hub.enrol(FIRST, PROFILE)
        hub.enrol(LATE, PROFILE)
        hub.start_agent(FIRST)
        hub.cli("dataset", "add", str(data), "--name", "digits")
        hub.cli("model", "add", str(model), "--name", "digits", "--dataset", "digits")
        digest = hub.compressed("digits")
        release = hub.api.post("/releases", {"model": "digits", "artifacts": [digest]})
        hub.api.post(
            "/rollouts",
            {"release": release["id"], "devices": [FIRST, LATE], "policy": {"canary_per_profile": 0}},
        )
        hub.wait_until_running(FIRST, digest)

        broken = hub.mosquitto()
        broken.send_signal(signal.SIGKILL)
        (hub.data_dir / "broker" / "mosquitto.db").unlink(missing_ok=True)
        wait_for("another mosquitto", lambda: hub.mosquitto_pid_after(broken.pid), 30)
        hub.start_agent(LATE)
        hub.wait_until_running(LATE, digest)
        wait_for("both online", lambda: hub.device(FIRST)["status"] == "online", 30)

        ports = {c.raddr.port for c in psutil.Process(hub.agent_pid(LATE)).net_connections("tcp") if c.raddr}
        mqtt_port = json.loads((hub.data_dir / "ready.json").read_text())["mqtt_port"]
        assert mqtt_port in ports
        hub.cli("device", "revoke", LATE, "--yes")
        revoked = time.monotonic()
        wait_for("the refusal", lambda: "no connection to the broker" in hub.log(LATE), 10)
        assert time.monotonic() - revoked < 3, "hung up on, and its certificate refused when it came back"
        assert hub.device(FIRST)["status"] == "online"
        assert "Traceback" not in (hub.data_dir / "log" / "link.log").read_text()
        assert "Traceback" not in (hub.data_dir / "log" / "broker.log").read_text()
    finally:
        hub.close()
