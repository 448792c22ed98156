"""Finds the recipe that meets a budget: trials that share a log, then the best one made from all the data.

    claim -> evaluate -> finish, until the time or the trials are used up      (each worker)
    candidates of the front on a device, where one is there                    (the caller's function)
    the best within the budget, else the nearest: made again from all the data, tested on the test split

A trial that the end of the time interrupts stays claimed by nobody: the next call takes it up. What is in the
log is never done twice, so a search that was killed goes on when it is called again in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from edgepress_compression.compress import Progress, compress
from edgepress_compression.data.dataset import Dataset
from edgepress_compression.errors import BudgetError, CompressionCancelledError, SearchError
from edgepress_compression.graph.model import Graph
from edgepress_compression.recipe import Recipe
from edgepress_compression.resume import data_identity
from edgepress_compression.search.budget import Budget, check
from edgepress_compression.search.evaluate import Evaluator
from edgepress_compression.search.front import blocked, front, nearest, ranked, within
from edgepress_compression.search.log import TrialLog
from edgepress_compression.search.propose import Proposer
from edgepress_compression.search.space import space_for
from edgepress_compression.search.starts import starts
from edgepress_compression.search.trial import Figures, SearchResult, Trial
from edgepress_compression.search.workers import Job, started_workers
from edgepress_devices import __version__
from edgepress_devices.profile import DeviceProfile

# A device's figures of an artifact; None: the device is gone, the search ends without it.
MeasureOnDevice = Callable[[Trial, bytes], Figures | None]

DEVICE_TRIALS: Final = 3
_RESERVED_SHARE: Final = 0.3  # of the time, at most, for making the best one from all the data
_SEARCHED: Final = 0.85  # of the progress
_REMAKES: Final = 3


@dataclass
class Limits:
    """When to stop. `ends_s` is of time.monotonic()."""

    ends_s: float
    seconds: float
    trials: int | None
    cancelled: Callable[[], bool]

    def enough(self, trials: Sequence[Trial]) -> bool:
        """Whether no new trial is begun; one that its worker left is still taken up."""
        return self.trials is not None and sum(one.stage != "predicted" for one in trials) >= self.trials

    def late(self, trials: Sequence[Trial]) -> bool:
        """Whether no trial is begun at all: the rest of the time is for making the best one."""
        return time.monotonic() >= self.ends_s - self.reserve_s(trials)

    def reserve_s(self, trials: Sequence[Trial]) -> float:
        taken = sorted(one.seconds for one in trials if one.seconds is not None)
        return min(_RESERVED_SHARE * self.seconds, 2 * taken[len(taken) // 2] if taken else 0.0)

    def stop(self) -> bool:
        """Whether the trial in hand is given up."""
        return self.cancelled() or time.monotonic() >= self.ends_s - 0.1 * self.seconds


def search(
    source: Path | bytes | Graph,
    profile: DeviceProfile,
    dataset: Dataset | None,
    budget: Budget,
    *,
    log: TrialLog,
    seconds: float = 900.0,
    trials: int | None = None,
    workers: int = 1,
    seed: int = 0,
    threads: int = 1,
    model_name: str | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    measure_on_device: MeasureOnDevice | None = None,
) -> SearchResult:
    """Searches for about `seconds`, or until `trials` were evaluated. `budget` holds hard limits.

    `workers` processes of this machine share the trials where the log is a FileLog and the data set a file.
    Raises BudgetError, SearchError (no data where a drop is limited; a log of another search), what
    `compress` raises for a model or data that cannot be read, and CompressionCancelledError.
    """
    began = time.monotonic()
    check(budget)
    if dataset is None and budget.max_drop is not None:
        raise BudgetError("max_drop", "How much accuracy is lost can only be said on data: give a data set.")
    progress(Progress(step="load", fraction=0.0, message="reading the model and the data"))
    bench = Evaluator(source, profile, dataset, budget, seed=seed, model_name=model_name, threads=threads)
    log.begin(_identity(bench, budget))
    limits = Limits(began + seconds, seconds, trials, cancelled)
    job = Job(source, profile, dataset, budget, seed, model_name, threads, seconds, trials)
    with started_workers(job, log, workers - 1) as note:
        work(bench, log, limits, seconds=seconds, progress=progress)
    if cancelled():
        raise CompressionCancelledError()
    found = log.trials()
    if not found or found[0].state != "done" or found[0].figures is None:
        why = found[0].error if found and found[0].error else "there was no time for the model as it is"
        raise SearchError(
            f"The search has nothing to compare with: {why}. Give it more time, or another model."
        )
    notes = [
        one for one in (None if bench.rows is None else bench.rows.note, _latency_note(bench), note) if one
    ]
    if measure_on_device is not None:
        progress(Progress(step="device", fraction=_SEARCHED, message="candidates on the device"))
        notes += _ask_device(found, budget, log, measure_on_device)
        found = log.trials()
    return _result(bench, log, found, source, dataset, notes, began, progress, cancelled)


def work(
    bench: Evaluator,
    log: TrialLog,
    limits: Limits,
    *,
    seconds: float,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """One worker: trials until the limits are reached or nothing is left to try."""
    began = limits.ends_s - seconds
    splits = None if bench.rows is None else bench.rows.passes.splits
    space = space_for(bench.read.graph, bench.profile, samples=bench.samples, labelled=bench.labelled)
    begin = starts(space, bench.profile, splits, seconds=seconds, artifact_bytes=bench.budget.artifact_bytes)
    propose = Proposer(space, bench.budget, begin, bench.seed)
    renewed = time.monotonic()

    def next_trial(trials: Sequence[Trial]) -> Trial | None:
        return None if limits.enough(trials) else propose(trials)

    while not limits.cancelled():
        known = log.trials()
        if limits.late(known):
            return
        trial = log.claim(next_trial)
        if trial is None:
            return
        bench.refer_to(known)

        def say(fraction: float, message: str, trial: Trial = trial) -> None:
            nonlocal renewed
            now = time.monotonic()
            if now - renewed > 5.0:
                renewed = now
                log.renew(trial.number)
            spent = (now - began) / max(seconds, 1e-9)
            progress(
                Progress(
                    step=f"trial {trial.number}",
                    fraction=min(_SEARCHED, _SEARCHED * spent),
                    message=f"{trial.title}: {message}",
                )
            )

        say(0.0, "begins")
        try:
            done, artifact = bench.evaluate(trial, say=say, cancelled=limits.stop)
        except CompressionCancelledError:
            return  # the trial stays open for whoever goes on
        if done.figures is not None:
            done = msgspec.structs.replace(done, within=within(done.figures, bench.budget))
        log.finish(done, artifact)


def _identity(bench: Evaluator, budget: Budget) -> dict[str, object]:
    return {
        "source": bench.read.sha256,
        "name": bench.read.name,
        "profile": msgspec.to_builtins(bench.profile),
        "data": data_identity(bench.data),
        "budget": msgspec.to_builtins(budget),
        "seed": bench.seed,
        "tool": f"edgepress {__version__}",
    }


def _latency_note(bench: Evaluator) -> str:
    profile = bench.profile
    if bench.here and profile.calibration is not None:
        return (
            f"How long the original takes on {profile.id} is predicted from the profile's calibration; how "
            "much quicker a trial is was measured on this machine, in turns with the original."
        )
    if bench.here:
        return (
            f"Latencies were measured on this machine ({profile.cpu.machine}, as {profile.id}), in turns "
            "with the original."
        )
    basis = "its datasheet: expect a factor of 2" if profile.calibration is None else "its calibration"
    return f"Latencies are predictions for {profile.id}, from {basis}. Nothing was timed on such a device."


def _ask_device(
    trials: Sequence[Trial], budget: Budget, log: TrialLog, measure: MeasureOnDevice
) -> list[str]:
    """Figures of the best candidates from the device go into the log."""
    figures = trials[0].figures or Figures()
    candidates = ranked(trials, figures, budget)[:DEVICE_TRIALS]
    if not candidates and (near := nearest(trials, budget)) is not None:
        candidates = [near]
    for trial in candidates:
        if trial.stage == "measured" or trial.artifact is None or trial.figures is None:
            continue
        artifact = log.artifact(trial.artifact)
        if artifact is None:
            continue
        found = measure(trial, artifact)
        if found is None:
            return ["The device did not measure all candidates; the rest are predictions."]
        merged = _merged(trial.figures, found)
        log.tell_tested(
            msgspec.structs.replace(trial, stage="measured", figures=merged, within=within(merged, budget))
        )
    return []


def _merged(known: Figures, found: Figures) -> Figures:
    """What the device measured in place of what was predicted."""
    changed = {
        name: value for name in Figures.__struct_fields__ if (value := getattr(found, name)) is not None
    }
    if found.latency_us is not None:
        changed["latency_error"] = found.latency_error
    return msgspec.structs.replace(known, **changed)


def _result(
    bench: Evaluator,
    log: TrialLog,
    trials: Sequence[Trial],
    source: Path | bytes | Graph,
    dataset: Dataset | None,
    notes: list[str],
    began: float,
    progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
) -> SearchResult:
    budget, original = bench.budget, trials[0]
    assert original.figures is not None  # noqa: S101 - `search` made sure
    order = ranked(trials, original.figures, budget)
    near = None if order else nearest(trials, budget)
    candidates = order[:_REMAKES] or ([near] if near is not None else [])
    best, artifact, report = None, None, None
    for trial in candidates:
        progress(Progress(step="make", fraction=_SEARCHED, message=f"{trial.title}, from all the data"))
        made = compress(
            source,
            recipe=msgspec.convert(trial.recipe, Recipe),
            profile=bench.profile,
            dataset=dataset,
            seed=bench.seed,
            model_name=bench.read.name,
            progress=lambda one: progress(
                Progress(
                    step=one.step, fraction=_SEARCHED + (1 - _SEARCHED) * one.fraction, message=one.message
                )
            ),
            cancelled=cancelled,
        )
        if budget.artifact_bytes is not None and order and len(made.artifact) > budget.artifact_bytes:
            notes.append(
                f"{trial.title}: {len(made.artifact):,} bytes when it was made from all the data, more "
                "than the budget allows, so the next best was taken."
            )
            continue
        artifact, report = made.artifact, made.report
        best = trial
        tested = _tested(report)
        if tested is not None:
            best = msgspec.structs.replace(trial, tested=tested)
            log.tell_tested(best)
        break
    if order and best is None:
        order, near = [], nearest(trials, budget)
    return SearchResult(
        original=original,
        front=front(log.trials(), budget),
        best=best if order else None,
        nearest=(best or near) if not order else None,
        blocked=blocked(trials, budget) if not order else [],
        trials=sum(one.state == "done" and one.stage != "predicted" for one in trials),
        seconds=time.monotonic() - began,
        notes=notes,
        artifact=artifact,
        report=report,
    )


def _tested(report: dict[str, object]) -> Figures | None:
    accuracy = report["accuracy"]
    if not isinstance(accuracy, dict):
        return None
    return Figures(
        accuracy=accuracy["after"],
        drop=accuracy["before"] - accuracy["after"],
        samples=accuracy["n"],
        split=accuracy["split"],
    )
