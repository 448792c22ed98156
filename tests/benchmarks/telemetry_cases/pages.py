"""What pages ask of the server, timed: over HTTP on one connection that stays, as a browser's does."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from edgepress_server.store import Store, open_store
from telemetry_cases.case import Options
from telemetry_cases.load import Load, Order, announce
from telemetry_cases.packets import device
from telemetry_cases.seed import Seeded, seed
from telemetry_cases.server import Server

DEVICES: Final = 10_000
UPDATES_PER_S: Final = 1000  # samples that arrive meanwhile
OFFLINE_OF_100: Final = 3
FRESH_S: Final = 20 * 60.0  # older than that a seeded store has no last hour any more


@contextmanager
def seeded(options: Options) -> Iterator[tuple[Server, Store, Seeded]]:
    """A started server on a seeded store, whose devices are there. Cases of one run share the store."""
    devices = options.devices or DEVICES
    folder = (options.keep or options.folder) / f"seeded-{devices}"
    note = folder / "seeded.json"
    server = Server(folder)
    if note.exists() and time.time() - note.stat().st_mtime < FRESH_S:
        made = Seeded(**json.loads(note.read_text()))
    else:
        if folder.exists() and note.exists():
            _remove(folder)
            server = Server(folder)
        made = seed(server.data_dir, devices)
        note.write_text(json.dumps({"devices": made.devices, "rows": made.rows, "seconds": made.seconds}))
    store = open_store(server.data_dir)
    try:
        server.start()
        there = [n for n in range(devices) if n % 100 >= OFFLINE_OF_100]
        announce(server.port, server.credentials, there)
        wait_for_online(store, len(there))
        yield server, store, made
    finally:
        store.close()
        server.close()


def wait_for_online(store: Store, count: int, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while True:
        rows = store.database.rows("SELECT count(*) FROM devices WHERE online = 1")
        if rows[0][0] >= count:
            return
        assert time.monotonic() < until, f"only {rows[0][0]} of {count} devices came online"
        time.sleep(0.2)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


@contextmanager
def updates(server: Server, devices: int, seconds: float) -> Iterator[Load]:
    """Telemetry that arrives meanwhile, UPDATES_PER_S samples a second of all devices in turn."""
    order = Order(
        "127.0.0.1", server.port, server.credentials, devices, seconds, 4000, 5.0, UPDATES_PER_S / 10
    )
    load = Load(order)
    try:
        load.start()
        yield load
    finally:
        load.close()


class Asker:
    """One keep-alive connection with a token."""

    def __init__(self, server: Server) -> None:
        installation = server.installation
        address = urlsplit(installation.url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        self._headers = {
            "Authorization": f"Bearer {installation._env['EDGEPRESS_TOKEN']}",
            "Accept-Encoding": "gzip",
        }

    def ms(self, path: str) -> tuple[float, int]:
        """(milliseconds until the whole answer was there, its bytes)."""
        began = time.perf_counter()
        self._connection.request("GET", f"/api/v1{path}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - began) * 1000
        assert answer.status == 200, (path, answer.status, body[:300])
        return took, len(body)

    def close(self) -> None:
        self._connection.close()


def quantiles(ms: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(ms, q)) for q in (50, 95, 99)}


def in_words(ms: Sequence[float]) -> str:
    found = quantiles(ms)
    return ", ".join(f"{name} {value:.1f}" for name, value in found.items()) + " ms"


def long_device(n: int) -> str:
    """One of those of which everything is kept."""
    return device(n)


Numbers = dict[str, Any]
