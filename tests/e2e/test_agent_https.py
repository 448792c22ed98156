"""A real agent whose broker brings nothing: the rest of the artifact comes over HTTPS."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_process import AgentProcess, command
from protocol_server import ProtocolServer
from release_side import Release
from small_models import artifact

from edgepress_devices.delivery_messages import Delivery

pytestmark = pytest.mark.e2e

DEVICE = "pi-4"


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    with ProtocolServer() as made:
        made.tickets.add("good")
        yield made


@pytest.fixture
def agent(server: ProtocolServer, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(server, tmp_path / DEVICE)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.fault("broker drops silently", "a real agent gets the rest over HTTPS, and no chunk twice")
def test_a_broker_that_swallows_chunks_is_gone_around(server: ProtocolServer, agent: AgentProcess) -> None:
    release = Release(artifact(2.0, ballast_bytes=1_900_000))
    server.withheld = set(range(6, release.chunks))  # neither retained nor published when asked for
    agent.start()
    server.push(DEVICE, release, ticket="good")
    server.wait_for(lambda: any(s.via == "https" for s in server.states.get(DEVICE, [])), 60)
    state = server.wait_committed(DEVICE, release)
    fetched = [n for first, count in server.over_https for n in range(first, first + count)]
    assert sorted(fetched) == list(range(6, release.chunks))
    assert state.received_bytes == len(release.artifact) + 16 * release.chunks


def test_the_owner_sees_and_sets_how_a_device_fetches(server: ProtocolServer, agent: AgentProcess) -> None:
    folder = str(agent.folder)
    set_ = command("limits", "--rate", "64KB", "--metered", "yes", "--state", folder)
    assert set_.returncode == 0, set_.stderr
    assert "at most 64000 bytes/s" in set_.stdout
    release = Release(artifact(2.0, ballast_bytes=300_000))
    agent.start()
    server.push(DEVICE, release, delivery=Delivery(metered="wait"))
    server.wait_for(lambda: any(s.waiting == "on a metered link" for s in server.states.get(DEVICE, [])))
    said = command("status", "--state", folder).stdout
    assert "waiting   on a metered link" in said
    assert "rate      at most 64000 bytes/s" in said
    assert command("limits", "--rate", "none", "--metered", "auto", "--state", folder).returncode == 0
    server.push(DEVICE, release, delivery=Delivery(transport="https"), ticket="good")
    server.wait_committed(DEVICE, release)
    assert sum(count for _, count in server.over_https) == release.chunks
