"""Where questions about telemetry are asked: one for each web process. Callable without HTTP."""

from __future__ import annotations

from edgepress_server.store import Store
from edgepress_server.telemetry_query.answers import Answers
from edgepress_server.telemetry_query.device_list import Lists
from edgepress_server.telemetry_query.directory import Directory, Fleet, subject
from edgepress_server.telemetry_query.engine import Engine
from edgepress_server.telemetry_query.refresh import Refresh
from edgepress_server.telemetry_query.source import Source


class TelemetryDesk:
    """Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.source: Source = store.series_read
        self.directory = Directory(lambda: read_fleet(store))
        self.engine = Engine(self.source, self.directory, store.now_ms)
        self.answers = Answers(self.engine)
        self.lists = Lists(store)
        self.overview = Refresh(store, self.source)

    def close(self) -> None:
        """End what runs in the background."""
        self.overview.close()
        self.lists.close()


def read_fleet(store: Store) -> Fleet:
    """The fleet as it is now."""
    with store.database.snapshot():
        rows = store.fleet_pages.devices()
        models = {digest: row.model for digest, row in store.fleet_pages.artifacts().items()}
        return Fleet(
            [subject(row, models) for row in rows],
            models,
            store.groups.membership(),
            frozenset(store.series_read.labels()),
        )
