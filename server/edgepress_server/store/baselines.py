"""The baselines in artifacts' headers, by digest, read when first asked for and remembered."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Final

from edgepress_compression.artifact.baseline import Baseline, read_baseline
from edgepress_compression.artifact.read import read_file_header
from edgepress_compression.errors import ArtifactError
from edgepress_server.errors import NotFoundError
from edgepress_server.store.blobs import Blobs
from edgepress_server.store.database import Database

log = logging.getLogger(__name__)

REMEMBERED: Final = 256


@dataclass(frozen=True)
class KnownBaseline:
    baseline: Baseline
    labels: tuple[str, ...]  # names of the classes, where the artifact says them; else empty


class Baselines:
    """Safe to share between threads."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs
        self._lock = threading.Lock()
        self._known: dict[str, KnownBaseline | None] = {}

    def of(self, digest: str) -> Baseline | None:
        """None: there is no such artifact, it has none, or none that this edgepress can read."""
        known = self.known(digest)
        return None if known is None else known.baseline

    def known(self, digest: str) -> KnownBaseline | None:
        """As `of`, with what the artifact says of its classes."""
        with self._lock:
            if digest in self._known:
                return self._known[digest]
        if self._database.row("SELECT 1 FROM artifacts WHERE digest = ?", (digest,)) is None:
            return None  # not remembered: it may be made later, and anybody can name one
        found = self._read(digest)
        with self._lock:
            while len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[digest] = found
        return found

    def _read(self, digest: str) -> KnownBaseline | None:
        try:
            with self._blobs.path(digest).open("rb") as file:
                header = read_file_header(file)
            baseline = read_baseline(header.baseline)
        except (ArtifactError, NotFoundError, OSError) as error:
            log.warning("artifact %s has no baseline that can be read: %s", digest[:12], error)
            return None
        if baseline is None:
            return None
        labels = header.metadata.get("labels")
        names = tuple(str(label)[:100] for label in labels) if isinstance(labels, list) else ()
        classes = 0 if baseline.answer is None else len(baseline.answer.classes)
        return KnownBaseline(baseline, names if len(names) == classes else ())
