"""The device in the loop of a search: a candidate is released and rolled out to that one device, which then
profiles it.

`Measurements` asks, in the search's process, and waits. `advance_measurements` moves on what was asked, in
the worker, which holds the keys; every look at one is one transaction, so a killed server goes on where it
stopped. A device that stays away for AWAY_MS is not waited for: the search ends without it and says so.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import msgspec

from edgepress_compression.errors import CompressionCancelledError
from edgepress_compression.search.trial import Figures, Trial
from edgepress_devices.protocol import ProfilingReport
from edgepress_server.errors import NotFoundError, ServerError
from edgepress_server.jobs.search_outcome import artifact_recipe, trial_report
from edgepress_server.store import Store
from edgepress_server.store.search_measurements import Borrowed, Measurement
from edgepress_server.store.searches import LIVE, Seat
from edgepress_server.trust.keys import Keys

log = logging.getLogger(__name__)

POLL_S: Final = 0.5
AWAY_MS: Final = 120_000  # without a sign of life
GIVE_UP_MS: Final = 15 * 60_000  # for one candidate, from being asked for
PROFILE_SECONDS: Final = 15


class Measurements:
    """``measure_on_device`` of a search: the figures of a trial's artifact on the device, None where it has
    none."""

    def __init__(self, store: Store, seat: Seat, device: str | None, cancelled: threading.Event) -> None:
        self._store = store
        self._seat = seat
        self._cancelled = cancelled
        self.device = device

    def __call__(self, trial: Trial, artifact: bytes) -> Figures | None:
        """Raises CompressionCancelledError, SeatLostError."""
        if self.device is None or any(
            one.away for one in self._store.search_measurements.of(self._seat.search)
        ):
            return None
        digest = self._store.blobs.put(artifact)
        self._give_row(trial, digest, len(artifact))
        state = self._store.devices.get(self.device).state
        running = None if state is None else state.running
        asked = self._store.search_measurements.ask(self._seat, digest, self.device, running)
        while asked.is_open:
            if self._cancelled.wait(POLL_S):
                raise CompressionCancelledError()
            asked = self._store.search_measurements.get(self._seat.search, digest)
        return None if asked.figures is None else msgspec.convert(asked.figures, Figures)

    def _give_row(self, trial: Trial, digest: str, size_bytes: int) -> None:
        """A release needs the artifact's row."""
        if self._store.artifacts.find(digest) is not None:
            return
        search = self._store.searches.get(self._seat.search)
        self._store.artifacts.add(
            digest,
            model=search.model,
            profile=search.profile,
            recipe=artifact_recipe(search.id, trial.number),
            size_bytes=size_bytes,
            report=trial_report(self._store, search, trial, size_bytes),
            job=None,
        )


def advance_measurements(store: Store, keys: Keys) -> None:
    """One look at everything that is being measured, and at what is to be given back."""
    for measurement in store.search_measurements.open():
        try:
            with store.transaction():
                _advance(store, keys, store.search_measurements.get(measurement.search, measurement.digest))
        except ServerError as error:
            if error.status >= 500:  # the store is busy, the disk is full: the next look tries again
                log.warning("measurement of search %s waits: %s", measurement.search, error.message)
            else:
                store.search_measurements.move(measurement, "failed", message=error.message)
    for borrowed in store.search_measurements.borrowed():
        try:
            with store.transaction():
                _give_back(store, keys, borrowed)
        except ServerError as error:
            log.warning("%s keeps what it runs: %s", borrowed.device, error.message)
            if error.status < 500:
                store.search_measurements.settle(borrowed.search)


def _advance(store: Store, keys: Keys, now: Measurement) -> None:
    search = store.searches.get(now.search)
    if not now.is_open:
        return
    if search.state not in LIVE or search.cancel_requested:
        _stop(store, now, "The search ended.")
    elif _is_away(store, now):
        _stop(store, now, f"{now.device} went away; the search goes on without it.", away=True)
    elif store.now_ms() - now.asked_at > GIVE_UP_MS:
        minutes = GIVE_UP_MS // 60_000
        _stop(store, now, f"{now.device} has not measured it within {minutes} minutes.", away=True)
    elif now.state == "asked":
        release = store.releases.create(
            keys,
            model=search.model,
            digests=[now.digest],
            note=f"candidate of search {search.id}",
            actor=search.actor,
        )
        rollout = store.rollouts.create(release.id, devices=[now.device], policy=_AT_ONCE, actor=search.actor)
        store.search_measurements.move(now, "rolling_out", rollout=rollout.id)
    elif now.state == "rolling_out" and now.rollout is not None:
        _look_at_rollout(store, now, now.rollout, search.actor)
    elif now.state == "profiling" and now.job is not None:
        _look_at_job(store, now, now.job)


# One device tries it once: a delta made for that would take longer than the whole artifact.
_AT_ONCE: Final[dict[str, Any]] = {"canary_per_profile": 0, "delta": "never"}


def _look_at_rollout(store: Store, now: Measurement, rollout_id: str, actor: str | None) -> None:
    rollout = store.rollouts.get(rollout_id)
    if rollout.state == "done":
        job = store.profiling.request(now.device, "model", PROFILE_SECONDS, actor, digest=now.digest)
        store.search_measurements.move(now, "profiling", job=job.id)
    elif rollout.state in ("paused", "aborted", "rolling_back"):
        said = next((one.reason for one in rollout.devices if one.reason), rollout.reason)
        _stop(store, now, f"{now.device} does not run it: {said}")


def _look_at_job(store: Store, now: Measurement, job_id: str) -> None:
    job = store.profiling.get(job_id)
    if job.is_open:
        return
    stored = store.profiling.reports.of_job(job_id)
    whole = None if stored is None else next((net for net in stored.report.nets if net.net == ""), None)
    if job.state != "done" or stored is None or whole is None:
        words = job.message or f"its profiling job is {job.state}"
        store.search_measurements.move(now, "failed", message=f"{now.device} did not measure it: {words}")
        return
    report = stored.report
    energy = _energy_mj(report, whole.p50_us)
    figures = Figures(
        latency_us=whole.p50_us,
        latency_basis="device",
        latency_error=whole.ci95_us / whole.mean_us if whole.mean_us > 0 else None,
        memory_bytes=report.rss_bytes,
        memory_basis=None if report.rss_bytes is None else "device",
        energy_mj=energy,
        energy_basis=None if energy is None else "device",
    )
    store.search_measurements.move(
        now, "done", figures=msgspec.to_builtins(figures), message=f"Measured on {now.device}."
    )


def _energy_mj(report: ProfilingReport, p50_us: float) -> float | None:
    """Of one inference, above what the device draws idle, as predictions and telemetry count it
    (edgepress_devices/energy.py). None: one of the two powers is not known, or by another sensor."""
    idle, busy = report.idle_mw, report.busy_mw
    if idle is None or busy is None or (idle.method, idle.scope) != (busy.method, busy.scope):
        return None
    return (busy.value - idle.value) * p50_us * 1e-6 if busy.value > idle.value else None


def _is_away(store: Store, now: Measurement) -> bool:
    device = store.devices.get(now.device)
    if device.revoked_at is not None:
        return True
    seen = max(device.seen_at or 0, now.asked_at)
    return not device.online and store.now_ms() - seen > AWAY_MS


def _stop(store: Store, now: Measurement, message: str, *, away: bool = False) -> None:
    """It ends without figures, and what was begun for it too."""
    over = ("done", "aborted", "rolling_back")
    if now.state == "rolling_out" and now.rollout and store.rollouts.state(now.rollout) not in over:
        store.rollouts.abort(now.rollout)
    if now.state == "profiling" and now.job is not None and store.profiling.get(now.job).is_open:
        store.profiling.cancel(now.job, actor=None)
    store.search_measurements.move(now, "failed", message=message, away=away)


def _give_back(store: Store, keys: Keys, borrowed: Borrowed) -> None:
    """The device gets what it ran before, where nobody has told it something else since."""
    measurements = [one for one in store.search_measurements.of(borrowed.search) if one.rollout is not None]
    want = store.wants.find(borrowed.device)
    theirs = want is None or want.rollout not in {one.rollout for one in measurements}
    if borrowed.before is None or theirs or (want is not None and want.digest == borrowed.before):
        store.search_measurements.settle(borrowed.search)
        return
    try:
        before = store.artifacts.get(borrowed.before)
    except NotFoundError:
        store.search_measurements.settle(borrowed.search)
        return
    release = store.releases.create(
        keys, model=before.model, digests=[before.digest], note=f"back after search {borrowed.search}"
    )
    store.rollouts.create(release.id, devices=[borrowed.device], policy=_AT_ONCE)
    store.search_measurements.settle(borrowed.search)
