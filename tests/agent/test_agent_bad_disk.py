"""Disks that are full, turned read-only or damaged, clocks that begin in 1970: what the device does then."""

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from power_cut import KeepingDisk, ReadOnlyDisk, RefusingDisk
from release_side import Release, ReleaseSide
from small_device import NEW, OLD, TWO, Device, digest, wanting
from small_models import artifact

from edgepress_agent.engine import decoded_model
from edgepress_agent.errors import StateFolderError, WantError
from edgepress_agent.journal import Journal, Record, backup_path, decode_record, encode_record, read_record
from edgepress_agent.seal import new_device_key
from edgepress_agent.state_folder import StateFolder
from edgepress_agent.trust import Floors, verify_want
from edgepress_compression.artifact.read import decode
from edgepress_devices.protocol import CHUNK_PLAIN_BYTES


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def _changes(folder: Path, counted: RefusingDisk) -> int:
    """How many changes it takes to start and to go from OLD to TWO by a delta and back to OLD."""
    device = Device(folder)
    device.follow(wanting(OLD, 1))
    device.boot(counted)
    device.follow(wanting(TWO, 2, base=OLD))
    return counted.count


@pytest.mark.fault(
    "full disk", "at every write of an installation: what runs goes on, and so does the rest later"
)
def test_full_at_any_write_it_keeps_what_runs_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    changes = _changes(tmp_path / "counted", RefusingDisk())
    assert changes > 25
    for at in range(changes):
        device = Device(tmp_path / str(at))
        device.follow(wanting(OLD, 1))
        device.fetched.clear()
        disk = RefusingDisk(after=at)
        device.boot(disk)
        assert device.engine.answers == OLD, f"full at write {at}: nothing answers"
        try:
            device.follow(wanting(TWO, 2, base=OLD))
        except OSError:
            pass  # the want itself could not be noted: it comes again
        assert device.engine.answers in (OLD, TWO), f"full at write {at}"
        disk.refuses = False
        device.now_s += 1000
        device.follow(wanting(TWO, 2, base=OLD))
        assert (device.engine.answers, device.step) == (TWO, "committed"), f"full at write {at}"
        assert device.installer.trouble is None
        assert len(device.fetched) == len(set(device.fetched)), (
            f"full at write {at}: a chunk was fetched twice"
        )


@pytest.mark.fault(
    "read-only disk", "at every change: what runs goes on, says why, and answers after a restart"
)
def test_read_only_from_any_change_on_a_model_answers_now_and_after_a_restart(tmp_path: Path) -> None:
    changes = _changes(tmp_path / "counted", ReadOnlyDisk(after=10**9))
    for at in range(changes):
        device = Device(tmp_path / str(at))
        device.follow(wanting(OLD, 1))
        disk = ReadOnlyDisk(after=at)
        device.boot(disk)
        try:
            device.follow(wanting(TWO, 2, base=OLD))
            said = device.installer.trouble or device.reason
        except OSError as error:
            said = str(error)
        assert "Read-only file system" in said or device.step == "committed", f"read-only at {at}: {said}"
        assert device.engine.answers in (OLD, TWO), f"read-only at {at}"
        device.boot(ReadOnlyDisk())
        assert device.engine.answers in (OLD, TWO), f"read-only at {at}: nothing answers after a restart"


def test_room_that_a_cut_kept_while_fetches_were_removed_is_given_back(tmp_path: Path) -> None:
    (tmp_path / ".old-fetch" / "an artifact").mkdir(parents=True)
    Device(tmp_path)
    assert not list(tmp_path.glob(".old-*"))


def test_read_only_with_a_damaged_model_the_last_good_one_answers(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    device.follow(wanting(NEW, 2))
    slot = device.installer.slots.current()
    assert slot is not None
    device.installer.slots.artifact(slot).write_bytes(b"")
    device.boot(ReadOnlyDisk())
    assert device.engine.answers == OLD
    assert device.installer.trouble == "the state folder cannot be written: Read-only file system"


@pytest.mark.fault(
    "read-only disk", "with the only model damaged, the agent says why; with room again it fetches it anew"
)
def test_read_only_with_the_only_model_damaged_the_agent_goes_on_and_heals_later(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    slot = device.installer.slots.current()
    assert slot is not None
    device.installer.slots.artifact(slot).write_bytes(b"")
    disk = ReadOnlyDisk()
    device.boot(disk)
    device.follow(wanting(OLD, 1))
    assert device.installer.trouble == "the state folder cannot be written: Read-only file system"
    disk.refuses = False
    device.now_s += 1000
    device.work()
    assert (device.engine.answers, device.step, device.installer.trouble) == (OLD, "committed", None)


@pytest.mark.fault("failing disk", "a refused model stays refused though it cannot be removed")
def test_what_cannot_be_removed_is_refused_all_the_same(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    device.engine.refused.add(NEW)
    disk = KeepingDisk()
    device.boot(disk)
    device.engine.in_trial = lambda: setattr(disk, "refuses", True)
    device.follow(wanting(NEW, 2))
    assert (device.step, device.reason) == ("rejected", "onnxruntime cannot load the model")
    device.engine.refused.clear()
    device.now_s += 1000
    device.work()
    assert (device.step, device.engine.answers) == ("rejected", OLD)


def test_a_model_is_committed_though_what_it_came_in_cannot_be_removed(tmp_path: Path) -> None:
    device = Device(tmp_path)
    disk = KeepingDisk()
    device.boot(disk)
    device.follow(wanting(OLD, 1))
    leftover = tmp_path / "fetch" / digest(NEW)

    def in_trial() -> None:
        leftover.mkdir(parents=True)
        disk.refuses = True

    device.engine.in_trial = in_trial
    device.follow(wanting(NEW, 2))
    assert (device.step, device.engine.answers) == ("committed", NEW)
    assert device.installer.journal.record.probation is not None


@pytest.mark.fault("failing disk", "a model that was gone back from does not return")
def test_what_was_gone_back_from_does_not_return_because_it_cannot_be_removed(tmp_path: Path) -> None:
    device = Device(tmp_path)
    disk = KeepingDisk()
    device.boot(disk)
    device.follow(wanting(OLD, 1))
    device.follow(wanting(NEW, 2))
    disk.refuses = True
    device.engine.requests = (0, 50)
    device.work()
    assert (device.step, device.engine.answers) == ("rolled_back", OLD)
    disk.refuses = False
    device.now_s += 1000
    device.work()
    assert (device.step, device.engine.answers) == ("rolled_back", OLD)


@pytest.mark.fault(
    "read-only disk", "the state folder is locked and the model decoded in memory all the same"
)
def test_what_cannot_be_written_does_not_keep_a_model_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").touch()
    opened = os.open

    def read_only(path: Path, flags: int, *mode: int) -> int:
        if flags & (os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        with StateFolder(tmp_path), pytest.raises(StateFolderError, match="another agent uses"):
            StateFolder(tmp_path)
    data = artifact(2.0)
    (tmp_path / "artifact").write_bytes(data)
    (tmp_path / "decoded.onnx").mkdir()  # no file can be made there
    with decoded_model(tmp_path / "artifact", 1 << 20, tmp_path / "decoded.onnx") as model:
        assert model == decode(data)


# --- the journal ------------------------------------------------------------------------------------------

FLOORS = ("want", "release_floor", "time_floor_s", "seq", "step", "target")


def _floors(record: Record) -> tuple[object, ...]:
    return tuple(getattr(record, name) for name in FLOORS)


def _damaged(data: bytes) -> list[bytes]:
    """Every byte flipped in one bit and in all, and the file cut off before every byte."""
    flipped = [
        data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :] for at in range(len(data)) for mask in (1, 255)
    ]
    return [*flipped, *(data[:at] for at in range(len(data))), data + data, bytes(len(data))]


@pytest.mark.fault("corrupted journal", "every byte of a copy flipped, every length: nothing is forgotten")
@pytest.mark.parametrize("name", ["journal", "journal.bak"])
def test_a_damaged_copy_of_the_journal_loses_nothing(tmp_path: Path, name: str) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    device.follow(wanting(NEW, 7, release=5))
    before = _floors(device.installer.journal.record)
    whole = (tmp_path / name).read_bytes()
    for data in _damaged(whole):
        (tmp_path / name).write_bytes(data)
        record = read_record(tmp_path / "journal")
        assert record is not None and _floors(record) == before
    (tmp_path / name).unlink()
    record = read_record(tmp_path / "journal")
    assert record is not None and _floors(record) == before


@pytest.mark.fault("corrupted journal", "both copies lost: the model runs, its release is still the floor")
@pytest.mark.parametrize("left", [b"", b"\x00" * 300, b"{}", b'{"seq": "x"}', b"\xff" * 10, None])
def test_with_both_copies_lost_the_model_runs_and_older_releases_are_still_refused(
    tmp_path: Path, left: bytes | None
) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    device.follow(wanting(NEW, 7, release=5))
    seq = device.installer.journal.record.seq
    for path in (tmp_path / "journal", backup_path(tmp_path / "journal")):
        path.unlink()
        if left is not None:
            path.write_bytes(left)
    device.boot()
    record = device.installer.journal.record
    assert device.engine.answers == NEW
    assert record.release_floor == 5
    assert record.seq > seq, "the server would take what comes now for old news"
    device.fetched.clear()
    device.follow(wanting(NEW, 7, release=5))
    assert (device.step, device.fetched) == ("committed", [])


def test_a_lost_journal_does_not_lose_what_was_fetched(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    device.installer.accept(wanting(NEW, 2))
    device.installer.advance(0, 2000)
    for n in range(3):
        piece = NEW[n * CHUNK_PLAIN_BYTES : (n + 1) * CHUNK_PLAIN_BYTES]
        assert device.installer.store_chunks([(n, piece)], 0)
    for path in (tmp_path / "journal", backup_path(tmp_path / "journal")):
        path.write_bytes(b"garbage")
    device.boot()
    device.fetched.clear()
    device.follow(wanting(NEW, 2))
    assert device.engine.answers == NEW
    assert [n for _, n in device.fetched] == [3, 4]


def test_a_journal_of_an_older_agent_is_read(tmp_path: Path) -> None:
    record = Record(identity="me", seq=9, want=4)
    (tmp_path / "journal").write_bytes(msgspec.json.encode(record))
    assert read_record(tmp_path / "journal") == record


def test_the_newer_copy_counts(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(encode_record(Record(seq=3)))
    (tmp_path / "journal.bak").write_bytes(encode_record(Record(seq=4)))
    stored = read_record(tmp_path / "journal")
    assert stored is not None and stored.seq == 4


def test_a_second_copy_that_cannot_be_written_does_not_undo_a_transition(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", RefusingDisk(after=1))
    assert journal.write(step="fetching").step == "fetching"
    with pytest.raises(OSError, match="No space left"):
        journal.write(step="verified")
    assert journal.record.step == "fetching"


def test_a_record_survives_its_file() -> None:
    record = Record(identity="me", seq=3, reason="line\nbreak")
    assert decode_record(encode_record(record)) == record


# --- the clock --------------------------------------------------------------------------------------------


@pytest.mark.fault(
    "clock at 1970", "the newest signed time counts: an expired want is refused, a new one is not"
)
def test_a_board_without_a_clock_goes_by_the_newest_signed_time() -> None:
    side, key = ReleaseSide(), new_device_key()
    now_s = int(datetime.now(UTC).timestamp())
    release = Release(b"model")

    def check(days: float, counter: int, floor_s: int) -> int:
        issued = int((datetime.now(UTC) + timedelta(days=days - 1)).timestamp())
        payload = side.want("pi-4", key.public_key(), release, counter=counter, days=days, issued_at=issued)
        accepted = verify_want(
            payload,
            root=side.root,
            device="pi-4",
            profile="x86-pc",
            floors=Floors(time_s=floor_s),
            clock_s=0,
        )
        return max(floor_s, accepted.want.issued_at)

    floor_s = check(30, 1, 0)  # in 1970 nothing has expired, and its date is remembered
    assert floor_s > now_s
    with pytest.raises(WantError, match="the want expired"):
        check(20, 2, floor_s)
    assert check(40, 3, floor_s) > floor_s
