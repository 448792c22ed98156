"""Reads what `decide` and `next_step` want from the store, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgepress_server.errors import NotFoundError
from edgepress_server.store import Store
from edgepress_server.store.budgets import FleetBudget
from edgepress_server.store.findings import Finding
from edgepress_server.store.running import RunningArtifact
from edgepress_server.store.searches import Search
from edgepress_server.store.series.minutes import DeviceMinute
from edgepress_server.watch import words
from edgepress_server.watch.decide import DeviceMinutes, Limits, Minute, Verdict, decide
from edgepress_server.watch.next_step import Facts, JobFacts, RolloutFacts, SearchFacts

DAY_MS: Final = 24 * 3600_000
CI95: Final = 1.96  # standard errors


@dataclass(frozen=True)
class Look:
    """An artifact on the devices of a profile, held against the budget."""

    digest: str
    rollout: str | None
    online: Sequence[str]
    predicted_us: float | None
    verdicts: Sequence[Verdict]


def look(store: Store, budget: FleetBudget) -> list[Look]:
    """Every artifact of the model that devices of the profile run; the one on most devices first.

    A device that a search has borrowed tries candidates: it still counts with what it ran before, of which it
    says nothing meanwhile.
    """
    since_ms = store.now_ms() - budget.window_s * 1000
    with store.database.snapshot():
        running = store.running.of(budget.model, budget.profile, since_ms)
        lent = store.running.lent()
        predicted = (
            {error.digest: error.predicted_us for error in store.calibrations.errors(budget.profile)}
            if budget.prediction_error is not None
            else {}
        )
    found = [
        _look(own, budget, predicted.get(one.digest))
        for one in running
        if (own := _without(one, lent)) is not None
    ]
    seen = {one.digest for one in found}
    found += [Look(digest, None, [], None, []) for digest in lent.values() if digest and digest not in seen]
    return sorted(found, key=lambda one: -len(one.online))


def _without(running: RunningArtifact, lent: Mapping[str, str | None]) -> RunningArtifact | None:
    """Without the devices that run it only for a search; None: there are no others."""
    digest = running.digest
    minutes = {name: rows for name, rows in running.minutes.items() if lent.get(name, digest) == digest}
    online = [name for name in running.online if lent.get(name, digest) == digest]
    if not minutes and not online and (running.minutes or running.online):
        return None
    return replace(running, online=online, minutes=minutes)


def _look(running: RunningArtifact, budget: FleetBudget, predicted_us: float | None) -> Look:
    limits = Limits(
        latency_us=budget.latency_us,
        memory_bytes=budget.memory_bytes,
        energy_mj=budget.energy_mj,
        predicted_us=predicted_us,
        prediction_error=budget.prediction_error,
    )
    devices = [
        DeviceMinutes(name, [_minute(row) for row in rows]) for name, rows in sorted(running.minutes.items())
    ]
    verdicts = decide(
        limits, devices, running=len(running.online), sustained_minutes=budget.sustained_minutes
    )
    return Look(running.digest, running.rollout, running.online, predicted_us, verdicts)


def _minute(row: DeviceMinute) -> Minute:
    return Minute(
        at_ms=row.at,
        latency=row.latency,
        rss_bytes=None if row.rss_bytes is None else round(row.rss_bytes),
        energy_mj=row.energy_mj,
        temp_c=row.temp_c,
        throttled=row.throttled,
    )


def facts(
    store: Store, finding: Finding, budget: FleetBudget, *, missed_now: bool, missed_again: bool
) -> Facts:
    """What the next step of a finding depends on."""
    now = store.now_ms()
    others = [
        other.id
        for other in store.findings.list(model=finding.model, profile=finding.profile, over=False)
        if other.id != finding.id and other.state in ("calibrating", "searching", "released")
    ]
    steps = store.findings.steps(finding.id)
    return Facts(
        state=finding.state,
        kind=finding.kind,
        scope=finding.scope,
        digest=finding.digest,
        now_ms=now,
        state_since_ms=steps[-1].at if steps else finding.created_at,
        auto=budget.auto,
        accepted=finding.accepted_by is not None,
        release_too=finding.release_too,
        attempts=finding.attempts,
        next_try_at=finding.next_try_at,
        searches_today=store.findings.searches_since(finding.model, finding.profile, now - DAY_MS),
        other=others[0] if others else None,
        missed_now=missed_now,
        online=[name for name in finding.devices if _is_online(store, name)],
        jobs=[job for job_id in finding.jobs if (job := _job(store, job_id)) is not None],
        fitted=finding.state != "calibrating" or store.refits.settled(finding.profile),
        search=None if finding.search is None else search_facts(store, finding.search, finding),
        rollout=None if finding.new_rollout is None else _rollout(store, finding.new_rollout),
        chosen=finding.chosen,
        missed_again=missed_again,
    )


def _is_online(store: Store, name: str) -> bool:
    device = store.devices.find(name)
    return device is not None and device.status == "online"


def _job(store: Store, job_id: str) -> JobFacts | None:
    try:
        job = store.profiling.get(job_id)
    except NotFoundError:  # pruned
        return None
    message = job.message or {"queued": "waits to be told", "sent": "was told"}.get(job.state, job.state)
    return JobFacts(job.device, job.what, job.is_open, job.state == "done", message)


def _rollout(store: Store, rollout_id: str) -> RolloutFacts | None:
    try:
        rollout = store.rollouts.summary(rollout_id)
    except NotFoundError:
        return None
    return RolloutFacts(rollout.id, rollout.state, rollout.reason, rollout.stage_since)


def search_facts(store: Store, search_id: str, finding: Finding) -> SearchFacts | None:
    try:
        search = store.searches.get(search_id)
    except NotFoundError:
        return None
    chosen = search.chosen if search.state == "done" else None
    doubt = "" if chosen is None else _doubt(store, search)
    return SearchFacts(
        search.id, search.state, search.message, chosen, _outcome(store, search, finding), doubt
    )


def _doubt(store: Store, search: Search) -> str:
    """The choice was made on other rows than those that test. Where those say clearly that more is lost than
    the budget allows, nothing is released without a person: a gate, and no choice by test rows."""
    number, most = (search.result or {}).get("best"), search.budget.get("max_drop")
    if number is None or most is None:
        return ""
    tested = store.search_trials.get(search.id, int(number)).trial.tested
    if tested is None or tested.drop is None or tested.drop - CI95 * (tested.drop_error or 0.0) <= most:
        return ""
    return (
        f"Look at it before: on the rows that test it loses {100 * tested.drop:.1f} points, and the budget "
        f"allows {100 * most:g}."
    )


def _outcome(store: Store, search: Search, finding: Finding) -> str:
    """What a search that is done found; or the nearest point, and what blocks."""
    result = search.result or {}
    if search.state != "done":
        return ""
    number = result.get("best") if search.chosen is not None else result.get("nearest")
    said = ""
    if number is not None:
        trial = store.search_trials.get(search.id, int(number)).trial
        said = words.found(search.id, words.recipe_words(trial.recipe), trial.figures, finding.kind)
    if search.chosen is not None:
        return said
    nearest = f"Nearest: {said}." if said else ""
    return " ".join([nearest, *map(str, result.get("blocked", []))]).strip()
