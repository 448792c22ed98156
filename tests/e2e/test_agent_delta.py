"""Deltas and shadow trials in a real agent process, which is killed at every step of them."""

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dying_agent
import numpy as np
import pytest
from agent_process import AgentProcess
from protocol_server import ProtocolServer
from release_side import Release, sha256
from small_models import artifact

from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.rebase import write_delta
from edgepress_devices.protocol import Shadow, State

pytestmark = pytest.mark.e2e

DEVICE = "pi-4"
ONES = np.ones((1, 4), np.float32)
BASE = Release(artifact(2.0, ballast_bytes=200_000, seed=1), counter=1)
WHOLE = Release(artifact(3.0, ballast_bytes=200_000, seed=1), counter=2)
DELTA = Release(write_delta(WHOLE.artifact, BASE.artifact), counter=2)


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    with ProtocolServer() as made:
        yield made


@pytest.fixture
def agent(server: ProtocolServer, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(server, tmp_path / "pi-4")
    try:
        made.start()
        server.push(DEVICE, BASE)
        server.wait_committed(DEVICE, BASE)
        yield made
    finally:
        made.close()


def _offer_delta(server: ProtocolServer) -> None:
    """Only the delta's chunks are there: whoever asks for the whole artifact waits in vain."""
    onnx_model = decode(WHOLE.artifact)
    offer = server.side.delta(
        DEVICE,
        server.keys[DEVICE],
        WHOLE,
        DELTA,
        base=BASE.digest,
        onnx_sha256=sha256(onnx_model),
        onnx_bytes=len(onnx_model),
    )
    server.publish_chunks(DELTA)
    server.want(DEVICE, WHOLE, delta=offer)


def _factor(agent: AgentProcess) -> float:
    return float(agent.client().infer({"x": ONES})["y"][0, 0])


@pytest.mark.fault(
    "kill -9", "the process is killed at each step of a delta: the new model runs, by the delta"
)
@pytest.mark.parametrize(
    "moment",
    [
        "after:fetching",
        "before:model",
        "after:model",
        "before:info",
        "after:info",
        "before:verified",
        "after:verified",
        "before:staged",
        "after:staged",
        "after:trial",
        "before:pointer",
        "after:pointer",
        "before:committed",
        "after:committed",
    ],
)
def test_killed_at_a_step_of_a_delta_it_ends_running_the_new_model(
    server: ProtocolServer, agent: AgentProcess, moment: str
) -> None:
    agent.kill()
    _offer_delta(server)
    agent.start([sys.executable, dying_agent.__file__, moment])
    assert agent.wait() == -signal.SIGKILL
    if moment != "after:fetching":  # what was fetched is on the disk: the broker has nothing more to give
        server.forget_chunks(DELTA)
        server.withheld = set(range(DELTA.chunks))
    server.states.clear()
    agent.start()
    state = server.wait_committed(DEVICE, WHOLE)
    assert _factor(agent) == 3.0
    assert (state.running, server.needs) == (WHOLE.digest, [])
    agent.kill()
    agent.start()
    assert _factor(agent) == 3.0, "it does not run again after a restart"


def test_a_shadow_trial_compares_live_requests_tells_how_far_it_is_and_then_switches(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    shadow = Shadow(seconds=60, requests=40, min_agreement_ppm=1_000_000)
    server.push(DEVICE, WHOLE, shadow=shadow)
    server.wait_for(lambda: (s := server.state(DEVICE)) is not None and s.step == "trial")
    client, answers = agent.client(), []
    while (state := server.state(DEVICE)) is None or state.step == "trial":
        answers.append(float(client.infer({"x": ONES})["y"][0, 0]))
        threading.Event().wait(0.005)
    final = server.wait_committed(DEVICE, WHOLE)
    assert set(answers) <= {2.0, 3.0} and answers[0] == 2.0
    assert final.trial is not None and final.trial.requests == final.trial.agreed == 40
    told = [s.trial.requests for s in server.states[DEVICE] if s.step == "trial" and s.trial is not None]
    assert any(0 < requests < 40 for requests in told) or len(told) > 1


@pytest.mark.fault("kill -9", "in a shadow trial: it begins anew, the old model answers meanwhile")
def test_killed_in_a_shadow_trial_it_begins_anew(server: ProtocolServer, agent: AgentProcess) -> None:
    server.push(DEVICE, WHOLE, shadow=Shadow(seconds=600, requests=10))

    def in_trial() -> State | None:
        state = server.state(DEVICE)
        return state if state is not None and state.online and state.step == "trial" else None

    server.wait_for(in_trial)
    agent.kill()
    server.states.clear()
    agent.start()
    server.wait_for(in_trial)
    client = agent.client()
    assert float(client.infer({"x": ONES})["y"][0, 0]) == 2.0
    while in_trial():
        client.infer({"x": ONES})
        threading.Event().wait(0.005)
    server.wait_committed(DEVICE, WHOLE)
    assert _factor(agent) == 3.0
