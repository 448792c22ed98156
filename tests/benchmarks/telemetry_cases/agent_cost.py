"""What the agent costs its board: a real `edgepress-agent run` that sends one sample a second to a server
that acknowledges each, with no model at first, then with one that is asked ten times a second.

Processor time is the process's own (user and system), all threads together, over the whole time; memory is
what is resident at the end, and of it what no other process shares (USS). The broker and the server that
acknowledges are in the process of the benchmark.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "agent"))
from agent_process import AgentProcess
from protocol_server import ProtocolServer
from release_side import Release
from small_models import artifact

from edgepress_devices.protocol import VERSION, Sample, TelemetryBatch, encode_batch
from telemetry_cases.case import Options, Row

TITLE: Final = "Agent: processor and memory at one sample a second"
SECONDS_MAX: Final = 60.0
SETTLE_S: Final = 5.0  # imports, the first connection
CPU_MAX_PERCENT: Final = 1.0  # of one core
RSS_MAX_BYTES: Final = 45_000_000
REQUESTS_PER_S: Final = 10


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_percent: float  # of one core
    rss_bytes: int
    uss_bytes: int  # what would be freed if it ended
    threads: int
    samples: int  # that the server stored meanwhile
    batch_bytes: float  # mean


def measure(options: Options) -> Iterable[Row]:
    seconds = min(options.seconds, SECONDS_MAX)
    options.folder.mkdir(parents=True, exist_ok=True)
    bare = _bare_python_bytes()
    with ProtocolServer() as server:
        agent = AgentProcess(server, options.folder / "agent-cost", device="bench")
        agent.start()
        try:
            agent.client()
            _until_samples(server, 1)
            yield _row("no model", _cost(server, agent.pid, seconds), bare, target=True)
            release = Release(artifact(2.0))
            server.push("bench", release)
            server.wait_committed("bench", release, 60.0)
            with _Requests(agent) as requests:
                cost = _cost(server, agent.pid, seconds)
            what = f"a small model, {requests.answered / requests.seconds:.1f} requests/s"
            yield _row(what, cost, bare, target=False)
        finally:
            agent.close()


def _row(what: str, cost: Cost, bare_bytes: int, *, target: bool) -> Row:
    met = cost.cpu_percent <= CPU_MAX_PERCENT and cost.rss_bytes <= RSS_MAX_BYTES
    return Row(
        case="agent_cost",
        what=f"Agent, {what}, {cost.samples / cost.seconds:.2f} samples/s for {cost.seconds:.0f} s",
        measured=(
            f"{cost.cpu_percent:.2f} % of a core, {cost.rss_bytes / 1e6:.1f} MB resident"
            f" ({cost.uss_bytes / 1e6:.1f} MB of its own), {cost.threads} threads,"
            f" {cost.batch_bytes:.0f} B a batch"
        ),
        peer=f"Python that waits and does nothing: {bare_bytes / 1e6:.1f} MB resident",
        target=f"{CPU_MAX_PERCENT:g} % and {RSS_MAX_BYTES / 1e6:.0f} MB" if target else "",
        met=met if target else None,
        numbers={
            "cpu_percent": cost.cpu_percent,
            "rss_bytes": cost.rss_bytes,
            "uss_bytes": cost.uss_bytes,
            "samples": cost.samples,
            "seconds": cost.seconds,
            "batch_bytes": cost.batch_bytes,
        },
    )


def _cost(server: ProtocolServer, pid: int, seconds: float) -> Cost:
    process = psutil.Process(pid)
    _pause(SETTLE_S)
    used_s, batches = _cpu_s(process), len(server.telemetry)
    began_s = time.monotonic()
    _pause(seconds)
    elapsed_s = time.monotonic() - began_s
    used_s = _cpu_s(process) - used_s
    memory = process.memory_full_info()
    new = list(server.telemetry.values())[batches:]
    return Cost(
        elapsed_s,
        100 * used_s / elapsed_s,
        memory.rss,
        memory.uss,
        process.num_threads(),
        samples=sum(map(len, new)),
        batch_bytes=sum(map(_size_bytes, new)) / max(1, len(new)),
    )


def _size_bytes(samples: list[Sample]) -> int:
    return len(encode_batch(TelemetryBatch(VERSION, "0" * 16, 1000, samples)))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _until_samples(server: ProtocolServer, count: int) -> None:
    server.wait_for(lambda: len(server.telemetry) >= count or None)


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _bare_python_bytes() -> int:
    program = "import sys; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.read(1)
        return int(psutil.Process(process.pid).memory_info().rss)


class _Requests:
    """Asks the agent's model at a steady rate, on a thread here, while it is entered."""

    def __init__(self, agent: AgentProcess) -> None:
        self._client = agent.client()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered, self.seconds = 0, 0.0

    def __enter__(self) -> _Requests:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._end.wait(max(0.0, began_s + self.answered / REQUESTS_PER_S - time.monotonic())):
            self._client.infer({"x": np.ones((1, 4), np.float32)})
            self.answered += 1
        self.seconds = time.monotonic() - began_s
