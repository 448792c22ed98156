"""Stories of a real agent process, a real broker and a server that speaks the protocol's other side."""

import http.client
import itertools
import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import dying_agent
import held_trial
import numpy as np
import psutil
import pytest
from agent_process import AgentProcess, command
from protocol_server import ProtocolServer, free_port
from release_side import Release, ReleaseSide
from small_models import artifact

from edgepress_agent.errors import InferenceError
from edgepress_devices.protocol import Limits, State

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


def release(factor: float, counter: int, *, bytes_: int = 0, **changes: object) -> Release:
    return Release(artifact(factor, ballast_bytes=bytes_), counter=counter, **changes)  # type: ignore[arg-type]


def answers(agent: AgentProcess) -> float:
    """The factor of the model that answers now."""
    return float(agent.client().infer({"x": ONES})["y"][0, 0])


def running(agent: AgentProcess, first: Release) -> None:
    agent.start()
    agent.server.push(DEVICE, first)
    agent.server.wait_committed(DEVICE, first)


# --- the way a model goes ---------------------------------------------------------------------------------


def test_it_installs_a_model_serves_it_and_reports(server: ProtocolServer, agent: AgentProcess) -> None:
    agent.start()
    first = release(2.0, 1, bytes_=1_300_000)  # 21 chunks: more than a window
    server.push(DEVICE, first)
    state = server.wait_committed(DEVICE, first)
    assert (state.running_release, state.want, state.reason) == (1, 1, None)
    assert state.hardware is not None and state.hardware.onnxruntime
    client = agent.client()
    assert client.model() == "digits"
    assert client.infer({"x": ONES})["y"].tolist() == (2 * ONES).tolist()

    def counted() -> bool:
        return any(s.inferences and s.artifact == first.digest for s in server.samples(DEVICE))

    server.wait_for(counted)
    sample = next(s for s in server.samples(DEVICE) if s.inferences)
    assert sample.latency_us is not None and sum(sample.latency_us.counts) == sample.inferences
    assert sample.rss_bytes is not None and sample.rss_bytes > 1 << 20
    status = json.loads(command("status", "--json", "--state", str(agent.folder)).stdout)
    assert (status["running"], status["step"], status["connected"]) == (first.digest, "committed", True)


def test_states_are_at_most_four_a_second(server: ProtocolServer, agent: AgentProcess) -> None:
    running(agent, release(2.0, 1, bytes_=4_000_000))
    times = sorted(s.at_ms or 0 for s in server.states[DEVICE] if s.online)
    assert all(later - earlier >= 950 for earlier, later in zip(times, times[4:], strict=False))


@pytest.mark.parametrize(
    "moment",
    [
        "after:fetching",
        "before:verified",
        "after:verified",
        "after:staged",
        "after:trial",
        "before:pointer",
        "after:pointer",
        "after:committed",
    ],
)
def test_killed_at_a_step_it_ends_running_the_new_model(
    server: ProtocolServer, agent: AgentProcess, moment: str
) -> None:
    old, new = release(2.0, 1), release(3.0, 2, bytes_=200_000)
    running(agent, old)
    agent.kill()
    server.push(DEVICE, new)
    agent.start([sys.executable, dying_agent.__file__, moment])
    assert agent.wait() == -signal.SIGKILL
    # What was fetched is on the disk: from here on the broker has nothing more to give.
    if moment != "after:fetching":
        server.forget_chunks(new)
        server.withheld = set(range(new.chunks))
    server.states.clear()
    agent.start()
    server.wait_committed(DEVICE, new)
    assert answers(agent) == 3.0
    assert server.needs == []


def test_killed_while_fetching_it_goes_on_where_it_was(server: ProtocolServer, agent: AgentProcess) -> None:
    first = release(2.0, 1, bytes_=1_900_000)
    assert first.chunks > 20
    server.withheld = set(range(12, first.chunks))
    agent.start()
    server.push(DEVICE, first)
    server.wait_for(lambda: (s := server.state(DEVICE)) is not None and s.chunks_have == 12)
    agent.kill()
    server.forget_chunks(first)
    server.withheld = set(range(12))  # what it has is not to be had any more
    server.publish_chunks(first)
    agent.start()
    server.wait_committed(DEVICE, first)
    assert server.needs == []


def test_restarted_without_a_broker_it_runs_its_model_and_finishes_an_installation(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    old, new = release(2.0, 1), release(3.0, 2)
    running(agent, old)
    agent.kill()
    server.push(DEVICE, new)
    agent.start([sys.executable, dying_agent.__file__, "after:staged"])
    assert agent.wait() == -signal.SIGKILL
    server.disconnect()
    server.broker.stop()
    agent.start()
    client = agent.client()

    def new_answers() -> bool:
        try:
            return float(client.infer({"x": ONES})["y"][0, 0]) == 3.0
        except InferenceError:  # not loaded yet
            return False

    server.wait_for(new_answers)


# --- what goes wrong on the way ---------------------------------------------------------------------------


def test_a_damaged_chunk_is_asked_for_and_repaired(server: ProtocolServer, agent: AgentProcess) -> None:
    first = release(2.0, 1, bytes_=400_000)
    server.damaged = {3}
    agent.start()
    server.push(DEVICE, first)
    server.wait_committed(DEVICE, first)
    assert server.needs == [(DEVICE, [3])]


def test_chunks_that_the_broker_lost_are_asked_for(server: ProtocolServer, agent: AgentProcess) -> None:
    first = release(2.0, 1, bytes_=1_300_000)
    server.withheld = {2, 18}
    agent.start()
    server.push(DEVICE, first)
    server.wait_for(lambda: (s := server.state(DEVICE)) is not None and s.chunks_have == first.chunks - 2)
    server.withheld = set()
    server.wait_committed(DEVICE, first)
    assert {n for _, chunks in server.needs for n in chunks} == {2, 18}


class _Lying(Release):
    """Chunks that open, of bytes that are not those of the digest."""

    @property
    def digest(self) -> str:
        return "ab" * 32


def _expired(server: ProtocolServer, good: Release) -> None:
    server.want(DEVICE, good, days=-1)


def _replayed(server: ProtocolServer, good: Release) -> None:
    server.want(DEVICE, good, counter=1)


def _wrong_signature(server: ProtocolServer, good: Release) -> None:
    server.want(DEVICE, good, signer=ReleaseSide().director_key)


def _other_device(server: ProtocolServer, good: Release) -> None:
    server.publish_want(DEVICE, server.side.want("pi-5", server.keys[DEVICE], good, counter=9))


def _unreleased(server: ProtocolServer, good: Release) -> None:
    statement = server.side.statement(good, signer=server.side.director_key)
    server.want(DEVICE, good, statement=statement)


def _rollback(server: ProtocolServer, good: Release) -> None:
    server.push(DEVICE, Release(good.artifact, counter=1))


def _wrong_digest(server: ProtocolServer, good: Release) -> None:
    server.push(DEVICE, _Lying(good.artifact, counter=6))


LIES: list[tuple[Callable[[ProtocolServer, Release], None], str, bool]] = [
    (_expired, "refused: the want expired on", False),
    (_replayed, "was seen already: it is a replay", False),
    (_wrong_signature, "refused: the want is not signed by the server's director key", False),
    (_other_device, "refused: the want is for device 'pi-5', this one is 'pi-4'", False),
    (_unreleased, "the release statement is not signed by the release key", True),
    (_rollback, "release counter 1 is below 5", True),
    (_wrong_digest, "the artifact that came does not have the digest abababababab", True),
]


def test_each_lie_is_refused_with_its_own_reason_and_the_model_keeps_answering(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    agent.start()
    good = release(2.0, 5)
    server.push(DEVICE, good)
    server.push(DEVICE, good)
    server.wait_for(lambda: (s := server.state(DEVICE)) is not None and s.want == 2 and s.step == "committed")
    other = release(3.0, 6)
    for lie, reason, rejected in LIES:
        lie(server, other)

        def told(reason: str = reason) -> State | None:
            state = server.state(DEVICE)
            return state if state is not None and reason in (state.reason or "") else None

        state = server.wait_for(told)
        assert state.step == ("rejected" if rejected else "committed"), reason
        assert state.running == good.digest
        assert answers(agent) == 2.0
        server.push(DEVICE, good)
        server.wait_for(
            lambda: (s := server.state(DEVICE)) is not None and s.step == "committed" and s.reason is None
        )


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda: Release(artifact(3.0, answer=4.0), counter=2), "computes something else here"),
        (lambda: Release(b"no artifact at all" * 10, counter=2), "the artifact cannot be read"),
        (lambda: release(3.0, 2, limits=Limits(rss_bytes=1)), "bytes of memory, the release allows 1"),
        (lambda: release(3.0, 2, limits=Limits(p95_us=0)), "95th percentile latency is"),
        (lambda: release(3.0, 2, bytes_=70_000, profile="jetson-nano"), "released for profile 'jetson-nano'"),
    ],
    ids=["wrong answers", "no artifact", "too much memory", "too slow", "another profile"],
)
def test_a_model_that_does_not_pass_is_rejected_and_the_old_one_keeps_answering(
    server: ProtocolServer, agent: AgentProcess, bad: Callable[[], Release], reason: str
) -> None:
    good, wrong = release(2.0, 1), bad()
    running(agent, good)
    server.push(DEVICE, wrong)
    state = server.wait_for(lambda: (s := server.state(DEVICE)) is not None and s.step == "rejected" and s)
    assert reason in (state.reason or "")
    assert state.running == good.digest
    assert answers(agent) == 2.0
    agent.kill()
    agent.start()
    assert server.wait_for(lambda: agent.client().infer({"x": ONES}))["y"][0, 0] == 2.0


def test_wanting_nothing_stops_the_model(server: ProtocolServer, agent: AgentProcess) -> None:
    running(agent, release(2.0, 1))
    server.want(DEVICE, None)
    server.wait_for(lambda: (s := server.state(DEVICE)) is not None and s.running is None and s.want == 2)
    with pytest.raises(InferenceError, match="no model is installed"):
        agent.client().infer({"x": ONES})


# --- the broker and the server come and go ----------------------------------------------------------------


def test_while_the_broker_is_away_telemetry_is_kept_and_then_delivered_once(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    running(agent, release(2.0, 1))
    server.wait_for(lambda: len(server.samples(DEVICE)) >= 2)
    server.disconnect()
    server.broker.stop()
    outage_began = server.samples(DEVICE)[-1].at_ms
    outbox = agent.folder / "outbox" / "open"
    server.wait_for(lambda: any(path.stat().st_size > 400 for path in outbox.iterdir()))  # some samples
    agent.kill()  # kept through a kill, too
    agent.start()
    server.wait_for(lambda: len(list(outbox.iterdir())) >= 2)
    server.broker.start()
    server.connect()
    server.wait_for(lambda: server.samples(DEVICE)[-1].at_ms > outage_began + 4000, seconds=60)
    server.wait_for(lambda: not list(outbox.iterdir()))
    state = server.wait_for(lambda: server.state(DEVICE))
    assert state.running is not None, "a broker that forgot everything is told again"
    samples = server.samples(DEVICE)
    assert len({s.at_ms for s in samples}) == len(samples), "a sample was delivered under two numbers"
    during = [s for s in samples if s.at_ms > outage_began]
    gaps = [b.at_ms - a.at_ms - b.interval_ms for a, b in itertools.pairwise(during)]
    # The kill loses at most the interval it fell into, and a start takes a moment; nothing else is missing.
    assert sum(gap > 500 for gap in gaps) <= 1


def test_what_an_absent_server_did_not_acknowledge_is_sent_when_it_is_back(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    agent.start()
    server.wait_for(lambda: len(server.samples(DEVICE)) >= 1)
    server.silent = True
    server.disconnect()  # the will says so
    before = len(server.samples(DEVICE))
    outbox = agent.folder / "outbox" / "open"
    server.wait_for(lambda: len(list(outbox.iterdir())) >= 1)
    server.silent = False
    server.connect()
    server.wait_for(lambda: len(server.samples(DEVICE)) >= before + 2)
    server.wait_for(lambda: not list(outbox.iterdir()))
    samples = server.samples(DEVICE)
    assert len({s.at_ms for s in samples}) == len(samples)


# --- local inference --------------------------------------------------------------------------------------


def test_switching_models_under_load_fails_no_request(server: ProtocolServer, agent: AgentProcess) -> None:
    running(agent, release(2.0, 1))
    stop = threading.Event()
    failures: list[BaseException] = []
    seen: set[float] = set()

    def load() -> None:
        client = agent.client()
        while not stop.is_set():
            try:
                seen.add(float(client.infer({"x": ONES})["y"][1, 3]))
            except (InferenceError, OSError) as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for factor in (3.0, 4.0, 5.0):
            new = release(factor, int(factor))
            server.push(DEVICE, new)
            server.wait_committed(DEVICE, new)
            server.wait_for(lambda factor=factor: factor in seen or failures)  # type: ignore[misc]
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert failures == []
    assert seen == {2.0, 3.0, 4.0, 5.0}


def test_the_open_inference_protocol_over_plain_http(server: ProtocolServer, agent: AgentProcess) -> None:
    agent.start()
    url = urlsplit(agent.client().url)

    def ask(
        method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    assert ask("GET", "/v2/health/live")[0] == 200
    assert ask("GET", "/v2/health/ready")[0] == 503
    first = release(2.0, 1)
    server.push(DEVICE, first)
    server.wait_committed(DEVICE, first)
    assert ask("GET", "/v2/health/ready")[0] == 200
    assert ask("GET", "/v2/models/digits")[1]["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    ]
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [[1, 2, 3, 4.5]]}
    status, answer = ask(
        "POST", "/v2/models/digits/infer", json.dumps({"id": "7", "inputs": [tensor]}).encode()
    )
    assert status == 200
    assert answer["id"] == "7"
    assert answer["outputs"] == [{"name": "y", "shape": [1, 4], "datatype": "FP32", "data": [2, 4, 6, 9]}]
    for problem, method, path, body, expected in [
        ("no such model", "POST", "/v2/models/other/infer", b"{}", 404),
        ("not JSON", "POST", "/v2/models/digits/infer", b"{", 400),
        ("no input", "POST", "/v2/models/digits/infer", b'{"inputs": []}', 400),
        ("a path of nothing", "GET", "/v3", None, 404),
        ("inference by GET", "GET", "/v2/models/digits/infer", None, 405),
        ("an unknown method", "BREW", "/v2", None, 501),
    ]:
        status, answer = ask(method, path, body)
        assert (status, bool(answer["error"])) == (expected, True), problem
    huge = {"Content-Length": str(10**9)}
    assert ask("POST", "/v2/models/digits/infer", b"", **huge)[0] == 413
    assert ask("GET", "/v2", None, Host="evil.example")[0] == 403


# --- a person at the board --------------------------------------------------------------------------------


def test_sigterm_stops_within_three_seconds_and_says_goodbye(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    running(agent, release(2.0, 1))
    status, seconds = agent.terminate()
    assert (status, seconds < 3.0) == (0, True)
    server.wait_for(lambda: not server.states[DEVICE][-1].online)
    assert "Traceback" not in agent.log
    shown = command("status", "--state", str(agent.folder)).stdout
    assert "not running" in shown
    assert "digits" in shown


def test_a_long_trial_is_shown_and_stopping_in_it_is_quick_and_no_death(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    first = release(2.0, 1)
    for _ in range(3):  # two deaths in a trial would reject it
        agent.start([sys.executable, held_trial.__file__])
        server.states.clear()
        if not server.wants:
            server.wait_for(lambda: server.state(DEVICE))
            server.push(DEVICE, first)
        server.wait_step(DEVICE, "trial")
        status, seconds = agent.terminate()
        assert (status, seconds < 3.0) == (0, True)
    (agent.folder.parent / "go").touch()
    agent.start([sys.executable, held_trial.__file__])
    server.wait_committed(DEVICE, first)


def test_it_stops_within_three_seconds_while_the_broker_is_away(
    server: ProtocolServer, agent: AgentProcess
) -> None:
    agent.start()
    server.wait_for(lambda: server.state(DEVICE))
    server.disconnect()
    server.broker.stop()
    assert agent.terminate()[1] < 3.0


def test_a_killed_agent_is_reported_offline_by_its_will(server: ProtocolServer, agent: AgentProcess) -> None:
    agent.start()
    server.wait_for(lambda: server.state(DEVICE))
    agent.kill()
    server.wait_for(lambda: not server.states[DEVICE][-1].online)


def test_without_a_model_it_stays_small(server: ProtocolServer, agent: AgentProcess) -> None:
    agent.start()
    server.wait_for(lambda: len(server.samples(DEVICE)) >= 3)
    shown = command("status", "--state", str(agent.folder))
    assert "model     none\njob       idle\n" in shown.stdout
    rss_bytes = psutil.Process(agent.pid).memory_info().rss
    print(f"resident memory without a model: {rss_bytes / 1e6:.1f} MB")
    assert rss_bytes < 60e6


def _sentence(result: object) -> str:
    """What a person reads: one line on stderr, and no stack trace."""
    stderr = str(getattr(result, "stderr", ""))
    assert getattr(result, "returncode", 0) == 1, stderr
    assert stderr.startswith("edgepress-agent: ")
    assert stderr.count("\n") == 1, stderr
    return stderr


def test_enrolment_errors_are_sentences_that_say_what_to_do(
    server: ProtocolServer, agent: AgentProcess, tmp_path: Path
) -> None:
    fresh = ["--state", str(tmp_path / "fresh")]
    server.expired_codes.add("OLD")
    page = f"{server.url}/enroll"
    assert "no such code" in _sentence(command("enroll", f"{page}#WRONG", *fresh))
    assert "was used already" in _sentence(command("enroll", f"{page}#CODE-pi-4", *fresh))
    assert "has expired" in _sentence(command("enroll", f"{page}#OLD", *fresh))
    assert "--server" in _sentence(command("enroll", "ABCD-EFGH", *fresh))
    away = f"http://127.0.0.1:{free_port()}/enroll#CODE"
    assert "cannot be reached" in _sentence(command("enroll", away, *fresh))
    assert "not encrypted" in _sentence(command("enroll", "http://192.0.2.1/enroll#CODE", *fresh))
    again = command("enroll", f"{page}#CODE-pi-4", "--state", str(agent.folder))
    assert "already enrolled as pi-4" in _sentence(again)
    assert "--force" in again.stderr
    not_a_folder = tmp_path / "file"
    not_a_folder.write_text("")
    assert "cannot be written" in _sentence(
        command("enroll", f"{page}#C", "--state", str(not_a_folder / "x"))
    )
    assert "is not enrolled" in _sentence(command("run", *fresh))
    assert "is not enrolled" in _sentence(command("status", *fresh))


def test_enrolling_again_begins_anew_as_another_device(server: ProtocolServer, agent: AgentProcess) -> None:
    running(agent, release(2.0, 9))
    server.codes["MOVE"] = "pi-5", "x86-pc"
    folder = ["--state", str(agent.folder)]
    busy = command("enroll", f"{server.url}/enroll#MOVE", "--force", *folder)
    assert "another agent uses" in _sentence(busy)
    agent.terminate()
    assert command("enroll", f"{server.url}/enroll#MOVE", "--force", *folder).returncode == 0
    agent.start()
    state = server.wait_for(lambda: server.state("pi-5"))
    assert state.running is None
    lower = release(3.0, 1)
    server.push("pi-5", lower)
    server.wait_committed("pi-5", lower)


def test_a_taken_port_and_a_second_agent_are_sentences(server: ProtocolServer, agent: AgentProcess) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = command("run", "--http-port", str(port), "--state", str(agent.folder))
    assert f"port {port} is taken: choose another with --http-port" in _sentence(result)
    agent.start()
    server.wait_for(lambda: server.state(DEVICE))
    second = command("run", "--http-port", "0", "--state", str(agent.folder))
    assert "another agent uses" in _sentence(second)
