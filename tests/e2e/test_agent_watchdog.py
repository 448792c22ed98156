"""A real agent that hangs ends itself; systemd is told that it lives."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import hung_inference
import numpy as np
import pytest
from agent_process import AgentProcess
from protocol_server import ProtocolServer
from release_side import Release
from small_models import artifact

from edgepress_agent.crash_loop import DEATHS_MAX
from edgepress_agent.journal import read_record

pytestmark = pytest.mark.e2e

DEVICE = "pi-4"
ONES = np.ones((2, 4), np.float32)
HUNG = [sys.executable, hung_inference.__file__]


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    with ProtocolServer() as made:
        yield made


@pytest.fixture
def agent(server: ProtocolServer, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(server, tmp_path / "pi-4")
    try:
        yield made
    finally:
        made.close()


def _ask_and_be_left(agent: AgentProcess) -> None:
    """One request that never comes back, in a thread of its own."""

    def ask() -> None:
        with pytest.raises(ConnectionError):
            client.infer({"x": ONES})

    client = agent.client()
    threading.Thread(target=ask, daemon=True).start()


@pytest.mark.fault("hanging inference", "three times in probation: the last good model answers again")
def test_a_model_that_hangs_is_a_crash_loop(
    server: ProtocolServer, agent: AgentProcess, tmp_path: Path
) -> None:
    old, new = Release(artifact(2.0), counter=1), Release(artifact(3.0), counter=2)
    agent.start()
    for each in (old, new):
        server.push(DEVICE, each)
        server.wait_committed(DEVICE, each)
    agent.terminate()
    for deaths in range(1, DEATHS_MAX + 1):
        (tmp_path / "hang").unlink(missing_ok=True)
        agent.start(HUNG)
        agent.client()
        (tmp_path / "hang").touch()
        _ask_and_be_left(agent)
        assert agent.wait() == 1
        assert "an inference has not come back" in agent.log
        record = read_record(agent.folder / "journal")
        assert record is not None and record.probation is not None
        assert record.probation.deaths == deaths - 1, "the next start counts it"
    (tmp_path / "hang").unlink()
    agent.start(HUNG)
    assert agent.client().infer({"x": ONES})["y"][0, 0] == 2.0
    state = server.wait_for(lambda: s if (s := server.state(DEVICE)) and s.step == "rolled_back" else None)
    assert state.running == old.digest
    assert state.reason == "the agent died 3 times while it ran this model"


def test_systemd_hears_of_it_as_long_as_it_lives(
    agent: AgentProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"edgepress-e2e-{os.getpid()}"
    systemd.bind(f"\0{name}")
    systemd.settimeout(20)
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    agent.start()
    assert [systemd.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
    assert agent.terminate()[0] == 0
    left = [systemd.recv(100)]
    while left[-1] == b"WATCHDOG=1":
        left.append(systemd.recv(100))
    assert left[-1] == b"STOPPING=1"
    systemd.close()
