"""A real mosquitto as the broker role runs it, links in threads, and whoever else connects to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fleet_story import Fleet
from installation import wait_for

from edgepress_devices.protocol import parse_chunk_topic
from edgepress_server.broker.address import BrokerAddress
from edgepress_server.broker.mosquitto import Mosquitto, server_password
from edgepress_server.broker.probe import Probe, Target
from edgepress_server.link.link import Link
from edgepress_server.settings import SERVER_USER, Settings
from edgepress_server.store import Store, open_store, unix_ms
from edgepress_server.trust.keys import load_keys

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
RENEW_S = 0.05


class NowMs:
    """The real clock, in the place of one that tests move."""

    def __call__(self) -> int:
        return unix_ms()

    def forward(self, ms: int) -> None:
        raise AssertionError(f"nobody moves the real clock by {ms} ms")


class Yard:
    """One store with its fleet, its mosquitto and its link. ``close`` ends everything."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.store: Store = open_store(folder)
        self.fleet = Fleet(self.store, NowMs())  # type: ignore[arg-type]
        port = free_port()
        self.settings = Settings(data_dir=folder, broker="mosquitto", mqtt_port=port, **settings)  # type: ignore[arg-type]
        self.broker = Mosquitto(self.settings, self.store)
        self._renewing: threading.Thread | None = None
        self._stop_renewing = threading.Event()
        self._links: list[tuple[threading.Thread, threading.Event]] = []

    # --- the broker -----------------------------------------------------------------------------------------

    def start_broker(self) -> None:
        """Its users follow the store, as the broker role does it."""
        self.broker.start()
        wait_for("mosquitto to listen", lambda: can_connect(self.settings.mqtt_port), 40)
        self._stop_renewing = threading.Event()
        stop = self._stop_renewing

        def renew() -> None:
            while not stop.wait(RENEW_S):
                self.broker.renew_users()

        self._renewing = threading.Thread(target=renew, daemon=True)
        self._renewing.start()

    def stop_broker(self, *, kill: bool = False) -> None:
        self._stop_renewing.set()
        if self._renewing is not None:
            self._renewing.join()
        if kill:
            assert self.broker._process is not None
            self.broker._process.kill()
            self.broker._process.wait()
        self.broker.stop()

    @property
    def broker_pid(self) -> int:
        assert self.broker._process is not None
        return self.broker._process.pid

    @property
    def database(self) -> Path:
        return self.settings.broker_dir / "mosquitto.db"

    # --- who connects ---------------------------------------------------------------------------------------

    @property
    def server_target(self) -> Target:
        return Target("127.0.0.1", self.settings.mqtt_port, None, SERVER_USER, server_password(self.settings))

    def device_target(self, name: str) -> Target:
        secret = self.store.devices.mqtt_secrets()[name]
        return Target("127.0.0.1", self.settings.mqtt_port, None, name, secret)

    def device(self, name: str) -> Probe:
        """Connected as this device's agent; again while mosquitto does not know it yet."""

        def connected() -> Probe | None:
            probe = Probe(self.device_target(name), client_id=f"edgepress-{name}")
            return probe if probe.connect() else None

        return wait_for(f"{name} to connect", connected, 10)

    def server(self) -> Probe:
        """Somebody with the server's credentials who only looks."""
        probe = Probe(self.server_target)
        assert probe.connect(), probe.error
        return probe

    # --- links ----------------------------------------------------------------------------------------------

    def start_link(
        self, *, store: Store | None = None, port: int | None = None, address: BrokerAddress | None = None
    ) -> Link:
        store = store or self.store
        address = address or BrokerAddress(
            "127.0.0.1", port or self.settings.mqtt_port, SERVER_USER, server_password(self.settings)
        )
        link = Link(store, load_keys(store.data_dir / "keys"), address)
        stop = threading.Event()
        thread = threading.Thread(target=link.run, args=(stop,), daemon=True)
        thread.start()
        self._links.append((thread, stop))
        return link

    def stop_link(self) -> None:
        """The one started last."""
        thread, stop = self._links.pop()
        stop.set()
        thread.join(20)
        assert not thread.is_alive()

    def wait_until_settled(self) -> None:
        """Everything published was acknowledged and vouched for."""

        def settled() -> bool:
            rows = self.store.database.rows("SELECT mark FROM published WHERE cleared IS NULL")
            return bool(rows) and all(row["mark"] is not None for row in rows)

        wait_for("the artifacts to be on the broker", settled, 20)

    def problems(self, store: Store | None = None) -> list[str]:
        role = (store or self.store).facts.role("link")
        return [] if role is None else list(role.get("problems", []))

    def is_placed(self, store: Store | None = None) -> bool:
        role = (store or self.store).facts.role("link")
        return bool(role and role["mqtt_connected"])

    def close(self) -> None:
        while self._links:
            self.stop_link()
        self.stop_broker()
        self.store.close()


class CountingProxy:
    """Between a link and the broker; counts bytes each way."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent_bytes = 0  # client -> broker
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._open += [client, broker]
            for source, sink, counts in ((client, broker, True), (broker, client, False)):
                threading.Thread(target=self._copy, args=(source, sink, counts), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
                if counts:
                    self.sent_bytes += len(data)
        except OSError:
            pass
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def chunks_heard(probe: Probe) -> list[tuple[str, int]]:
    """Chunks that were published while somebody listened (retained copies do not count)."""
    return [
        parse_chunk_topic(m.topic)
        for m in probe.received
        if m.topic.startswith("ep/1/c/") and not m.retained and m.payload
    ]


def retained(yard: Yard, *filters: str) -> dict[str, bytes]:
    """What the broker holds below these filters."""
    with yard.server() as probe:
        probe.subscribe(*filters)
        seen = -1
        while len(probe.received) != seen:
            seen = len(probe.received)
            probe.wait(lambda: False, 0.3)
        return {m.topic: m.payload for m in probe.received if m.payload}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def within(seconds: float, done: Callable[[], object]) -> float:
    """How long it took; an assertion error when longer."""
    started = time.monotonic()
    wait_for("this", done, seconds)
    return time.monotonic() - started


@contextlib.contextmanager
def started(folder: Path, **settings: object) -> Iterator[Yard]:
    made = Yard(folder, **settings)
    try:
        made.start_broker()
        yield made
    finally:
        made.close()
