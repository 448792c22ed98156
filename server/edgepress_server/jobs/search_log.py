"""A search's log (edgepress_compression.search.log.TrialLog) in the server's store, for one seat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edgepress_compression.errors import CompressionCancelledError
from edgepress_compression.search.trial import Trial
from edgepress_server.errors import NotFoundError
from edgepress_server.store import Store
from edgepress_server.store.search_trials import Propose
from edgepress_server.store.searches import Seat


class SearchYieldedError(CompressionCancelledError):
    """A compression that a person asked for waits for this worker: the search goes on behind it."""


class StoreTrialLog:
    """What is written survives a power cut; artifacts are blobs before a row names them."""

    def __init__(self, store: Store, seat: Seat) -> None:
        self._store = store
        self._seat = seat

    def begin(self, identity: Mapping[str, Any]) -> None:
        self._store.search_trials.bind(self._seat, identity)

    def trials(self) -> list[Trial]:
        return [row.trial for row in self._store.search_trials.all(self._seat.search)]

    def claim(self, propose: Propose) -> Trial | None:
        """Raises SearchYieldedError between two trials when a compression waits, SeatLostError."""
        if self._store.jobs.waits():
            raise SearchYieldedError()
        return self._store.search_trials.claim(self._seat, propose)

    def renew(self, number: int) -> bool:
        return self._store.search_trials.renew(self._seat, number)

    def finish(self, trial: Trial, artifact: bytes | None = None) -> None:
        digest = None if artifact is None else self._store.blobs.put(artifact)
        self._store.search_trials.finish(self._seat, msgspec.structs.replace(trial, artifact=digest))

    def artifact(self, digest: str) -> bytes | None:
        try:
            return self._store.blobs.read(digest)
        except NotFoundError:
            return None

    def tell_tested(self, trial: Trial) -> None:
        self._store.search_trials.replace(self._seat, trial)
