"""How many states of devices the server stores in a second, against SQLite alone on the same rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import msgspec

from delivery_cases.case import Options, Row
from edgepress_devices.protocol import Hardware, State
from edgepress_server.store import Store, open_store

TITLE: Final = "States: up/state messages into the store, 500 in a transaction"
DEVICES: Final = 2000
STATES: Final = 40_000
BATCH: Final = 500
HARDWARE: Final = Hardware(
    machine="aarch64",
    system="Linux 6.6.31",
    board="Raspberry Pi 5 Model B Rev 1.0",
    cores=4,
    ram_bytes=8 << 30,
    python="3.11.2",
    onnxruntime="1.31.1",
)


def measure(options: Options) -> Iterator[Row]:
    folder = options.folder / "ingest"
    store = open_store(folder)
    try:
        names = [f"d-{n}" for n in range(DEVICES)]
        with store.transaction():
            for name in names:
                store.devices.register(name, "raspberry-pi-5", {}, actor=None)
                code, _ = store.devices.new_code(name, actor=None)
                store.devices.enrol(code, "a2V5" * 10, HARDWARE, "0.1.0")
        messages = [
            (
                names[n % DEVICES],
                State(
                    online=True,
                    at_ms=1_800_000_000_000 + n,
                    seq=n,
                    agent="0.1.0",
                    hardware=HARDWARE,
                    running="a" * 64,
                    staged="b" * 64,
                    want=n,
                    step="fetching",
                    chunks_have=7,
                    chunks_total=16,
                ),
            )
            for n in range(STATES)
        ]
        ours = _timed(lambda: _record(store, messages))
        alone = _timed(lambda: _update(store, messages))
    finally:
        store.close()
    yield Row(
        case="state_ingest",
        what=f"{STATES} states of {DEVICES} devices",
        measured=f"{STATES / ours:,.0f} a second",
        peer=f"UPDATE of the same rows with executemany, nothing else: {STATES / alone:,.0f} a second",
        numbers={"seconds": ours, "peer_seconds": alone},
    )


def _timed(work: object) -> float:
    began_s = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began_s


def _record(store: Store, messages: list[tuple[str, State]]) -> None:
    for at in range(0, len(messages), BATCH):
        store.device_states.record_all(messages[at : at + BATCH])


def _update(store: Store, messages: list[tuple[str, State]]) -> None:
    for at in range(0, len(messages), BATCH):
        with store.transaction() as connection:
            connection.executemany(
                "UPDATE devices SET online = 1, seen_at = ?, state = ? WHERE name = ?",
                [
                    (at, msgspec.json.encode(state).decode(), name)
                    for name, state in messages[at : at + BATCH]
                ],
            )
