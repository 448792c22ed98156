"""The job loop in this process, with the real installer on a real folder; the broker is a dictionary."""

import base64
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from https_origin import TICKET, HttpsOrigin
from power_cut import RefusingDisk
from release_side import Release, ReleaseSide
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Enrolment, Identity, Mqtt, write_enrolment
from edgepress_agent.installer import Installer
from edgepress_agent.journal import Journal
from edgepress_agent.local_limits import LocalLimits, write_local_limits
from edgepress_agent.seal import new_device_key
from edgepress_agent.slots import SlotInfo
from edgepress_agent.work import Connected, ServerRoots, Work, route
from edgepress_devices import protocol
from edgepress_devices.delivery_messages import Delivery
from edgepress_devices.protocol import CONTROL_MAX_BYTES, Hardware, Need, State, TrialReport, from_json

DEVICE = "pi-4"
ARTIFACT = b"weights " * 300_000  # 38 chunks


class Broker:
    """Retained messages by topic; sends them when they are subscribed to, through ``Work.inbox``."""

    def __init__(self) -> None:
        self.connected = True
        self.retained: dict[str, bytes] = {}
        self.topics: set[str] = set()
        self.work: Work | None = None
        self.sent: dict[str, int] = {}
        self.states: list[State] = []
        self.needs: list[Need] = []
        self.largest = 0
        self.most_topics = 0

    def publish_retained(self, topic: str, payload: bytes) -> None:
        self.retained[topic] = payload
        if topic in self.topics:
            self._send(topic)

    def subscribe(self, topics: Sequence[str]) -> None:
        if self.connected:
            self.topics.update(topics)
            self.most_topics = max(self.most_topics, len(self.topics))
            for topic in topics:
                self._send(topic)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.topics.difference_update(topics)

    def publish(self, topic: str, payload: bytes) -> bool:
        self.largest = max(self.largest, len(payload))
        self.needs.append(from_json(Need, payload))
        return self.connected

    def publish_state(self, payload: bytes) -> None:
        self.largest = max(self.largest, len(payload))
        self.states.append(from_json(State, payload))

    def _send(self, topic: str) -> None:
        payload = self.retained.get(topic)
        if payload is not None and self.work is not None:
            self.sent[topic] = self.sent.get(topic, 0) + 1
            event = route(DEVICE, topic, payload)
            if event is not None:
                self.work.inbox.put_nowait(event)

    def chunks(self, release: Release, numbers: Sequence[int] | None = None) -> None:
        for n in range(release.chunks) if numbers is None else numbers:
            self.publish_retained(protocol.chunk_topic(release.digest, n), release.chunk(n))


class Engine:
    """Models are their bytes, and every one is good."""

    def __init__(self) -> None:
        self.answers: bytes | None = None

    def load(self, artifact: Path, info: SlotInfo) -> bytes:
        return artifact.read_bytes()

    def try_model(self, artifact: Path, info: SlotInfo, *_: Any) -> tuple[bytes, TrialReport]:
        return self.load(artifact, info), TrialReport()

    def start_shadow(self, *_: Any) -> None:
        return None

    def served(self) -> tuple[int, int]:
        return 0, 0

    def activate(self, model: bytes) -> None:
        self.answers = model

    def deactivate(self) -> None:
        self.answers = None


class QuietProfiler:
    def hold(self) -> None: ...
    def release(self) -> None: ...
    def wanted(self, _job: object) -> None: ...
    def state(self) -> None:
        return None


class Board:
    """One enrolled device. ``boot`` after a restart; its folder survives."""

    def __init__(self, folder: Path, server: str = "http://127.0.0.1:1") -> None:
        self.folder = folder
        self.side = ReleaseSide()
        self.key = new_device_key()
        self.broker = Broker()
        self.engine = Engine()
        self.counter = itertools.count(1)
        write_enrolment(
            folder,
            Disk(),
            enrolment=Enrolment(DEVICE, "x86-pc", server, Mqtt("127.0.0.1", 1883), int(time.time())),
            key=self.key,
            root=self.side.root.to_bytes(),
        )
        self.boot()

    def boot(self, disk: Disk | None = None) -> None:
        disk = disk or Disk()
        self.stop = threading.Event()
        self.installer = Installer(
            self.folder,
            disk=disk,
            journal=Journal(self.folder / "journal", disk),
            engine=self.engine,
            check_room=lambda *_: None,
            changed=self._changed,
        )
        self.identity = Identity(self.folder, disk)
        self.work = Work(
            self.folder,
            disk=disk,
            identity=self.identity,
            hardware=Hardware(machine="x86_64"),
            installer=self.installer,
            profiler=QuietProfiler(),  # type: ignore[arg-type]
            started=lambda: None,
            interval=lambda _seconds: None,
            stop=self.stop,
        )
        self.work.link = self.broker
        self.broker.work = self.work
        self.broker.topics.clear()
        self.work.begin()

    def _changed(self) -> None:
        self.work.changed()

    def want(self, release: Release | None, **changes: Any) -> None:
        counter = next(self.counter)
        payload = self.side.want(DEVICE, self.key.public_key(), release, counter=counter, **changes)
        self.give(payload)

    def give(self, payload: bytes) -> None:
        event = route(DEVICE, protocol.down_topic(DEVICE, "want"), payload)
        assert event is not None
        self.work.turn([event])

    def run(self, turns: int = 400) -> None:
        """Turns, without waiting, until nothing comes any more."""
        for _ in range(turns):
            events = list(itertools.islice(self._waiting(), protocol.FETCH_WINDOW))
            self.work.turn(events)
            if not events and self.work.inbox.empty():
                assert self.work.patience_s() > 0, "it turns without a reason"
                return
        raise AssertionError("it does not come to rest")

    def wait(self, step: str, seconds: float = 20.0) -> None:
        """For what comes from other threads."""
        self.wait_until(lambda: self.step == step, seconds)

    def wait_until(self, come: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline_s = time.monotonic() + seconds
        while not come():
            assert time.monotonic() < deadline_s, f"it is {self.step}: {self.work.state()}"
            self.work.turn(self.work._events())

    def _waiting(self) -> Iterator[Any]:
        while not self.work.inbox.empty():
            yield self.work.inbox.get_nowait()

    @property
    def step(self) -> str:
        return self.installer.journal.record.step


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


@pytest.mark.fault("full disk", "a want and a root that found no room are taken up when there is some")
def test_what_the_disk_did_not_take_is_stored_later_without_a_new_connection(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepress_agent.work.STORE_AGAIN_S", 0.05)
    release = Release(b"small")
    board.broker.chunks(release)
    disk = RefusingDisk()
    board.boot(disk)
    disk.refuses = True
    board.broker.publish_retained(
        protocol.root_topic(2), successor(board.side, signers=[board.side.root_key])
    )
    board.work.turn([ServerRoots(2)])
    board.run()
    assert board.work.refused == "refused: a TUF root cannot be stored: No space left on device"
    disk.refuses = False
    board.wait_until(lambda: board.identity.root_version == 2)
    assert board.work.refused is None
    disk.refuses = True
    board.want(release)
    assert board.work.refused == "refused: a want cannot be stored: No space left on device"
    disk.refuses = False
    board.wait("committed")
    assert (board.engine.answers, board.work.refused) == (b"small", None)


# --- delivery -----------------------------------------------------------------------------------------------


def test_each_chunk_is_sent_once_and_few_states_go_out(board: Board) -> None:
    release = Release(ARTIFACT)
    board.broker.chunks(release)
    began_s = time.monotonic()
    board.want(release)
    board.run()
    assert (board.step, board.engine.answers) == ("committed", ARTIFACT)
    assert set(board.broker.sent.values()) == {1} and len(board.broker.sent) == release.chunks
    assert board.broker.most_topics <= protocol.FETCH_WINDOW
    assert board.broker.topics == set()
    assert board.broker.needs == []
    assert len(board.broker.states) <= 4 + (time.monotonic() - began_s)  # progress once a second
    payload_bytes = len(ARTIFACT) + release.chunks * protocol.GCM_TAG_BYTES
    state = board.work.state()
    assert (state.received_bytes, state.via, state.waiting, state.root) == (payload_bytes, "mqtt", None, 1)
    board.want(None)
    assert board.work.state().received_bytes is None


@pytest.mark.fault(
    "broker restarts empty", "chunks on the disk are neither subscribed to nor asked for again"
)
def test_after_a_new_connection_and_a_restart_no_chunk_comes_twice(board: Board) -> None:
    release = Release(ARTIFACT)
    board.broker.chunks(release, range(20))
    board.want(release)
    board.run()
    assert board.work.state().chunks_have == 20
    board.broker.topics.clear()
    board.work.turn([Connected()])
    board.run()
    board.boot()
    board.run()
    board.broker.chunks(release, range(20, release.chunks))
    board.run()
    assert board.step == "committed"
    assert set(board.broker.sent.values()) == {1}


def test_a_new_want_stops_a_download_and_the_old_one_resumes_when_it_is_wanted_again(board: Board) -> None:
    release = Release(ARTIFACT)
    board.broker.chunks(release, range(10))
    board.want(release)
    board.run()
    board.want(None)
    assert board.broker.topics == set()
    board.run()
    board.broker.chunks(release)
    board.broker.sent.clear()
    board.want(release)
    board.run()
    assert board.step == "committed"
    assert len(board.broker.sent) == release.chunks - 10


def test_the_same_artifact_wanted_again_does_not_disturb_its_download(board: Board) -> None:
    release = Release(ARTIFACT)
    board.broker.chunks(release, range(10))
    board.want(release)
    board.run()
    before = set(board.broker.topics)
    board.want(release)  # the key is sealed anew in each want
    board.run()
    assert board.broker.topics == before
    board.broker.chunks(release, range(10, release.chunks))
    board.run()
    assert (board.step, set(board.broker.sent.values())) == ("committed", {1})
    assert board.work.state().received_bytes == len(ARTIFACT) + release.chunks * protocol.GCM_TAG_BYTES


def test_outside_its_hours_the_state_says_why_and_nothing_is_subscribed_to(board: Board) -> None:
    release = Release(ARTIFACT)
    board.broker.chunks(release)
    minute = int(time.time()) % 86_400 // 60
    closed = [((minute + 120) % 1440, (minute + 180) % 1440)]
    board.want(release, delivery=Delivery(hours=closed))
    board.run()
    state = board.work.state()
    assert state.step == "fetching"
    assert state.waiting is not None and state.waiting.endswith("UTC, its download hours")
    assert board.broker.sent == {}
    assert 0 < board.work.patience_s() <= 60
    assert board.broker.states[-1].waiting == state.waiting or board.work.patience_s() <= 1.0
    board.want(release, delivery=Delivery())
    board.run()
    assert board.step == "committed"


@pytest.mark.fault(
    "clock at 1970", "hours are kept by signed time, and the state says that the clock is wrong"
)
def test_with_its_clock_at_1970_it_keeps_its_hours_and_says_so(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Release(ARTIFACT)
    board.broker.chunks(release)
    signed_s = int(time.time())
    minute = signed_s % 86_400 // 60
    monkeypatch.setattr(time, "time", lambda: 100.0)
    closed = [((minute + 120) % 1440, (minute + 180) % 1440)]
    board.want(release, delivery=Delivery(hours=closed), issued_at=signed_s)
    board.run()
    assert "its clock is wrong" in (board.work.state().waiting or "")
    board.want(
        release, delivery=Delivery(hours=[((minute - 5) % 1440, (minute + 60) % 1440)]), issued_at=signed_s
    )
    board.run()
    assert board.step == "committed"


def test_the_owners_limits_hold_though_the_want_sets_none(board: Board) -> None:
    write_local_limits(board.folder, LocalLimits(rate_bytes_s=1000))
    board.boot()
    release = Release(ARTIFACT)
    board.broker.chunks(release)
    board.want(release)
    board.run()
    assert board.work.rate_bytes_s == 1000
    assert len(board.broker.sent) == 1
    assert 50 < board.work.patience_s() <= 60 or board.work.patience_s() <= 1.0  # or progress to be told


def test_chunks_come_over_https_where_the_rule_says_so(tmp_path: Path) -> None:
    release = Release(ARTIFACT)
    with HttpsOrigin(release) as origin:
        board = Board(tmp_path, origin.url)
        board.want(release, delivery=Delivery(transport="https"), ticket=TICKET)
        board.wait("committed")
        assert board.engine.answers == ARTIFACT
        assert board.broker.topics == set()
        assert len(origin.ranges) == -(-release.chunks // 16)
        assert board.work.state().received_bytes == len(origin.joined)


# --- packets of 128 KB --------------------------------------------------------------------------------------


@pytest.mark.fault("broker caps packets at 128 KB", "state, need and chunk of the largest artifact fit")
def test_everything_fits_a_broker_that_caps_packets_at_128_kb() -> None:
    cap = 128_000
    chunks = protocol.chunk_count(2 << 30)  # trust.py: artifacts are at most 2 GiB
    need = Need("f" * 64, chunks, base64.b64encode(bytes(-(-chunks // 8))).decode("ascii"))
    assert len(protocol.to_json(need)) < cap
    assert cap > protocol.CHUNK_MAX_BYTES + 200
    text = "w" * 500
    hardware = Hardware(machine=text, system=text, board=text, python=text, onnxruntime=text)
    state = State(online=True, hardware=hardware, reason=text, waiting=text, agent=text)
    assert len(protocol.to_json(state)) < CONTROL_MAX_BYTES < cap


# --- wants and roots ----------------------------------------------------------------------------------------


@pytest.mark.attack("endless data", "a want or a root larger than its limit is refused before it is parsed")
def test_what_is_larger_than_its_limit_is_refused(board: Board) -> None:
    board.give(b"{" + b" " * 5000 + b"}")
    assert "at most 4096 are read" in (board.work.state().reason or "")
    assert route(DEVICE, protocol.root_topic(2), bytes(40_000)) is None
    assert route(DEVICE, protocol.chunk_topic("0" * 64, 1), bytes(64_001)) is None


def successor(side: ReleaseSide, *, signers: Sequence[CryptoSigner], version: int = 2) -> bytes:
    """Root ``version`` with a new director; ``side`` signs wants with it from here on."""
    root = Root.from_dict(side.root.signed.to_dict())
    root.version = version
    old = side.root.signed.roles["timestamp"].keyids[0]
    root.revoke_key(old, "timestamp")
    side.director_key = CryptoSigner.generate_ed25519()
    root.add_key(side.director_key.public_key, "timestamp")
    signed = Metadata(root)
    for signer in signers:
        signed.sign(signer, append=True)
    payload: bytes = signed.to_bytes()
    return payload


@pytest.mark.attack("stolen director key", "a new root takes it away, and with it counters that it raised")
def test_a_new_root_lets_the_new_director_in_and_forgets_what_the_stolen_key_raised(board: Board) -> None:
    release = Release(b"small", counter=2)
    stolen = board.side.director_key
    board.give(board.side.want(DEVICE, board.key.public_key(), None, counter=10**9))
    root = successor(board.side, signers=[board.side.root_key])
    board.broker.publish_retained(protocol.root_topic(2), root)
    board.broker.chunks(release)
    board.want(release)  # by the new director, before the root came
    assert "director key" in (board.work.state().reason or "")
    board.work.turn([ServerRoots(2)])
    board.run()
    assert (board.identity.root_version, board.work.state().root) == (2, 2)
    assert (board.step, board.engine.answers) == ("committed", b"small")
    assert board.installer.journal.record.want == 1
    assert board.broker.topics == set()
    board.give(board.side.want(DEVICE, board.key.public_key(), None, counter=10**9 + 1, signer=stolen))
    assert "director key" in (board.work.state().reason or "")
    assert board.engine.answers == b"small"
    board.boot()
    assert (board.identity.root_version, board.step) == (2, "committed")


@pytest.mark.attack(
    "stolen director key", "counters and times without measure are refused; the agent goes on"
)
def test_floors_are_not_run_up_to_what_nobody_can_count_or_write(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, last_s = board.key.public_key(), 253_402_300_799  # of the year 9999
    board.give(board.side.want(DEVICE, key, None, counter=2**53 + 1))
    assert "counter above" in (board.work.refused or "")
    with monkeypatch.context() as patch:
        patch.setattr("release_side._in_days", lambda _days: datetime.fromtimestamp(last_s, UTC))
        board.give(board.side.want(DEVICE, key, None, counter=2, issued_at=last_s))
    assert "after the year 2099" in (board.work.refused or "")
    release = Release(b"small", counter=2**53 + 1)
    board.give(board.side.want(DEVICE, key, release, counter=3))
    assert "release counter above" in (board.work.state().reason or "")
    board.installer.journal.write(time_floor_s=last_s + 1)  # an earlier agent's
    board.give(board.side.want(DEVICE, key, None, counter=4))
    assert "expired" in (board.work.refused or "")


@pytest.mark.attack(
    "forged root", "a root that the old root keys did not sign is refused, and the old one stays"
)
def test_a_root_that_the_old_one_does_not_vouch_for_is_refused(board: Board) -> None:
    forged = successor(board.side, signers=[CryptoSigner.generate_ed25519()])
    board.broker.publish_retained(protocol.root_topic(2), forged)
    board.work.turn([ServerRoots(2)])
    board.run()
    assert board.identity.root_version == 1
    assert "root" in (board.work.state().reason or "")


@pytest.mark.attack(
    "revoked release key", "a download that it allowed stops when the root takes the key away"
)
def test_a_download_under_way_stops_when_its_release_key_is_revoked(board: Board) -> None:
    release = Release(ARTIFACT)
    board.broker.chunks(release, range(10))
    board.want(release)
    board.run()
    root = Root.from_dict(board.side.root.signed.to_dict())
    root.version = 2
    root.revoke_key(root.roles["targets"].keyids[0], "targets")
    root.add_key(CryptoSigner.generate_ed25519().public_key, "targets")
    signed = Metadata(root)
    signed.sign(board.side.root_key)
    board.broker.publish_retained(protocol.root_topic(2), signed.to_bytes())
    board.work.turn([ServerRoots(2)])
    board.run()
    assert board.step == "rejected"
    assert "release key" in (board.work.state().reason or "")
    assert board.broker.topics == set()


def test_states_are_json_that_the_server_reads(board: Board) -> None:
    assert msgspec.json.decode(protocol.to_json(board.work.state()))["online"] is True
