"""The real server for a case: `edgepress serve` with all its roles, and devices planted in its store.

Planted devices have no secrets of their own: what loads the broker connects as the server's user, so that no
broker has to be told of ten thousand users first (`delivery_cases.fleet` measures that).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))
from installation import Installation

from edgepress_devices.protocol import Hardware
from edgepress_server.settings import SERVER_USER
from edgepress_server.store import Store, open_store
from telemetry_cases.case import Broker

PROFILES: Final = ("raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano", "x86-pc")
SITES: Final = 20
AGENTS: Final = ("0.7.0", "0.6.2")


def plant(store: Store, names: Iterable[str]) -> None:
    """Enrol devices by thousands: the first as a person and a board would, the others as rows like it."""
    first, *others = names
    with store.transaction() as connection:
        store.devices.register(first, PROFILES[0], labels(0), actor=None)
        code, _ = store.devices.new_code(first, actor=None)
        store.devices.enrol(code, "a2V5" * 10, Hardware(machine="aarch64", cores=4), AGENTS[0])
        connection.execute("UPDATE devices SET mqtt_secret = NULL WHERE name = ?", (first,))
        columns = [
            row["name"]
            for row in store.database.rows("PRAGMA table_info(devices)")
            if row["name"] not in ("name", "profile", "labels", "agent_version")
        ]
        rest = ", ".join(columns)
        connection.executemany(
            f"INSERT INTO devices (name, profile, labels, agent_version, {rest})"
            f" SELECT ?, ?, ?, ?, {rest} FROM devices WHERE name = ?",
            [
                (name, PROFILES[n % len(PROFILES)], json.dumps(labels(n)), AGENTS[n % 10 == 0], first)
                for n, name in enumerate(others, 1)
            ],
        )


def labels(n: int) -> dict[str, str]:
    return {"site": f"site-{n % SITES:02d}", "room": "cold" if n % 7 == 0 else "hall"}


class Server:
    """Everything lies under ``folder``."""

    def __init__(self, folder: Path, broker: Broker = "embedded") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.installation = Installation(folder, broker=broker)
        self.broker = broker
        self.data_dir = self.installation.data_dir

    def start(self) -> None:
        self.installation.start_server()
        self.port = int(json.loads((self.data_dir / "ready.json").read_text())["mqtt_port"])

    @property
    def credentials(self) -> tuple[str, str] | None:
        """Of the server's own user at the broker; None where it knows no users."""
        if self.broker == "embedded":
            return None
        return SERVER_USER, (self.data_dir / "broker" / "server-password").read_text(encoding="ascii")

    def processes(self) -> dict[str, psutil.Process]:
        """By role; mosquitto itself is "mosquitto"."""
        assert self.installation._server is not None
        found = {"supervisor": psutil.Process(self.installation._server.pid)}
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
        return {name: cpu_s(process) for name, process in self.processes().items()}

    def rss_peak_bytes(self, role: str) -> int:
        """VmHWM of proc(5)."""
        status = Path(f"/proc/{self.processes()[role].pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def store_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.data_dir.glob("edgepress.db*"))

    def close(self) -> None:
        self.installation.close()


@contextmanager
def serving(
    folder: Path, names: Iterable[str], broker: Broker = "embedded"
) -> Iterator[tuple[Server, Store]]:
    """A started server that knows these devices, and its store."""
    server = Server(folder, broker)
    store = open_store(server.data_dir)
    try:
        plant(store, names)
        server.start()
        yield server, store
    finally:
        store.close()
        server.close()


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
