"""Power cuts that drop, cut short or reorder whatever was not synced, at every operation of whole stories."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_device import OLD, OTHER, TWO, Device, FakeShadow, wanting
from unsynced_disk import Recorder

from edgepress_agent.shadow import Tally
from edgepress_devices.protocol import Shadow

IMAGES = 6  # folders tried a cut, at most; every choice where there are no more
SHADOW = Shadow(seconds=60, requests=10, min_agreement_ppm=500_000)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is synced is what the program asked to sync: the medium below is a simulation."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@dataclass(frozen=True)
class Story:
    """``before`` has happened; a boot and ``then`` are what the power is cut in. Done again afterwards, it
    must end with ``ends`` answering, and right after the boot one of ``after_boot`` must answer.
    """

    name: str
    before: Callable[[Device], None]
    then: Callable[[Device], None]
    after_boot: tuple[bytes | None, ...]
    ends: bytes | None
    ends_in: tuple[str, ...] = ("committed",)
    identity: str = "me"


def _runs_old(device: Device) -> None:
    device.follow(wanting(OLD, 1))


def _runs_two_after_old(device: Device) -> None:
    device.follow(wanting(OLD, 1))
    device.follow(wanting(TWO, 2))


def _breaks_two(device: Device) -> None:
    _runs_two_after_old(device)
    slot = device.installer.slots.current()
    assert slot is not None
    device.installer.slots.artifact(slot).write_bytes(b"damaged")


def _shadowed(device: Device) -> None:
    device.engine.shadow = FakeShadow([Tally(3, 3), Tally(7, 6), Tally(10, 9, over=True)])
    device.follow(wanting(TWO, 2, shadow=SHADOW))


STORIES = [
    Story("a first installation", lambda _d: None, lambda d: d.follow(wanting(TWO, 1)), (None, TWO), TWO),
    Story("a new model", _runs_old, lambda d: d.follow(wanting(TWO, 2)), (OLD, TWO), TWO),
    Story("a delta", _runs_old, lambda d: d.follow(wanting(TWO, 2, base=OLD)), (OLD, TWO), TWO),
    Story("a shadow trial", _runs_old, _shadowed, (OLD, TWO), TWO),
    Story("a rollback", _runs_two_after_old, lambda d: d.follow(wanting(OLD, 3)), (OLD, TWO), OLD),
    Story("wanting nothing", _runs_old, lambda d: d.follow(wanting(None, 2)), (OLD, None), None, ("idle",)),
    Story(
        "another identity",
        _runs_two_after_old,
        lambda d: d.follow(wanting(OTHER, 1)),
        (None, OTHER),
        OTHER,
        identity="somebody else",
    ),
    Story("a damaged file", _breaks_two, lambda d: d.follow(wanting(TWO, 2)), (OLD, TWO), TWO),
]


@pytest.mark.fault(
    "power cut", "unsynced writes dropped, cut short, reordered, at every operation of a story"
)
@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_whatever_was_not_synced_the_device_ends_running_a_verified_model_and_fetches_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: Story
) -> None:
    device = Device(tmp_path / "device")
    story.before(device)
    recorder = Recorder(device.folder)
    stored: list[tuple[int, tuple[str, int]]] = []  # after how many operations a chunk was said to be stored
    device.stored = lambda name, n: stored.append((len(recorder.operations), (name, n)))
    with recorder.recording(monkeypatch):
        device.boot(identity=story.identity)
        story.then(device)
    assert device.engine.answers == story.ends

    rng = random.Random(story.name)
    cuts = images = 0
    for at in range(len(recorder.operations) + 1):
        cuts += 1
        on_disk = {chunk for after, chunk in stored if after <= at}
        for folder in recorder.images(at, tmp_path / "image", rng, IMAGES):
            images += 1
            said = f"{story.name}: cut after operation {at}, image {images}"
            again = Device(folder, identity=story.identity)
            assert again.engine.answers in story.after_boot, f"{said}: the wrong model answers, or none"
            story.then(again)
            assert again.engine.answers == story.ends, f"{said}: {again.step} {again.reason}"
            assert again.step in story.ends_in, f"{said}: {again.step} {again.reason}"
            assert not on_disk & set(again.fetched), f"{said}: what was on the disk was fetched again"
    print(f"{story.name}: {cuts} cut points, {images} images")
    assert images > cuts, "nothing was ever unsynced: the simulation does not see the writes"
