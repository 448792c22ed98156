"""Stories of a device that is asked to measure itself, while it lives the life of a device."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from agent_process import AgentProcess, command
from protocol_server import ProtocolServer
from release_side import Release
from small_models import artifact

from edgepress_devices.microbench.nets import PLAN_VERSION
from edgepress_devices.protocol import ProfilingJob, ProfilingReport, ProfilingState

pytestmark = pytest.mark.e2e

DEVICE = "pi-4"
ONES = np.ones((2, 4), np.float32)


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


def job(number: int, release: Release | None = None, *, seconds: int = 20) -> ProfilingJob:
    if release is None:
        return ProfilingJob(f"job-{number}", "device", seconds, plan=PLAN_VERSION)
    return ProfilingJob(f"job-{number}", "model", seconds, release.digest, PLAN_VERSION)


def profiling(server: ProtocolServer) -> ProfilingState | None:
    state = server.state(DEVICE)
    return None if state is None else state.profiling


def wait_profiling(server: ProtocolServer, job_id: str, state: str) -> ProfilingState:
    def is_so() -> ProfilingState | None:
        now = profiling(server)
        return now if now is not None and (now.id, now.state) == (job_id, state) else None

    return server.wait_for(is_so, 120)


def wait_report(server: ProtocolServer, job_id: str) -> ProfilingReport:
    return server.wait_for(
        lambda: next((r for r in server.reports.get(DEVICE, []) if r.id == job_id), None), 120
    )


def children(agent: AgentProcess) -> list[psutil.Process]:
    return psutil.Process(agent.pid).children(recursive=True)


def test_a_device_measures_its_model_and_then_itself_while_it_answers(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    agent.start()
    first = Release(artifact(2.0, ballast_bytes=200_000))
    server.push(DEVICE, first)
    server.wait_committed(DEVICE, first)
    client = agent.client()
    server.want(DEVICE, first, profiling=job(1, first))
    wait_profiling(server, "job-1", "running")
    assert client.infer({"x": ONES})["y"].tolist() == (2 * ONES).tolist()
    said = " ".join(command("status", "--state", str(agent.folder)).stdout.split())
    assert "profiling job-1" in said  # running, or done where the machine took long to answer
    report = wait_report(server, "job-1")
    assert (report.what, report.digest, [row.net for row in report.nets]) == ("model", first.digest, [""])
    assert report.rss_bytes and report.runtime_rss_bytes
    assert wait_profiling(server, "job-1", "done").percent == 100
    assert server.state(DEVICE).step == "committed"  # type: ignore[union-attr]

    server.want(DEVICE, first, profiling=job(2))
    report = wait_report(server, "job-2")
    assert report.what == "device" and report.nets and report.kernels
    assert {row.form for row in report.nets} | {row.form for row in report.skipped} == {"fp32", "u8"}
    assert children(agent) == []


def test_an_installation_comes_first_and_the_job_is_done_afterwards(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    agent.start()
    first, second = Release(artifact(2.0)), Release(artifact(3.0, ballast_bytes=900_000), counter=2)
    server.push(DEVICE, first)
    server.wait_committed(DEVICE, first)
    server.want(DEVICE, first, profiling=job(1, seconds=600))
    wait_profiling(server, "job-1", "running")
    server.push(DEVICE, second, profiling=job(2, second))
    server.wait_committed(DEVICE, second)
    report = wait_report(server, "job-2")
    assert report.digest == second.digest
    assert [r.id for r in server.reports[DEVICE]] == ["job-2"]


def test_kill_9_in_the_middle_is_forgiven_once_and_the_child_goes_too(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    agent.start()
    server.want(DEVICE, None, profiling=job(1, seconds=600))
    for deaths in (1, 2):
        wait_profiling(server, "job-1", "running")
        measuring = server.wait_for(lambda: children(agent))
        server.states.clear()
        agent.kill()
        gone, alive = psutil.wait_procs(measuring, timeout=10)
        assert (len(gone), alive) == (1, []), deaths
        agent.start()
    failed = wait_profiling(server, "job-1", "failed")
    assert failed.reason == "the agent died 2 times during this job"


def test_a_report_waits_on_the_disk_while_the_server_is_away(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    agent.start()
    server.want(DEVICE, None, profiling=job(1))
    wait_profiling(server, "job-1", "running")
    server.disconnect()
    server.broker.stop()
    client = agent.client()
    server.wait_for(lambda: client.status()["profiling"]["state"] == "done", 120)
    agent.terminate()
    agent.start()
    server.broker.start()
    server.connect()
    assert wait_report(server, "job-1").nets
    wait_profiling(server, "job-1", "done")
    server.wait_for(lambda: agent.client().status()["telemetry_waiting"] == 0)
    assert [r.id for r in server.reports[DEVICE]] == ["job-1"]


def test_a_job_is_taken_back_and_impossible_ones_fail_with_words(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    agent.start()
    server.want(DEVICE, None, profiling=job(1, seconds=600))
    wait_profiling(server, "job-1", "running")
    server.want(DEVICE, None)
    assert wait_profiling(server, "job-1", "failed").reason == "the server took this job back"
    server.want(DEVICE, None, profiling=job(2, Release(artifact(2.0))))
    reason = wait_profiling(server, "job-2", "failed").reason
    assert reason is not None and "this device runs no model" in reason
    server.want(DEVICE, None, profiling=msgspec.structs.replace(job(3), plan=PLAN_VERSION + 1))
    reason = wait_profiling(server, "job-3", "failed").reason
    assert reason is not None and "update the older side" in reason
    assert DEVICE not in server.reports or server.reports[DEVICE] == []
