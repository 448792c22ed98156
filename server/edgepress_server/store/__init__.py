"""The store: one SQLite file (WAL) and a folder of content-addressed blobs. All SQL lives in this package.

``store.devices.register(...)``: each sub-store is a small class around the one `Database`. Several calls
inside ``with store.transaction():`` commit together or not at all.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from edgepress_server.errors import StoreError
from edgepress_server.store.alerts import Alerts
from edgepress_server.store.annotations import Annotations
from edgepress_server.store.artifact_predictions import ArtifactPredictions
from edgepress_server.store.artifacts import Artifacts
from edgepress_server.store.audit import Audit
from edgepress_server.store.baselines import Baselines
from edgepress_server.store.blobs import Blobs
from edgepress_server.store.broker_contents import BrokerContents
from edgepress_server.store.budgets import Budgets
from edgepress_server.store.calibrations import Calibrations
from edgepress_server.store.codes import Codes
from edgepress_server.store.database import Database, migrate, unix_ms
from edgepress_server.store.datasets import Datasets
from edgepress_server.store.delivery import DeliveryStore
from edgepress_server.store.deltas import Deltas
from edgepress_server.store.device_states import DeviceStates
from edgepress_server.store.device_view import DeviceViews
from edgepress_server.store.devices import Devices
from edgepress_server.store.events import Events
from edgepress_server.store.facts import Facts
from edgepress_server.store.findings import Findings
from edgepress_server.store.fleet_pages import FleetPages
from edgepress_server.store.groups import Groups
from edgepress_server.store.jobs import Jobs
from edgepress_server.store.measured import MeasuredArtifacts
from edgepress_server.store.model_stats import ModelStatsHours
from edgepress_server.store.models import Models
from edgepress_server.store.people import People
from edgepress_server.store.profiles import Profiles
from edgepress_server.store.profiling import Profiling
from edgepress_server.store.profiling_reports import ProfilingReports
from edgepress_server.store.pushes import Pushes
from edgepress_server.store.quarantine import Quarantine
from edgepress_server.store.refits import Refits
from edgepress_server.store.releases import Releases
from edgepress_server.store.renewals import Renewals
from edgepress_server.store.rollout_arms import RolloutArms
from edgepress_server.store.rollout_figures import RolloutFigures
from edgepress_server.store.rollout_moves import RolloutMoves
from edgepress_server.store.rollout_pages import RolloutPages
from edgepress_server.store.rollout_plan import Plans
from edgepress_server.store.rollout_reads import RolloutReads
from edgepress_server.store.rollout_targets import Targets
from edgepress_server.store.rollout_timeline import RolloutTimelines
from edgepress_server.store.rollouts import Rollouts
from edgepress_server.store.running import Running
from edgepress_server.store.sampled_inputs import SampledInputs
from edgepress_server.store.sampling import SamplingPolicies
from edgepress_server.store.search_measurements import SearchMeasurements
from edgepress_server.store.search_trials import SearchTrials
from edgepress_server.store.searches import Searches
from edgepress_server.store.series.read import SeriesRead
from edgepress_server.store.series.texts import Texts
from edgepress_server.store.signing import Signing
from edgepress_server.store.telemetry import Telemetry
from edgepress_server.store.telemetry_read import TelemetryRead
from edgepress_server.store.tokens import Tokens
from edgepress_server.store.wants import Wants

__all__ = ["Database", "Store", "open_store", "unix_ms"]


class Store:
    """Everything the server remembers. Made by `open_store`; safe to share between threads."""

    def __init__(  # noqa: PLR0915 - a line for each part
        self, data_dir: Path, now_ms: Callable[[], int] = unix_ms
    ) -> None:
        self.data_dir = data_dir
        self.database = Database(data_dir / "edgepress.db", now_ms)
        self.blobs = Blobs(data_dir / "blobs")
        self.events = Events(self.database)
        self.facts = Facts(self.database)
        self.audit = Audit(self.database)
        self.people = People(self.database, self.events)
        self.tokens = Tokens(self.database, self.events)
        self.series_read = SeriesRead(self.database)
        self.artifact_predictions = ArtifactPredictions(self.database, self.series_read)
        self.calibrations = Calibrations(self.database, self.events, self.artifact_predictions)
        self.profiles = Profiles(self.database, self.events, self.calibrations)
        self.devices = Devices(self.database, self.events)
        self.codes = Codes(self.database, self.events, self.devices)
        self.renewals = Renewals(self.database, self.events, self.devices)
        self.device_states = DeviceStates(self.database, self.events)
        self.datasets = Datasets(self.database, self.events)
        self.models = Models(self.database, self.events)
        self.artifacts = Artifacts(self.database, self.events)
        self.jobs = Jobs(self.database, self.events, self.artifacts)
        self.searches = Searches(self.database, self.events, self.artifacts)
        self.search_trials = SearchTrials(self.database, self.events, self.searches)
        self.search_measurements = SearchMeasurements(self.database, self.events, self.searches)
        self.releases = Releases(self.database, self.events)
        self.signing = Signing(self.database, self.events, self.releases)
        self.groups = Groups(self.database, self.events)
        self.rollout_targets = Targets(self.database, self.groups)
        self.rollout_moves = RolloutMoves(self.database, self.events, self.audit)
        self.rollout_reads = RolloutReads(self.database)
        self.rollout_figures = RolloutFigures(self.database, self.series_read)
        self.rollouts = Rollouts(
            self.database, self.events, self.releases, self.rollout_targets, self.rollout_moves
        )
        self.rollout_pages = RolloutPages(self.database)
        self.rollout_timelines = RolloutTimelines(self.database)
        self.wants = Wants(self.database)
        self.broker_contents = BrokerContents(self.database, self.facts)
        self.deltas = Deltas(self.database, self.events)
        self.rollout_plans = Plans(self.database, self.releases, self.rollout_targets, self.deltas)
        self.delivery = DeliveryStore(self.database, self.events, self.wants)
        self.profiling = Profiling(self.database, self.events, self.devices, ProfilingReports(self.database))
        self.refits = Refits(
            self.database,
            self.events,
            self.profiles,
            self.profiling.reports,
            self.calibrations,
            self.artifact_predictions,
        )
        self.baselines = Baselines(self.database, self.blobs)
        self.model_stats = ModelStatsHours(self.database, self.baselines)
        self.sampling = SamplingPolicies(
            self.database, self.events, self.groups, self.rollout_targets, self.wants
        )
        self.sampled_inputs = SampledInputs(self.database, self.sampling)
        self.quarantine = Quarantine(self.database)
        self.telemetry = Telemetry(
            self.database,
            self.events,
            self.profiling,
            self.quarantine,
            Texts(self.database),
            self.model_stats,
            self.sampled_inputs,
        )
        self.telemetry_read = TelemetryRead(self.database, self.series_read)
        self.measured = MeasuredArtifacts(self.database, self.series_read)
        self.device_views = DeviceViews(self.database, self.devices, self.telemetry_read)
        self.pushes = Pushes(self.database, self.events)
        self.budgets = Budgets(self.database, self.events)
        self.findings = Findings(self.database, self.events)
        self.running = Running(self.database, self.series_read)
        self.fleet_pages = FleetPages(self.database)
        self.annotations = Annotations(self.database)
        self.rollout_arms = RolloutArms(self.database)
        self.alerts = Alerts(self.database, self.events, self.facts)

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """See `Database.transaction`."""
        return self.database.transaction()

    def now_ms(self) -> int:
        return self.database.now_ms()

    def close(self) -> None:
        self.database.close()


def open_store(data_dir: Path, now_ms: Callable[[], int] = unix_ms) -> Store:
    """Open (or make) the store in a folder and bring its schema up to date.

    Raises StoreError when the file cannot be used, StoreVersionError when a newer edgepress wrote it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            "store_unusable", f"The folder {data_dir} cannot be made ({error.strerror}). Choose another."
        ) from error
    store = Store(data_dir, now_ms)
    try:
        # Made before SQLite does: the file holds secrets, and its -wal and -shm take over its rights. Never
        # opened when it is there: closing it would drop the locks of this process's connections (POSIX).
        os.close(os.open(store.database.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StoreError(
            "store_unusable",
            f"{store.database.path} cannot be made ({error.strerror}). Check disk and rights.",
        ) from error
    migrate(store.database)
    return store
