"""Installations that are cut off at every change to the disk, and what may go wrong on the way."""

import os
from pathlib import Path

import pytest
from power_cut import DyingDisk, FullDisk, PowerCut
from small_device import NEW, OLD, OTHER, WORLD, Device, digest, wanting

from edgepress_agent.durable import Disk
from edgepress_agent.errors import NotNowError, StoppedError, WantError
from edgepress_agent.installer import Installer
from edgepress_agent.job import LOAD_STARTS_MAX, Wait
from edgepress_agent.journal import Journal
from edgepress_devices.protocol import CHUNK_PLAIN_BYTES


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of installations: a cut here is the end of a process, which needs no fsync to survive."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_model_is_installed_and_runs(device: Device) -> None:
    device.follow(wanting(NEW, 1))
    assert device.engine.answers == NEW
    assert device.step == "committed"
    assert device.fetched == [(digest(NEW), n) for n in range(5)]


def test_a_restart_runs_it_without_a_want_or_a_trial(device: Device) -> None:
    device.follow(wanting(NEW, 1))
    device.boot()
    assert device.engine.answers == NEW
    assert device.engine.trials == 1


def _changes_of_an_installation(folder: Path) -> int:
    """How many half-changes to the disk it takes to go from OLD to NEW."""
    device = Device(folder)
    device.follow(wanting(OLD, 1))
    disk = DyingDisk()
    device.boot(disk)
    device.follow(wanting(NEW, 2))
    return disk.count


def test_cut_off_at_any_change_it_ends_running_the_new_model_and_fetches_nothing_twice(
    tmp_path: Path,
) -> None:
    changes = _changes_of_an_installation(tmp_path / "counted")
    assert changes > 40
    for at in range(changes):
        folder = tmp_path / str(at)
        device = Device(folder)
        device.follow(wanting(OLD, 1))
        device.fetched.clear()
        with pytest.raises(PowerCut):
            device.boot(DyingDisk(at))
            device.follow(wanting(NEW, 2))
        device.boot()
        assert device.engine.answers in (OLD, NEW), f"cut at {at}: nothing answers after the restart"
        device.follow(wanting(NEW, 2))
        assert device.engine.answers == NEW, f"cut at {at}: {device.step} {device.reason}"
        assert device.step == "committed"
        assert len(device.fetched) == len(set(device.fetched)), f"cut at {at}: a chunk was fetched twice"


def test_cut_off_at_any_two_changes_it_still_ends_right(tmp_path: Path) -> None:
    changes = _changes_of_an_installation(tmp_path / "counted")
    for first in range(1, changes, 5):
        for second in range(1, 24, 3):
            device = Device(tmp_path / f"{first}-{second}")
            device.follow(wanting(OLD, 1))
            for at in (first, second):
                try:
                    device.boot(DyingDisk(at))
                    device.follow(wanting(NEW, 2))
                except PowerCut:
                    pass
            device.boot()
            assert device.engine.answers in (OLD, NEW)
            device.follow(wanting(NEW, 2))
            # Two cuts inside the trial look like a model that kills the agent: then the old one stays.
            rejected = device.step == "rejected" and "died" in device.reason
            assert device.engine.answers == (OLD if rejected else NEW)


def test_a_model_that_does_not_pass_is_rejected_and_the_old_one_keeps_answering(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.engine.refused.add(NEW)
    device.follow(wanting(NEW, 2))
    assert (device.step, device.reason) == ("rejected", "onnxruntime cannot load the model")
    assert device.engine.answers == OLD
    device.boot()
    device.follow(wanting(NEW, 2))
    assert device.engine.trials == 2, "a rejected model was tried again for the same want"
    assert device.engine.answers == OLD


def test_a_newer_want_for_a_rejected_model_tries_it_again(device: Device) -> None:
    device.engine.refused.add(NEW)
    device.follow(wanting(NEW, 1))
    device.engine.refused.clear()
    device.follow(wanting(NEW, 2))
    assert device.engine.answers == NEW


def test_a_model_that_kills_the_agent_twice_in_its_trial_is_rejected(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.engine.deadly.add(NEW)
    for _ in range(2):
        with pytest.raises(PowerCut):
            device.follow(wanting(NEW, 2))
        device.boot()
        assert device.engine.answers == OLD
    device.follow(wanting(NEW, 2))
    assert device.step == "rejected"
    assert "died 2 times" in device.reason
    assert device.engine.answers == OLD


def test_stopping_in_a_trial_is_no_death(device: Device) -> None:
    def stop() -> None:
        raise StoppedError("stop")

    device.follow(wanting(OLD, 1))
    for _ in range(5):
        device.engine.in_trial = stop
        with pytest.raises(StoppedError):
            device.follow(wanting(NEW, 2))
        device.boot()
    device.engine.in_trial = lambda: None
    device.follow(wanting(NEW, 2))
    assert device.engine.answers == NEW


def test_closing_the_journal_during_a_trial_forgives_it_and_ends_all_writing(device: Device) -> None:
    device.engine.in_trial = device.installer.journal.close
    with pytest.raises(StoppedError):
        device.follow(wanting(NEW, 1))
    device.boot()
    assert device.installer.journal.record.trial_starts == 0


def test_a_wrong_digest_is_rejected(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORLD, digest(NEW), NEW[:-1] + b"x")
    device.follow(wanting(NEW, 1))
    assert device.step == "rejected"
    assert "does not have the digest" in device.reason
    assert device.engine.answers is None


@pytest.mark.parametrize("between", [OTHER, None])
def test_a_download_that_another_want_broke_off_goes_on_where_it_was(
    device: Device, between: bytes | None
) -> None:
    device.installer.accept(wanting(NEW, 1))
    device.installer.advance(0, 2000)
    device.installer.store_chunks([(0, NEW[:CHUNK_PLAIN_BYTES])], 0)
    device.follow(wanting(between, 2))
    assert device.engine.answers == between
    device.fetched.clear()
    device.follow(wanting(NEW, 3))
    assert device.engine.answers == NEW
    assert device.fetched == [(digest(NEW), n) for n in (1, 2, 3, 4)]
    assert list((device.folder / "fetch").iterdir()) == []


def test_of_broken_off_downloads_only_the_newest_is_kept_and_none_where_its_room_is_needed(
    device: Device,
) -> None:
    for counter, data in enumerate((OTHER, OLD, NEW), 1):
        device.installer.accept(wanting(data, counter))
        device.installer.advance(0, 2000)
        os.utime(device.folder / "fetch" / digest(data) / "bitmap", (counter, counter))
    assert {path.name for path in (device.folder / "fetch").iterdir()} == {digest(OLD), digest(NEW)}

    def room() -> None:
        if (device.folder / "fetch" / digest(NEW)).exists():
            raise NotNowError("the disk is full")

    device.room = room
    device.follow(wanting(OTHER, 4))
    assert device.engine.answers == OTHER


def test_going_back_to_the_last_good_model_needs_no_fetching(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.follow(wanting(NEW, 2))
    device.fetched.clear()
    device.follow(wanting(OLD, 3))
    assert device.engine.answers == OLD
    assert device.fetched == []


def test_wanting_nothing_stops_the_model_and_wanting_it_again_needs_no_fetching(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.follow(wanting(None, 2))
    assert device.engine.answers is None
    device.boot()
    assert device.engine.answers is None
    device.fetched.clear()
    device.follow(wanting(OLD, 3))
    assert device.engine.answers == OLD
    assert device.fetched == []


def test_without_room_it_fails_says_so_and_goes_on_when_there_is_room(device: Device) -> None:
    def none() -> None:
        raise NotNowError("1000 bytes of disk are needed")

    device.room = none
    device.follow(wanting(NEW, 1))
    assert (device.step, device.reason) == ("failed", "1000 bytes of disk are needed")
    device.room = lambda: None
    device.work()
    assert device.engine.answers is None, "it was tried again at once"
    device.now_s = 30.0
    device.work()
    assert device.engine.answers == NEW


def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(OLD, 1))
    disk = FullDisk()
    device.boot(disk)
    device.installer.accept(wanting(NEW, 2))
    device.installer.advance(0, 2000)
    disk.full = True
    assert not device.installer.store_chunks([(0, NEW[:CHUNK_PLAIN_BYTES])], 0)
    assert device.installer.trouble == "the artifact cannot be written: No space left on device"
    assert isinstance(device.installer.advance(1.0, 2000), Wait)
    assert device.engine.answers == OLD
    disk.full = False
    device.now_s = 31.0
    device.work()
    assert device.engine.answers == NEW
    assert device.installer.trouble is None


def test_a_step_that_the_disk_refuses_is_not_tried_over_and_over(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.follow(wanting(OLD, 1))
    tries = []

    def refuse(_disk: Disk, path: Path) -> None:
        tries.append(path)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "remove", refuse)
        device.follow(wanting(None, 2))
    assert (device.step, len(tries)) == ("failed", 1)
    device.now_s = 31.0
    device.work()
    assert device.engine.answers is None


def test_a_damaged_file_of_the_running_model_falls_back_and_is_fetched_again(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.follow(wanting(NEW, 2))
    _flip_a_bit(device)
    device.boot()
    assert device.engine.answers == OLD
    assert device.step == "failed"
    assert "damaged on this disk" in device.reason
    device.follow(wanting(NEW, 2))
    assert device.engine.answers == NEW


def test_the_only_model_is_fetched_again_when_its_file_is_damaged(device: Device) -> None:
    device.follow(wanting(NEW, 1))
    _flip_a_bit(device)
    device.boot()
    assert device.engine.answers is None
    device.follow(wanting(NEW, 1))
    assert device.engine.answers == NEW


def test_a_committed_model_that_no_longer_loads_is_rolled_back_for_good(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.follow(wanting(NEW, 2))
    device.engine.refused.add(NEW)
    device.boot()
    assert device.engine.answers == OLD
    assert device.step == "rolled_back"
    device.follow(wanting(NEW, 2))
    assert device.engine.answers == OLD


def test_a_committed_model_that_kills_the_agent_at_every_start_is_rolled_back(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.follow(wanting(NEW, 2))
    device.engine.deadly.add(NEW)
    for _ in range(LOAD_STARTS_MAX):
        with pytest.raises(PowerCut):
            device.boot()
    device.boot()
    assert device.engine.answers == OLD
    assert device.step == "rolled_back"


def test_cut_off_at_any_change_of_falling_back_the_last_good_model_answers(tmp_path: Path) -> None:
    def broken(folder: Path) -> Device:
        device = Device(folder)
        device.follow(wanting(OLD, 1))
        device.follow(wanting(NEW, 2))
        device.engine.refused.add(NEW)
        return device

    counting = DyingDisk()
    broken(tmp_path / "counted").boot(counting)
    for at in range(counting.count):
        device = broken(tmp_path / str(at))
        with pytest.raises(PowerCut):
            device.boot(DyingDisk(at))
        device.boot()
        assert device.engine.answers == OLD, f"cut at {at}"
        device.engine.refused.clear()  # even if it would load now: it is not trusted any more
        device.follow(wanting(NEW, 2))
        assert device.engine.answers == OLD, f"cut at {at}"
        assert device.step == "rolled_back", f"cut at {at}"


def test_an_untried_model_is_never_fallen_back_to(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.engine.deadly.add(NEW)
    with pytest.raises(PowerCut):
        device.follow(wanting(NEW, 2))
    device.engine.refused.add(OLD)
    device.boot()
    assert device.engine.answers is None
    assert device.step == "failed"


def test_another_identity_forgets_models_and_counters(device: Device) -> None:
    device.follow(wanting(NEW, 7))
    device.engine.answers = None
    installer = Installer(
        device.folder,
        disk=Disk(),
        journal=Journal(device.folder / "journal", Disk()),
        engine=device.engine,
        check_room=lambda *_: None,
    )
    seq = installer.journal.record.seq
    installer.start("somebody else")
    assert device.engine.answers is None
    assert installer.journal.record.want == 0
    assert installer.journal.record.seq > seq


def test_two_different_wants_with_one_counter_are_refused(device: Device) -> None:
    device.follow(wanting(NEW, 1))
    device.installer.check_same(wanting(NEW, 1))
    with pytest.raises(WantError, match="counter 1"):
        device.installer.check_same(wanting(OTHER, 1))


def test_the_release_floor_rises_when_a_model_is_committed_and_not_before(device: Device) -> None:
    device.engine.refused.add(NEW)
    device.follow(wanting(NEW, 1, release=9))
    assert device.installer.journal.record.release_floor == 0, "an abort could not give the old release back"
    device.follow(wanting(OLD, 2, release=5))
    assert device.installer.journal.record.release_floor == 5


def test_an_unfounded_want_is_answered_with_a_rejection_and_what_runs_stays(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    error = WantError("release counter 1 is below 2", authentic=True, counter=2)
    device.installer.refuse(error)
    seq = device.installer.journal.record.seq
    device.installer.refuse(error)  # the retained message again
    assert device.installer.journal.record.seq == seq
    assert (device.step, device.reason) == ("rejected", "release counter 1 is below 2")
    assert device.installer.journal.record.want == 2
    assert isinstance(device.installer.advance(0, 2000), Wait)
    assert device.engine.answers == OLD


def test_every_transition_has_a_larger_number(device: Device) -> None:
    seen = []
    device.installer._changed = lambda: seen.append(device.installer.journal.record.seq)
    device.follow(wanting(NEW, 1))
    assert seen == sorted(set(seen))
    assert len(seen) >= 6


def _flip_a_bit(device: Device) -> None:
    slot = device.installer.slots.current()
    assert slot is not None
    path = device.installer.slots.artifact(slot)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
