"""A server with thousands of devices: `edgepress serve --broker mosquitto`, and devices planted in its store.

Planted: the same rows and files that enrolment over HTTP would leave, a few thousand at a time. The rollouts
go through the REST API.
"""

from __future__ import annotations

import base64
import json
import mmap
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))
from installation import Installation, wait_for

from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Enrolment, Mqtt, write_enrolment
from edgepress_devices.protocol import Hardware, down_topic
from edgepress_server.store import Store, open_store
from edgepress_server.store.models import ModelFacts
from edgepress_server.trust.keys import load_keys

__all__ = ["Fleet", "TouchedMemory", "fleet", "wait_for"]

PROFILE: Final = "x86-pc"
MODEL: Final = "bench"
ROLES: Final = ("web", "link", "broker", "worker")


class Fleet:
    """Everything lies under ``folder``. ``close`` ends the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Installation(folder, broker="mosquitto")
        self.server.start_server()
        self.store: Store = open_store(self.server.data_dir)
        settings = json.loads((self.server.data_dir / "settings.json").read_text())
        self.host, self.port = "127.0.0.1", int(settings["mqtt_port"])
        blob = self.store.blobs.put(b"the model")
        facts = ModelFacts(bytes=9, weight_bytes=9, parameters=2, macs=None, inputs=[], outputs=[])
        self.store.models.add(MODEL, blob, facts, None, actor=None)

    def plant(self, count: int, *, asleep: int = 0) -> list[Path]:
        """Enrol devices, and others that never connect; the state folders of the first.

        The server is stopped meanwhile: mosquitto 2.0.11 takes new users one by one, and writes its file of
        all users after each.
        """
        self.server.close()
        root = load_keys(self.server.data_dir / "keys").roots[-1]
        with self.store.transaction():
            made = [self._plant(f"sim-{number}", root) for number in range(count)]
            for number in range(asleep):
                self._enrol(f"asleep-{number}", X25519PrivateKey.generate())
        self.server.start_server()
        return made

    def _plant(self, name: str, root: bytes) -> Path:
        key = X25519PrivateKey.generate()
        secret = self._enrol(name, key)
        mqtt = Mqtt(host=self.host, port=self.port, username=name, password=secret)
        enrolment = Enrolment(
            device=name,
            profile=PROFILE,
            server=self.server.url,
            mqtt=mqtt,
            enrolled_at_s=int(time.time()),
        )
        folder = self.folder / "devices" / name
        folder.mkdir(parents=True)
        write_enrolment(folder, _NoSync(), enrolment=enrolment, key=key, root=root)
        return folder

    def _enrol(self, name: str, key: X25519PrivateKey) -> str | None:
        """The device's secret at the broker."""
        public_key = base64.b64encode(key.public_key().public_bytes_raw()).decode()
        self.store.devices.register(name, PROFILE, {}, actor=None)
        code, _ = self.store.devices.new_code(name, actor=None)
        return self.store.devices.enrol(code, public_key, Hardware(machine="x86_64"), "0.1.0").mqtt_secret

    def artifact(self, size_bytes: int) -> str:
        """An artifact of random bytes; its digest."""
        digest = self.store.blobs.put(secrets.token_bytes(size_bytes))
        self.store.artifacts.add(
            digest, model=MODEL, profile=PROFILE, recipe="none", size_bytes=size_bytes, report={}, job=None
        )
        return digest

    def roll_out(self, digest: str, devices: Sequence[str] | None = None) -> str:
        """A release and a rollout to all or the named devices, at once; the rollout's id."""
        release = self.server.api.post("/releases", {"model": MODEL, "artifacts": [digest]})
        body: dict[str, Any] = {
            "release": release["id"],
            "policy": {"canary_per_profile": 0, "delta": "never"},
        }
        if devices is not None:
            body["devices"] = list(devices)
        return str(self.server.api.post("/rollouts", body)["id"])

    def wait_done(self, rollout: str, seconds: float) -> float:
        """When the server had every device committed, by the monotonic clock."""

        def over() -> float | None:
            state = self.store.rollouts.summary(rollout)
            if state.state in ("done", "soak"):
                return time.monotonic()
            assert state.state not in ("paused", "aborted"), state.reason
            return None

        return float(wait_for(f"rollout {rollout}", over, seconds))

    def want_bytes(self) -> int:
        """Of all wants as PUBLISH packets: fixed header, topic, message id, payload."""
        rows = self.store.database.rows("SELECT device, length(payload) AS bytes FROM wants")
        return sum(3 + 2 + len(down_topic(row["device"], "want")) + 2 + row["bytes"] for row in rows)

    def broker_read_bytes(self) -> int:
        """That mosquitto has read so far, from all its connections (``rchar`` of proc(5): the server's own is
        a local socket, whose bytes no interface counts)."""
        return int(self.processes()["mosquitto"].io_counters().read_chars)

    def processes(self) -> dict[str, psutil.Process]:
        """The server's processes by role; mosquitto itself is "mosquitto"."""
        assert self.server._server is not None
        found: dict[str, psutil.Process] = {"supervisor": psutil.Process(self.server._server.pid)}
        for child in found["supervisor"].children(recursive=True):
            try:
                words, name = child.cmdline(), child.name()
            except psutil.Error:  # it has just ended
                continue
            if name == "mosquitto":
                found["mosquitto"] = child
            elif "edgepress_server.serve.role" in words:
                found[words[words.index("edgepress_server.serve.role") + 1]] = child
        return found

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by role."""
        return {name: _cpu_s(process) for name, process in self.processes().items()}

    def close(self) -> None:
        self.store.close()
        self.server.close()


@contextmanager
def fleet(folder: Path) -> Any:
    folder.mkdir(parents=True)
    made = Fleet(folder)
    try:
        yield made
    finally:
        made.close()


class TouchedMemory:
    """Memory that the host has given to this machine, held until `release`, so that what follows finds it.

    On a virtual machine the first touch of a page goes to the host (3 ms measured for a device's 1 MB), a
    board's own memory does not do and the peer, which stores nothing, does not pay.
    """

    def __init__(self, size_bytes: int) -> None:
        self._memory = mmap.mmap(-1, size_bytes)
        for offset in range(0, size_bytes, mmap.PAGESIZE):
            self._memory[offset] = 1

    def release(self) -> None:
        self._memory.close()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class _NoSync(Disk):
    """For planting only: what a benchmark prepares need not survive a power cut."""

    def sync_folder(self, folder: Path) -> None:
        pass
