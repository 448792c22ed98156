"""Who the devices are and which artifacts there are, as of a moment: what questions select and group by."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from edgepress_server.errors import InvalidInputError
from edgepress_server.rollout.query import InGroup, Subject, parse
from edgepress_server.store.fleet_pages import DeviceRow
from edgepress_server.store.series.keys import LABELS_OF_A_DEVICE

KEPT_S: Final = 2.0  # changes of labels show within this time
DIGEST_CHARS_MIN: Final = 8


@dataclass(frozen=True)
class Fleet:
    """All devices by name, revoked ones too."""

    devices: Sequence[Subject]
    models: Mapping[str, str]  # digest of an artifact -> its model
    in_group: InGroup
    live_labels: frozenset[str] = frozenset()  # "key=value" whose devices the store adds up as they report
    _found: dict[str, Sequence[Subject]] = field(default_factory=dict)  # by target query

    def where(self, text: str) -> Sequence[Subject]:
        """Those that fit; all for "". Raises QueryError."""
        if not text.strip():
            return self.devices
        if text not in self._found:
            query = parse(text)
            self._found[text] = [device for device in self.devices if query.matches(device, self.in_group)]
        return self._found[text]

    def artifact(self, text: str) -> str:
        """The digest that begins so. Raises InvalidInputError."""
        if text in self.models:
            return text
        found = [digest for digest in self.models if digest.startswith(text)]
        if len(text) < DIGEST_CHARS_MIN or len(found) != 1:
            why = "is the beginning of several" if len(found) > 1 else "is none that this server knows"
            raise InvalidInputError(
                "query_artifact",
                f"artifact: {text[:70]!r} {why}. Give a digest, or at least its first {DIGEST_CHARS_MIN} "
                "characters; `edgepress artifact list` shows them.",
            )
        return found[0]

    def artifacts_of(self, model: str) -> list[str]:
        """Raises InvalidInputError for a model without any."""
        found = [digest for digest, name in self.models.items() if name == model]
        if not found:
            raise InvalidInputError(
                "query_model",
                f"model: there is no artifact of {model[:80]!r}. `edgepress model list` shows models.",
            )
        return found

    def is_live(self, key: str) -> bool:
        """Whether the store adds up every device that has this label, under whatever value."""
        return all(
            f"{key}={device.labels[key]}" in self.live_labels
            and sorted(device.labels).index(key) < LABELS_OF_A_DEVICE
            for device in self.devices
            if key in device.labels
        )

    def has_all(self, key: str) -> bool:
        """Whether every device has this label."""
        return all(key in device.labels for device in self.devices)

    @cached_property
    def labels(self) -> list[tuple[str, int]]:
        """Keys of labels and how many devices have them, commonest first."""
        counted = Counter(key for device in self.devices for key in device.labels)
        return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))


def subject(row: DeviceRow, models: Mapping[str, str]) -> Subject:
    """A device as the target language sees it."""
    return Subject(
        name=row.name,
        profile=row.profile,
        status=row.status,
        running=row.running,
        model=models.get(row.running or ""),
        release=row.release,
        agent=row.agent_version,
        board=row.board,
        system=row.system,
        machine=row.machine,
        labels=row.labels,
    )


class Directory:
    """A fleet that is read again when it is older than KEPT_S."""

    def __init__(self, read: Callable[[], Fleet], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._fleet: Fleet | None = None
        self._until = 0.0

    def fleet(self) -> Fleet:
        with self._lock:
            now = self._clock()
            if self._fleet is None or now >= self._until:
                self._fleet = self._read()
                self._until = self._clock() + KEPT_S
            return self._fleet
