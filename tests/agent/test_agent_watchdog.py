"""When the watchdog ends the agent, and what systemd hears."""

import os
import socket
from dataclasses import dataclass, field

import pytest

from edgepress_agent.watchdog import (
    HANG_S,
    INFERENCE_MAX_S,
    LOOK_EVERY_S,
    WAKE_EVERY_S,
    Hang,
    Notifier,
    Pulse,
    Watchdog,
    notifier_from,
)


@dataclass
class Process:
    """A process with threads work and link, by a clock that is set by hand."""

    now_s: float = 1000.0
    inference_s: float = 0.0
    hangs: set[str] = field(default_factory=set)
    ended: list[Hang] = field(default_factory=list)
    woken: int = 0

    def __post_init__(self) -> None:
        self.pulse = Pulse(lambda: self.now_s)
        self.watchdog = Watchdog(
            self.pulse,
            longest_s=lambda: self.inference_s,
            wake=self._wake,
            end=self.ended.append,
            clock_s=lambda: self.now_s,
        )
        self._wake()

    def _wake(self) -> None:
        self.woken += 1
        for name in {"work", "link"} - self.hangs:
            self.pulse.beat(name)

    def live(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s and not self.ended:
            self.now_s += LOOK_EVERY_S
            self.watchdog.look()


def test_threads_that_live_are_left_alone_for_ever_and_woken_now_and_then() -> None:
    process = Process()
    process.live(3600)
    assert process.ended == []
    assert process.woken == pytest.approx(3600 / WAKE_EVERY_S, rel=0.1)


@pytest.mark.fault("hanging thread", "the agent ends itself, to be started again; the model is not blamed")
def test_a_link_that_hangs_ends_the_agent_and_the_model_is_not_blamed() -> None:
    process = Process(hangs={"link"})
    process.pulse.beat("link")
    process.live(3600)
    assert process.now_s - 1000 == pytest.approx(HANG_S, abs=2 * LOOK_EVERY_S)
    (hang,) = process.ended
    assert hang.blameless and hang.reason.startswith("nothing was heard of the link thread for")


def test_a_work_thread_that_hangs_may_hang_in_a_model() -> None:
    process = Process(hangs={"work"})
    process.pulse.beat("work")
    process.live(3600)
    assert [hang.blameless for hang in process.ended] == [False]


def test_a_slow_step_that_said_so_is_waited_for() -> None:
    process = Process(hangs={"work"})
    process.pulse.beat("work", 600)
    process.live(590)
    assert process.ended == []
    process.live(60)
    assert len(process.ended) == 1


@pytest.mark.fault(
    "hanging inference", "native code that does not come back ends the agent, a death of the model"
)
def test_an_inference_that_does_not_come_back_ends_the_agent() -> None:
    process = Process(inference_s=INFERENCE_MAX_S - 1)
    process.live(60)
    assert process.ended == []
    process.inference_s = INFERENCE_MAX_S + 1
    process.live(60)
    (hang,) = process.ended
    assert not hang.blameless and "an inference has not come back for 121 s" in hang.reason


def test_a_process_that_was_stopped_as_a_whole_goes_on() -> None:
    process = Process(inference_s=3.0)
    process.now_s += 4 * 3600
    process.inference_s += 4 * 3600
    process.hangs = {"work", "link"}  # they have not run yet since it went on
    process.watchdog.look()
    assert process.ended == []
    process.hangs, process.inference_s = set(), 0.0
    process.live(3600)
    assert process.ended == []


# --- systemd ----------------------------------------------------------------------------------------------


@pytest.fixture
def systemd() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(f"\0edgepress-test-{os.getpid()}")
    made.settimeout(5)
    return made


def _address(systemd: socket.socket) -> str:
    return "@" + systemd.getsockname()[1:].decode()


def test_systemd_hears_that_it_is_ready_lives_and_stops(systemd: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": _address(systemd), "WATCHDOG_USEC": "3000000", "PATH": "/bin"}
    notifier = notifier_from(environment)
    assert notifier is not None and notifier.watchdog_s == 3.0
    assert environment == {"PATH": "/bin"}, "a child would speak for the agent"
    notifier.ready()
    notifier.alive()
    notifier.stopping()
    assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    notifier.close()
    systemd.close()


def test_systemd_is_fed_while_all_is_well_and_not_any_more(systemd: socket.socket) -> None:
    process = Process()
    notifier = Notifier(_address(systemd), 6.0)
    watchdog = Watchdog(
        process.pulse,
        longest_s=lambda: process.inference_s,
        wake=lambda: None,
        end=process.ended.append,
        notifier=notifier,
        clock_s=lambda: process.now_s,
    )
    assert watchdog.every_s == 3.0
    watchdog.look()
    assert systemd.recv(100) == b"WATCHDOG=1"
    process.inference_s = 1000.0
    watchdog.look()
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)
    notifier.close()
    systemd.close()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"NOTIFY_SOCKET": "@x"}, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"}, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "many"}, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
    ],
)
def test_whether_systemd_watches(environment: dict[str, str], watchdog_s: float | None) -> None:
    notifier = notifier_from(environment)
    assert notifier is not None and notifier.watchdog_s == watchdog_s
    notifier.alive()  # nobody listens there: that must not matter
    notifier.close()


def test_without_systemd_nobody_is_told() -> None:
    assert notifier_from({}) is None
    assert notifier_from({"NOTIFY_SOCKET": "relative/path"}) is None
