"""Deltas on the device: when one is fetched, what is checked, and what happens where it cannot be used."""

import os
from pathlib import Path

import numpy as np
import pytest
from power_cut import DyingDisk, PowerCut
from release_side import sha256
from small_device import LATER, NEW, OLD, OTHER, Device, delta_of, digest, wanting
from small_models import artifact

from edgepress_agent.engine import Engine
from edgepress_agent.errors import ModelRefusedError, NotNowError
from edgepress_agent.runtime import Runtime
from edgepress_agent.slots import SlotInfo, decoded_path
from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.rebase import write_delta
from edgepress_devices.protocol import CHUNK_PLAIN_BYTES, Limits


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.follow(wanting(OLD, 1))
    made.fetched.clear()
    return made


def test_where_the_base_runs_only_the_delta_is_fetched(device: Device) -> None:
    device.follow(wanting(NEW, 2, base=OLD))
    assert device.engine.answers == NEW
    assert device.step == "committed"
    assert {name for name, _ in device.fetched} == {digest(delta_of(OLD, NEW))}
    assert device.installer.running is not None
    assert device.installer.running.digest == digest(NEW), "rollouts speak of the full artifact"


def test_a_model_from_a_delta_runs_again_after_a_restart(device: Device) -> None:
    device.follow(wanting(NEW, 2, base=OLD))
    device.boot()
    assert device.engine.answers == NEW


def test_the_next_delta_builds_on_a_model_that_came_from_one(device: Device) -> None:
    device.follow(wanting(NEW, 2, base=OLD))
    device.fetched.clear()
    device.follow(wanting(LATER, 3, base=NEW))
    assert device.engine.answers == LATER
    assert {name for name, _ in device.fetched} == {digest(delta_of(NEW, LATER))}
    device.boot()
    assert device.engine.answers == LATER


def test_the_base_may_be_the_last_good_model_whose_slot_is_overwritten(device: Device) -> None:
    device.follow(wanting(OTHER, 2))
    device.follow(wanting(NEW, 3, base=OLD))
    assert device.engine.answers == NEW
    device.boot()
    assert device.engine.answers == NEW


def test_without_the_base_the_whole_artifact_is_fetched(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(NEW, 1, base=OLD))
    assert device.engine.answers == NEW
    assert {name for name, _ in device.fetched} == {digest(NEW)}


def test_an_untried_model_is_no_base(device: Device) -> None:
    device.engine.deadly.add(NEW)
    with pytest.raises(PowerCut):
        device.follow(wanting(NEW, 2))
    device.boot()
    device.installer.accept(wanting(LATER, 3, base=NEW))
    assert device.installer.source is not None and not device.installer.source.is_delta


def test_without_the_base_it_is_rejected_where_the_whole_artifact_must_not_be_fetched(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follow(wanting(NEW, 1, base=OLD, full=False))
    assert device.step == "rejected"
    assert f"the model {digest(OLD)[:12]} that it builds on is not here" in device.reason
    assert device.fetched == []


def test_a_delta_that_cannot_be_applied_is_followed_by_the_whole_artifact_and_not_tried_again(
    device: Device,
) -> None:
    device.engine.unusable_deltas = True
    device.follow(wanting(NEW, 2, base=OLD))
    assert device.engine.answers == NEW
    assert [name for name, n in device.fetched if n == 0] == [digest(delta_of(OLD, NEW)), digest(NEW)]


def test_it_is_remembered_across_a_restart_that_a_delta_could_not_be_applied(device: Device) -> None:
    device.engine.unusable_deltas = True
    want = wanting(NEW, 2, base=OLD)
    device.stored = lambda name, _n: _stop() if name == digest(NEW) else None
    with pytest.raises(PowerCut):
        device.follow(want)
    device.stored = lambda *_: None
    device.boot()
    device.follow(want)
    assert device.engine.answers == NEW
    assert len(device.fetched) == len(set(device.fetched)), "a chunk was fetched twice"


def test_a_delta_that_cannot_be_applied_is_rejected_where_the_whole_artifact_must_not_be_fetched(
    device: Device,
) -> None:
    device.engine.unusable_deltas = True
    device.follow(wanting(NEW, 2, base=OLD, full=False))
    assert (device.step, device.engine.answers) == ("rejected", OLD)
    assert "the delta cannot be used: it is against another model" in device.reason


@pytest.mark.fault(
    "kill -9", "a delta whose application kills the agent twice is given up for the whole artifact"
)
def test_a_delta_that_kills_the_agent_is_given_up(device: Device) -> None:
    device.engine.in_delta = _stop
    for _ in range(2):
        with pytest.raises(PowerCut):
            device.follow(wanting(NEW, 2, base=OLD))
        device.boot()
        assert device.engine.answers == OLD
    device.follow(wanting(NEW, 2, base=OLD))
    assert device.engine.answers == NEW
    assert (digest(NEW), 0) in device.fetched


def test_no_memory_for_a_delta_now_is_no_fault_of_the_delta(device: Device) -> None:
    def none() -> None:
        raise NotNowError("1000 bytes of memory are needed to apply this delta")

    device.engine.in_delta = none
    for _ in range(4):
        device.follow(wanting(NEW, 2, base=OLD))
        assert device.step == "failed"
        device.now_s += 1000
    device.engine.in_delta = lambda: None
    device.follow(wanting(NEW, 2, base=OLD))
    assert device.engine.answers == NEW
    assert {name for name, _ in device.fetched} == {digest(delta_of(OLD, NEW))}


def test_a_download_that_is_nearly_done_goes_on_though_a_delta_is_offered(device: Device) -> None:
    device.installer.accept(wanting(NEW, 2))
    device.installer.advance(0, 2000)
    for n in range(4):
        piece = NEW[n * CHUNK_PLAIN_BYTES : (n + 1) * CHUNK_PLAIN_BYTES]
        assert device.installer.store_chunks([(n, piece)], 0)
    device.follow(wanting(NEW, 3, base=OLD))
    assert device.engine.answers == NEW
    assert device.fetched == [(digest(NEW), 4)]


@pytest.mark.parametrize("name", ["artifact", "model.onnx"])
def test_either_file_damaged_the_last_good_model_runs_and_the_new_one_is_fetched_again(
    device: Device, name: str
) -> None:
    device.follow(wanting(NEW, 2, base=OLD))
    slot = device.installer.slots.current()
    assert slot is not None
    path = device.installer.slots.path(slot) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    device.boot()
    assert device.engine.answers == OLD
    device.follow(wanting(NEW, 2, base=OLD))
    assert device.engine.answers == NEW


@pytest.mark.fault(
    "kill -9 or power cut", "at every change to the disk of a delta's installation: the new model runs"
)
def test_cut_off_at_any_change_of_a_delta_it_ends_running_the_new_model_and_fetches_nothing_twice(
    tmp_path: Path,
) -> None:
    counted = Device(tmp_path / "counted")
    counted.follow(wanting(OLD, 1))
    disk = DyingDisk()
    counted.boot(disk)
    counted.follow(wanting(NEW, 2, base=OLD))
    assert disk.count > 60
    for at in range(disk.count):
        device = Device(tmp_path / str(at))
        device.follow(wanting(OLD, 1))
        device.fetched.clear()
        with pytest.raises(PowerCut):
            device.boot(DyingDisk(at))
            device.follow(wanting(NEW, 2, base=OLD))
        device.boot()
        assert device.engine.answers in (OLD, NEW), f"cut at {at}: nothing answers after the restart"
        device.follow(wanting(NEW, 2, base=OLD))
        assert (device.engine.answers, device.step) == (NEW, "committed"), f"cut at {at}: {device.reason}"
        assert len(device.fetched) == len(set(device.fetched)), f"cut at {at}: a chunk was fetched twice"
        assert {name for name, _ in device.fetched} == {digest(delta_of(OLD, NEW))}, f"cut at {at}"


def _stop() -> None:
    raise PowerCut


# --- with real artifacts ----------------------------------------------------------------------------------

BASE = artifact(2.0, ballast_bytes=40_000)
FULL = artifact(3.0, ballast_bytes=40_000)


def _slot(folder: Path, data: bytes) -> tuple[Path, SlotInfo]:
    folder.mkdir()
    (folder / "artifact").write_bytes(data)
    return folder / "artifact", SlotInfo(sha256(data), len(data), "digits", "x86-pc", 1)


def _delta_slot(
    folder: Path, base: tuple[Path, SlotInfo], delta: bytes, full: bytes
) -> tuple[Path, SlotInfo]:
    """A slot as the installer makes it of a delta."""
    onnx_model = decode(full)
    info = SlotInfo(
        sha256(full),
        len(delta),
        "digits",
        "x86-pc",
        2,
        delta=sha256(delta),
        onnx_sha256=sha256(onnx_model),
        onnx_bytes=len(onnx_model),
    )
    path, _ = _slot(folder, delta)
    with decoded_path(path).open("wb") as target:
        Engine(Runtime(), 1).apply_delta(path, target, info, *base)
    return path, info


def test_a_real_delta_gives_the_model_of_the_full_artifact_and_passes_its_trial(tmp_path: Path) -> None:
    base = _slot(tmp_path / "a", BASE)
    path, info = _delta_slot(tmp_path / "b", base, write_delta(FULL, BASE), FULL)
    assert decoded_path(path).read_bytes() == decode(FULL)
    model, report = Engine(Runtime(), 1).try_model(path, info, Limits(), lambda: None)
    assert model.infer({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [[3.0] * 4]
    assert report.p95_us is not None
    assert sorted(file.name for file in path.parent.iterdir()) == ["artifact", "model.onnx"]


def test_a_real_delta_on_top_of_a_delta(tmp_path: Path) -> None:
    third = artifact(4.0, ballast_bytes=40_000)
    first = _slot(tmp_path / "a", BASE)
    second = _delta_slot(tmp_path / "b", first, write_delta(FULL, BASE), FULL)
    path, _ = _delta_slot(tmp_path / "c", second, write_delta(third, FULL), third)
    assert decoded_path(path).read_bytes() == decode(third)


@pytest.mark.parametrize(
    ("delta", "says", "words"),
    [
        (write_delta(FULL, artifact(5.0)), FULL, "this is a delta against the model with the SHA-256"),
        (write_delta(FULL, BASE), BASE, "makes another model than its statement says"),
        (FULL, FULL, "the delta is a whole artifact"),
        (write_delta(FULL, BASE)[:-1], FULL, "fetch it again"),
        (b"", FULL, "the artifact cannot be read"),
    ],
)
@pytest.mark.attack("mix-and-match", "a delta against another model, or for another one, is refused")
def test_a_delta_that_does_not_fit_is_refused(tmp_path: Path, delta: bytes, says: bytes, words: str) -> None:
    base = _slot(tmp_path / "a", BASE)
    with pytest.raises(ModelRefusedError, match=words):
        _delta_slot(tmp_path / "b", base, delta, says)
