"""The baselines in artifacts' headers, by digest, read when first asked for and remembered."""

from __future__ import annotations

import logging
import threading
from typing import Final

from edgepress_compression.artifact.baseline import Baseline, read_baseline
from edgepress_compression.artifact.read import read_file_header
from edgepress_compression.errors import ArtifactError
from edgepress_server.errors import NotFoundError
from edgepress_server.store.blobs import Blobs
from edgepress_server.store.database import Database

log = logging.getLogger(__name__)

REMEMBERED: Final = 512


class Baselines:
    """Safe to share between threads."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs
        self._lock = threading.Lock()
        self._known: dict[str, Baseline | None] = {}

    def of(self, digest: str) -> Baseline | None:
        """None: there is no such artifact, it has none, or none that this edgepress can read."""
        with self._lock:
            if digest in self._known:
                return self._known[digest]
        if self._database.row("SELECT 1 FROM artifacts WHERE digest = ?", (digest,)) is None:
            return None  # not remembered: it may be made later, and anybody can name one
        baseline = self._read(digest)
        with self._lock:
            while len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[digest] = baseline
        return baseline

    def _read(self, digest: str) -> Baseline | None:
        try:
            with self._blobs.path(digest).open("rb") as file:
                return read_baseline(read_file_header(file).baseline)
        except (ArtifactError, NotFoundError, OSError) as error:
            log.warning("artifact %s has no baseline that can be read: %s", digest[:12], error)
            return None
