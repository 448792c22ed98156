"""Searches on a store, with trials made up: no model is compressed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from edgepress_compression.search.trial import Figures, Trial
from edgepress_devices.protocol import Hardware
from edgepress_server.store import Store
from edgepress_server.store.searches import Seat

STEP = {"name": "int8", "options": {"samples": 32}}


def recipe(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Made up.",
        "coding": "auto",
        "passes": [STEP],
        "source": "",
        "needs": "none",
    }


def enrol(store: Store, name: str, profile: str) -> None:
    store.devices.register(name, profile, {}, actor="ada")
    code, _ = store.devices.new_code(name, actor="ada")
    store.devices.enrol(code, "a2V5", Hardware(), "0.1.0")


def join(store: Store) -> Seat:
    seat = store.searches.join("w1")
    assert seat is not None
    return seat


def make_trial(store: Store, seat: Seat, artifact: bytes | None, **figures: Any) -> Trial:
    """One more trial of the search, done, its file kept."""

    def propose(trials: Sequence[Trial]) -> Trial:
        return Trial(number=len(trials), recipe=recipe(f"try-{len(trials)}"), title=f"try {len(trials)}")

    trial = store.search_trials.claim(seat, propose)
    assert trial is not None
    known = Figures(samples=100, split="selection", latency_basis="datasheet", bytes_basis="file", **figures)
    done = msgspec.structs.replace(
        trial, state="done", figures=known, artifact=None if artifact is None else store.blobs.put(artifact)
    )
    store.search_trials.finish(seat, done)
    return done
