"""Ten thousand devices, of which nine in ten sleep: memory of broker and server, and how long it decides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from delivery_cases.case import Options, Row
from delivery_cases.fleet import Fleet, fleet, wait_for
from delivery_cases.worker import Workers
from edgepress_server.rollout.engine import Engine
from edgepress_server.trust.keys import load_keys

TITLE: Final = "Sleepers: a rollout to 10,000 enrolled devices, 90 % of them offline"
ARTIFACT_BYTES: Final = 100_000
LOOKS: Final = 10


def measure(options: Options) -> Iterator[Row]:
    online = options.enrolled // 10
    with fleet(options.folder / "sleepers") as server:
        workers = Workers(2)
        try:
            folders = server.plant(online, asleep=options.enrolled - online)
            workers.start(folders, server.host, server.port)
            _settle(server, online)
            yield from _roll_out(server, workers, options.enrolled, online)
        finally:
            workers.close()


def _settle(server: Fleet, online: int) -> None:
    """Until the server knows who is online."""

    def known() -> bool:
        row = server.store.database.row("SELECT count(*) AS n FROM devices WHERE online = 1")
        return row is not None and row["n"] >= online

    wait_for("all online devices", known, 120.0)


def _roll_out(server: Fleet, workers: Workers, enrolled: int, online: int) -> Iterator[Row]:
    digest = server.artifact(ARTIFACT_BYTES)
    before, cpu_before = _memory(server), server.cpu_s()
    began_s = time.monotonic()
    rollout = server.roll_out(digest)
    asked_s = time.monotonic() - began_s

    def told() -> bool:
        row = server.store.database.row("SELECT count(*) AS n FROM wants WHERE rollout = ?", (rollout,))
        return row is not None and row["n"] >= enrolled

    wait_for("wants for everybody", told, 300.0)
    told_s = time.monotonic() - began_s

    def committed() -> bool:
        counts = server.store.rollouts.summary(rollout).counts
        return counts.get("committed", 0) >= online

    wait_for("the commits of all that are online", committed, 300.0)
    committed_s = time.monotonic() - began_s
    wait_for("every want on the broker", lambda: _published(server) >= enrolled, 120.0)
    published_s = time.monotonic() - began_s
    after = _memory(server)
    figures = workers.figures()
    grown = {name: after[name] - before[name] for name in after if name in before}
    total = sum(grown.values())
    yield Row(
        case="sleepers",
        what=f"memory grows with {enrolled} wants",
        measured=f"{total / 1e6:.1f} MB",
        peer=", ".join(f"{name} {bytes_ / 1e6:+.1f}" for name, bytes_ in grown.items()),
        target="less than 100 MB",
        met=total < 100e6,
        numbers={"grown": grown, "before": before, "after": after},
    )
    engine = Engine(server.store, load_keys(server.server.data_dir / "keys"))
    looks = []
    for _ in range(LOOKS):
        looked_s, cpu_s = time.monotonic(), time.thread_time()
        engine.tick()
        looks.append((time.monotonic() - looked_s, time.thread_time() - cpu_s))
    longest, busiest = max(wall for wall, _ in looks), max(cpu for _, cpu in looks)
    yield Row(
        case="sleepers",
        what="a decision: nothing to do but wait",
        measured=f"{longest:.3f} s at most",
        peer=f"of that {busiest:.3f} s of CPU; the first of a new engine, which looks at every device",
        target="under 1 s each",
        met=longest < 1.0,
        numbers={"looks": looks},
    )
    cpu = {name: seconds - cpu_before.get(name, 0.0) for name, seconds in server.cpu_s().items()}
    yield Row(
        case="sleepers",
        what=f"{enrolled} wants signed and stored",
        measured=f"{told_s:.1f} s; all on the broker at {published_s:.1f} s",
        peer=f"{online} online committed at {committed_s:.1f} s; the request took {asked_s:.2f} s; "
        f"CPU link {cpu.get('link', 0):.1f} s, "
        f"mosquitto {cpu.get('mosquitto', 0):.1f} s",
        numbers={"told_s": told_s, "committed_s": committed_s, "lost": figures["lost"], "cpu_s": cpu},
    )
    yield _idle(server)


def _idle(server: Fleet) -> Row:
    """What a rollout that waits for sleepers costs, for days."""
    before, began_s = server.cpu_s(), time.monotonic()
    time.sleep(5.0)
    after, seconds = server.cpu_s(), time.monotonic() - began_s
    share = {name: (after[name] - before[name]) / seconds for name in after if name in before}
    return Row(
        case="sleepers",
        what="while it waits for the sleepers",
        measured=f"{sum(share.values()):.1%} of a core",
        peer=", ".join(f"{name} {part:.1%}" for name, part in share.items() if part >= 0.001),
        numbers={"share": share},
    )


def _published(server: Fleet) -> int:
    """Wants that the broker has acknowledged, as far as the server noted it."""
    row = server.store.database.row("SELECT count(*) AS n FROM retained WHERE topic LIKE '%/down/want'")
    return int(row["n"]) if row is not None else 0


def _memory(server: Fleet) -> dict[str, int]:
    return {name: process.memory_full_info().uss for name, process in server.processes().items()}
