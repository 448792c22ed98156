"""Deltas on the server: made for what devices run, checked, signed, offered to whom they fit."""

import hashlib
import json

import numpy as np
import pytest
from fleet_story import Fleet
from small_artifacts import model, write

from edgepress_compression.artifact.read import decode
from edgepress_devices.protocol import DeltaStatement
from edgepress_server.jobs.delta_child import make_delta
from edgepress_server.jobs.deltas import sign_deltas

RNG = np.random.default_rng(3)
VALUES = np.sort(RNG.normal(0, 0.1, 32)).astype(np.float32)
RANKS = np.clip(np.rint(RNG.normal(16, 4, (200, 300))), 0, 31).astype(np.int32)
BASE = model({"w": VALUES[RANKS], "b": RNG.normal(size=100).astype(np.float32)})
CHANGED = model(
    {
        "w": VALUES[np.clip(RANKS + (RNG.random(RANKS.shape) < 0.02), 0, 31)],
        "b": RNG.normal(size=100).astype(np.float32),
    }
)
OTHER = model({"v": RNG.normal(size=(200, 300)).astype(np.float32), "c": np.ones(30, np.float32)})


@pytest.fixture
def fleet(store, clock):
    return Fleet(store, clock)


@pytest.fixture
def add(store, fleet):
    def artifact(onnx_model, profile="x86-pc"):
        data = write(onnx_model)
        digest = store.blobs.put(data)
        store.artifacts.add(
            digest,
            model="digits",
            profile=profile,
            recipe="none",
            size_bytes=len(data),
            report={},
            job=None,
        )
        return digest

    return artifact


@pytest.fixture
def running(fleet, add):
    """Two devices that run an artifact: its digest."""
    base = add(BASE)
    devices = fleet.enrol("pi-1", "pi-2")
    fleet.roll_out(fleet.release(base))
    fleet.settle()
    devices[0].commit()
    fleet.settle()
    devices[1].commit()
    fleet.settle()
    return base


def test_a_delta_is_made_signed_and_offered(store, fleet, add, running):
    full = add(CHANGED)
    release = fleet.release(full)
    assert store.deltas.want_for(release.id) == 1
    assert store.deltas.want_for(release.id) == 0  # asked for once
    assert store.deltas.pending(release.id) == 1
    make_delta(store, running, full)
    delta = store.deltas.get(running, full)
    assert delta.state == "ready" and delta.bytes < store.artifacts.get(full).bytes / 5
    assert store.deltas.offer(release.id, full, running) is None  # the release key has not said so yet
    assert sign_deltas(store, fleet.keys) == 1
    offer = store.deltas.offer(release.id, full, running)
    made = store.blobs.read(offer.digest)
    assert decode(made, base=BASE) == CHANGED
    signed = json.loads(offer.statement)["signed"]
    assert signed["version"] == release.counter
    said = DeltaStatement(**signed["targets"][offer.digest]["custom"])
    assert (said.base, said.full) == (running, full)
    assert said.onnx_sha256 == hashlib.sha256(CHANGED).hexdigest()
    assert sign_deltas(store, fleet.keys) == 0


def test_a_delta_that_saves_little_is_not_offered(store, fleet, add, running):
    full = add(OTHER)
    release = fleet.release(full)
    store.deltas.want_for(release.id)
    make_delta(store, running, full)
    delta = store.deltas.get(running, full)
    assert delta.state == "useless" and "bytes" in delta.message
    assert sign_deltas(store, fleet.keys) == 0
    assert store.deltas.pending(release.id) == 0


def test_a_damaged_artifact_gives_no_delta_and_stops_nothing(store, fleet, add, running):
    full = add(CHANGED)
    release = fleet.release(full)
    store.deltas.want_for(release.id)
    path = store.blobs.path(running)
    path.write_bytes(path.read_bytes()[:-1])
    make_delta(store, running, full)
    assert store.deltas.get(running, full).state == "failed"
    assert store.deltas.pending(release.id) == 0


def test_a_process_that_dies_is_tried_again_and_then_no_more(store, fleet, add, running):
    full = add(CHANGED)
    store.deltas.want_for(fleet.release(full).id)
    for _ in range(3):
        assert store.deltas.next_wanted().full == full
        store.deltas.attempted(running, full, "Its process was killed.")
    assert store.deltas.next_wanted() is None
    assert store.deltas.get(running, full).state == "failed"
