"""A broker, then the server, away for ten minutes with 1,000 agents: what is lost, what counts twice, and how
long the fleet takes to catch up."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from edgepress_server.broker.mosquitto import find_mosquitto
from edgepress_server.store import Store, open_store
from telemetry_cases.case import Options, Row
from telemetry_cases.ingest import stored_sums
from telemetry_cases.load import names
from telemetry_cases.server import Installation, Server, plant
from telemetry_cases.telemetry_agents import Crowd

TITLE: Final = "Outage: agents with their real outboxes at 1 Hz, the broker away, then the server"
DEVICES: Final = 1000
CAUGHT_UP_S: Final = 60.0
STEADY_S: Final = 10.0
PATIENCE_S: Final = 300.0


def measure(options: Options) -> Iterator[Row]:
    devices = options.devices or DEVICES
    folder = options.folder / "outage"
    folder.mkdir()
    agents = Path("/dev/shm") / f"{options.folder.name}-agents"  # a thousand boards' disks are not this one
    broker = _Broker(folder)
    server = Server(folder / "run")
    server.installation = _WithBroker(folder / "run", broker.port)
    server.data_dir = server.installation.data_dir
    store = open_store(server.data_dir)
    crowd = None
    try:
        plant(store, names(devices))
        broker.start()
        server.installation.start_server()
        from_ms = store.now_ms() - 60_000
        crowd = Crowd(agents, devices, broker.port)
        _until("all agents connect", lambda: crowd.ask("look")["connected"] == devices)
        _until("telemetry flows", lambda: crowd.ask("look")["behind"] == 0)
        time.sleep(STEADY_S)
        yield _away(crowd, "broker", devices, options.outage_s, broker.stop, broker.start)
        time.sleep(STEADY_S)
        run = server.installation
        yield _away(crowd, "server", devices, options.outage_s, run.kill_server, run.start_server)
        yield _sums(crowd, store, from_ms)
    finally:
        if crowd is not None:
            crowd.close()
        store.close()
        server.close()
        broker.stop()
        shutil.rmtree(agents, ignore_errors=True)


def _away(
    crowd: Crowd, what: str, devices: int, seconds: float, stop: Callable[[], None], start: Callable[[], None]
) -> Row:
    stop()
    time.sleep(seconds)
    away = crowd.ask("look")
    back = time.monotonic()
    start()
    _until("all agents reconnect", lambda: crowd.ask("look")["connected"] == devices)
    reconnected = time.monotonic() - back
    _until("the fleet catches up", lambda: crowd.ask("look")["behind"] == 0)
    took = time.monotonic() - back
    return Row(
        case="outage",
        what=f"{what} away for {seconds:.0f} s, {devices} agents",
        measured=f"caught up {took:.1f} s after it was started again",
        peer=f"{devices * seconds:,.0f} samples behind; all connected after {reconnected:.1f} s",
        target=f"{CAUGHT_UP_S:.0f} s or less",
        met=took <= CAUGHT_UP_S,
        numbers={"seconds": took, "reconnected_s": reconnected, "waiting": away["waiting"]},
    )


def _sums(crowd: Crowd, store: Store, from_ms: int) -> Row:
    """What every agent measured against what the store adds up, each metric."""
    crowd.ask("rest")
    _until("the last batches are stored", lambda: _is_still(crowd.ask("look")))
    made: Counter[str] = crowd.ask("rest")["made"]
    wrong: dict[str, Any] = {}

    def equal() -> bool:
        found = stored_sums(store, from_ms, store.now_ms() + 60_000)
        wrong.clear()
        wrong.update({n: (found[n], made[n]) for n in {*made, *found} if found[n] != made[n]})
        return not wrong

    met = _happens(equal, 30.0)
    return Row(
        case="outage",
        what="  sums in the store against what agents measured",
        measured="equal, every metric" if met else f"differ: {wrong}",
        peer=f"{made['samples']:,} samples; none lost, none twice" if met else "",
        target="equal",
        met=met,
        numbers={"samples": made["samples"], "wrong": wrong},
    )


def _is_still(figures: dict[str, Any]) -> bool:
    return figures["waiting"] == 0 and figures["open"] == 0


class _Broker:
    """A mosquitto of nobody's, which anybody uses; it forgets everything when it stops."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            "max_inflight_messages 100\nmax_queued_messages 100000\nlog_type error\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([find_mosquitto(), "-c", self._config])

    def stop(self) -> None:
        """With kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class _WithBroker(Installation):
    """A server that uses this broker."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, broker="external")
        self._port = port

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        at = command.index("--mqtt-port")
        return super()._start(name, [*command[:at], "--mqtt-port", str(self._port), *command[at + 2 :]])


def _until(what: str, ready: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    assert _happens(ready, seconds), f"{what}: not within {seconds:.0f} s"


def _happens(ready: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(0.25)
    return True
