"""Searches and trials as the API tells them: every figure with where it comes from, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, RootModel

from edgepress_compression.search.budget import Budget
from edgepress_compression.search.front import blocked, front, nearest, ranked, within
from edgepress_compression.search.trial import Figures, Stage, Trial
from edgepress_devices.profile import DeviceProfile
from edgepress_server.api.answers import Answer
from edgepress_server.store import Store
from edgepress_server.store.search_trials import TrialRow
from edgepress_server.store.searches import Search, SearchState

TrialState = Literal["running", "done", "failed"]


class BudgetAnswer(Answer):
    """Hard limits; null: none."""

    latency_us: float | None = Field(None, description="p50 of one sample on the profile")
    artifact_bytes: int | None = None
    memory_bytes: int | None = None
    energy_mj: float | None = Field(None, description="Of one inference")
    max_drop: float | None = Field(None, description="Of the metric, as a fraction: 0.01 is one point")


class MeasurementAnswer(Answer):
    """A candidate on the search's device."""

    digest: str
    device: str
    state: Literal["asked", "rolling_out", "profiling", "done", "failed"]
    message: str
    rollout: str | None
    job: str | None = Field(description="Profiling job")
    asked_at: int
    changed_at: int


class SearchSummary(Answer):
    id: str
    model: str
    profile: str
    dataset: str | None
    budget: BudgetAnswer
    budget_words: str
    options: dict[str, Any] = Field(description="seconds, trials, workers, seed, device")
    state: SearchState
    step: str
    message: str = Field(description="What it does now, or why it ended")
    cancelling: bool
    progress: float = Field(description="0 to 1, of its time or its trials")
    spent_s: float = Field(description="That workers have been at it")
    workers: int = Field(description="At it now")
    trials: dict[str, int] = Field(description="running, done, failed")
    chosen: str | None = Field(description="Digest of the best artifact within the budget, once it is done")
    offered: str | None = Field(description="Digest of the nearest one, where nothing is within")
    reason: str = Field(description="Why it was started, in words; empty: a person asked for it")
    finding: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    actor: str | None


class SearchAnswer(SearchSummary):
    basis: str = Field(description="What predictions of its profile rest on, in words")
    front: list[int] = Field(description="Trials to which no other is better in everything, by latency")
    best: int | None = Field(description="Trial; while it runs: the best so far")
    nearest: int | None = Field(description="Trial that misses the budget least, where nothing is within")
    blocked: list[str] = Field(description="Why nothing is within the budget")
    notes: list[str]
    measurements: list[MeasurementAnswer]


class FiguresAnswer(Answer):
    """null: not known. `*_basis` in words: nothing that is predicted reads as measured."""

    accuracy: float | None
    drop: float | None = Field(description="From the original, same samples; fractions")
    drop_error: float | None = Field(description="Standard error")
    loss: float | None = Field(
        description="The drop that the budget is judged by: where samples are few, expected from how sure "
        "the answers are"
    )
    loss_error: float | None
    samples: int | None
    split: str | None
    accuracy_basis: str | None
    latency_us: float | None
    latency_error: float | None = Field(description="Expected relative error, 0 to 1")
    latency_basis: str | None
    artifact_bytes: int | None
    bytes_basis: str | None
    memory_bytes: int | None
    memory_basis: str | None
    energy_mj: float | None
    energy_basis: str | None
    predicted: list[str] = Field(description="Names of the figures that are estimates and not measurements")


class TrialAnswer(Answer):
    number: int = Field(description="0: the model as it is")
    state: TrialState
    stage: Stage = Field(description="How far it was looked into: predicted, evaluated, measured")
    title: str
    reason: str = Field(description="Why it was tried")
    recipe: dict[str, Any]
    figures: FiguresAnswer | None
    tested: FiguresAnswer | None = Field(description="On the test split; never chosen by")
    within: bool | None = Field(description="The budget is met; null: not known")
    on_front: bool
    error: str | None
    seconds: float | None
    attempts: int
    artifact: str | None = Field(description="Digest, while its file is kept")
    started_at: int
    finished_at: int | None


class TrialDetail(TrialAnswer):
    toml: str = Field(description="The recipe as a file for `edgepress compress --recipe`")


class TrialList(RootModel[list[TrialAnswer]]):
    pass


class SearchList(RootModel[list[SearchSummary]]):
    pass


def summary(store: Store, search: Search) -> SearchSummary:
    return SearchSummary(**_summary(store, search))


def whole(store: Store, search: Search) -> SearchAnswer:
    """With its front, which is worked out anew while it runs."""
    result = search.result
    if result is None:
        result = so_far([row.trial for row in store.search_trials.all(search.id)], budget_of(search))
    measurements = [MeasurementAnswer.model_validate(one) for one in store.search_measurements.of(search.id)]
    return SearchAnswer(
        **_summary(store, search),
        basis=profile_basis(_profile(store, search)),
        front=result["front"],
        best=result["best"],
        nearest=result["nearest"],
        blocked=result["blocked"],
        notes=result["notes"],
        measurements=measurements,
    )


def so_far(trials: Sequence[Trial], budget: Budget) -> dict[str, Any]:
    """As in `store.searches.Outcome`, from the trials that are there."""
    original = trials[0].figures if trials else None
    order = [] if original is None else ranked(trials, original, budget)
    near = nearest(trials, budget) if original is not None and not order else None
    return {
        "front": [one.number for one in front(trials, budget)],
        "best": order[0].number if order else None,
        "nearest": None if near is None else near.number,
        "blocked": [] if order or original is None else blocked(trials, budget),
        "notes": [],
    }


def trial_answers(store: Store, search: Search) -> list[TrialAnswer]:
    rows = store.search_trials.all(search.id)
    result = search.result or so_far([row.trial for row in rows], budget_of(search))
    on_front = set(result["front"])
    profile = _profile(store, search)
    return [TrialAnswer(**_trial(row, budget_of(search), profile, search, on_front)) for row in rows]


def trial_detail(store: Store, search: Search, number: int) -> TrialDetail:
    """Raises NotFoundError."""
    from edgepress_compression.recipe import Recipe
    from edgepress_compression.search.recipe_toml import recipe_toml

    row = store.search_trials.get(search.id, number)
    trials = [one.trial for one in store.search_trials.all(search.id)]
    on_front = set((search.result or so_far(trials, budget_of(search)))["front"])
    return TrialDetail(
        **_trial(row, budget_of(search), _profile(store, search), search, on_front),
        toml=recipe_toml(msgspec.convert(row.trial.recipe, Recipe)),
    )


def budget_of(search: Search) -> Budget:
    return msgspec.convert(search.budget, Budget)


def profile_basis(profile: DeviceProfile) -> str:
    """What its predictions rest on."""
    calibration = profile.calibration
    if calibration is None:
        return "datasheet (roofline, expect a factor of 2)"
    devices = f"{len(calibration.devices)} device{'' if len(calibration.devices) == 1 else 's'}"
    error = calibration.error.model_median if calibration.error is not None else None
    return f"calibrated on {devices}" + ("" if error is None else f" (±{100 * error:.0f} %)")


def _profile(store: Store, search: Search) -> DeviceProfile:
    """As it was when the search began; before that, as it is."""
    pinned = store.search_trials.pinned(search.id)
    if pinned is None:
        return store.profiles.resolve(search.profile)
    return msgspec.json.decode(pinned, type=DeviceProfile)


def _summary(store: Store, search: Search) -> dict[str, Any]:
    counts = store.search_trials.counts(search.id)
    done = counts.get("done", 0) + counts.get("failed", 0)
    spent_s = search.spent_ms / 1000
    share = spent_s / max(1.0, float(search.options["seconds"]))
    if (most := search.options.get("trials")) is not None:
        share = max(share, done / max(1, int(most)))
    return {
        **vars(search),
        "budget": BudgetAnswer(**search.budget),
        "budget_words": budget_of(search).words(),
        "cancelling": search.cancel_requested and search.state == "running",
        "progress": 1.0 if search.state == "done" else min(0.99, share),
        "spent_s": spent_s,
        "trials": {state: counts.get(state, 0) for state in ("running", "done", "failed")},
        "offered": None if search.result is None else search.result.get("offered"),
    }


def _trial(
    row: TrialRow, budget: Budget, profile: DeviceProfile, search: Search, on_front: set[int]
) -> dict[str, Any]:
    trial = row.trial
    device = search.options.get("device")
    return {
        "number": trial.number,
        "state": trial.state,
        "stage": trial.stage,
        "title": trial.title or str(trial.recipe.get("name", "")),
        "reason": trial.reason,
        "recipe": trial.recipe,
        "figures": None if trial.figures is None else _figures(trial.figures, profile, device),
        "tested": None if trial.tested is None else _figures(trial.tested, profile, device),
        "within": within(trial.figures, budget) if trial.figures is not None else None,
        "on_front": trial.number in on_front,
        "error": trial.error,
        "seconds": trial.seconds,
        "attempts": row.attempts,
        "artifact": row.artifact,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def _figures(figures: Figures, profile: DeviceProfile, device: str | None) -> FiguresAnswer:
    def words(basis: str | None) -> str | None:
        if basis in ("datasheet", "calibration"):
            return f"predicted: {profile_basis(profile)}"
        if basis == "here":
            return "measured on this server, in turns with the original"
        if basis == "device":
            return f"measured on {device or 'a device'}"
        return {"file": "the artifact's own bytes", "estimate": "an estimate, no file was made"}.get(
            basis or ""
        )

    of = {
        "latency_us": figures.latency_basis,
        "artifact_bytes": figures.bytes_basis,
        "memory_bytes": figures.memory_basis,
        "energy_mj": figures.energy_basis,
    }
    known = {name: getattr(figures, name) for name in FiguresAnswer.model_fields if hasattr(figures, name)}
    return FiguresAnswer(
        **{
            **known,
            "accuracy_basis": _accuracy_words(figures),
            "latency_basis": words(figures.latency_basis),
            "bytes_basis": words(figures.bytes_basis),
            "memory_basis": words(figures.memory_basis),
            "energy_basis": words(figures.energy_basis),
            "predicted": [
                name for name, basis in of.items() if basis in ("datasheet", "calibration", "estimate")
            ],
        }
    )


def _accuracy_words(figures: Figures) -> str | None:
    if figures.accuracy is None:
        return None
    what = {"selection": "rows held out to choose by", "test": "the test split"}.get(
        figures.split or "", f"the split {figures.split}"
    )
    return f"decoded artifact on {figures.samples or 'the'} samples of {what}"
