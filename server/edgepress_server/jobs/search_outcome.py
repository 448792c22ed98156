"""What a search leaves behind: its result in numbers of trials, and the artifacts of its front as people know
artifacts, each with a report.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from edgepress_compression.search.trial import Figures, SearchResult, Trial
from edgepress_server.errors import NotFoundError
from edgepress_server.store import Store
from edgepress_server.store.searches import Kept, Outcome, Search

if TYPE_CHECKING:
    from collections.abc import Mapping

_FRESH_S = 900  # a file as young as this may be about to get a row: it is left for the next look


def outcome_of(store: Store, search: Search, result: SearchResult) -> tuple[Outcome, list[Kept]]:
    """The search's end; every blob that it names is stored."""
    kept: list[Kept] = []
    made = None
    if result.artifact is not None:
        best = result.best or result.nearest or result.original
        made = store.blobs.put(result.artifact)
        about = {"command": remake_command(search.id, best.number), "search": _source(search, best)}
        name = artifact_recipe(search.id, best.number)
        kept.append(Kept(made, name, len(result.artifact), {**(result.report or {}), **about}))
    rows = {row.trial.number: row for row in store.search_trials.all(search.id)}
    for trial in result.front:
        digest = rows[trial.number].artifact if trial.number in rows else None
        if digest is None or digest == made:
            continue
        try:
            size_bytes = store.blobs.path(digest).stat().st_size
        except NotFoundError:
            continue  # its recipe makes it again
        report = trial_report(store, search, trial, size_bytes)
        kept.append(Kept(digest, artifact_recipe(search.id, trial.number), size_bytes, report))
    outcome = Outcome(
        front=[trial.number for trial in result.front],
        best=None if result.best is None else result.best.number,
        nearest=None if result.nearest is None else result.nearest.number,
        blocked=list(result.blocked),
        notes=list(result.notes),
        chosen=made if result.best is not None else None,
        offered=made if result.best is None else None,
    )
    return outcome, kept


def trial_report(store: Store, search: Search, trial: Trial, size_bytes: int) -> dict[str, Any]:
    """A report (docs/report.md) of what a trial knows; figures it does not know are absent."""
    model = store.models.get(search.model)
    weights = model.facts.weight_bytes
    original = store.search_trials.get(search.id, 0).trial
    report: dict[str, Any] = {
        "version": 1,
        "model": search.model,
        "recipe": trial.recipe,
        "profile": search.profile,
        "dataset": None if search.dataset is None else {"name": search.dataset, "variant": None},
        "seed": int(search.options.get("seed", 0)),
        "bytes": {"weights_before": weights, "artifact": size_bytes, "ratio": weights / size_bytes},
        "stages": [],
        "tensors": [],
        "warnings": _warnings(trial),
        "command": remake_command(search.id, trial.number),
        "search": _source(search, trial),
    }
    if (accuracy := _accuracy(original, trial)) is not None:
        report["accuracy"] = accuracy
    before, after = original.figures, trial.figures
    if before and after and before.latency_us and after.latency_us and after.latency_basis == "here":
        report["latency_us"] = {
            "before": {"p50": before.latency_us},
            "after": {"p50": after.latency_us},
            "speedup": before.latency_us / after.latency_us,
        }
    return report


def remake_command(search_id: str, number: int) -> str:
    """Asks this server for the artifact of a trial."""
    return f"edgepress search artifact {search_id} {number}"


def drop_files(store: Store) -> int:
    """Removes the files that only ended searches name and do not keep; how many. Raises StoreError."""
    dropped = 0
    for digest in store.search_trials.droppable():
        with store.transaction():  # nobody makes it an artifact between the look and the end of the file
            if store.search_trials.is_kept(digest):
                continue
            try:
                path = store.blobs.path(digest)
                if time.time() - path.stat().st_mtime < _FRESH_S:
                    continue
                path.unlink()
            except (NotFoundError, FileNotFoundError):
                pass  # gone already
            store.search_trials.forget_file(digest)
            dropped += 1
    return dropped


def _accuracy(original: Trial, trial: Trial) -> Mapping[str, Any] | None:
    before, after = original.tested, trial.tested
    if before is None or after is None:
        before, after = original.figures, trial.figures
    if before is None or after is None or before.accuracy is None or after.accuracy is None:
        return None
    return {
        "metric": "accuracy",
        "split": after.split,
        "n": after.samples,
        "before": before.accuracy,
        "after": after.accuracy,
        "ci95": _interval(after),
        "ci95_before": None,
    }


def _interval(figures: Figures) -> tuple[float, float] | None:
    """Of the accuracy, around it by what is known of the paired drop."""
    if figures.accuracy is None or figures.drop_error is None:
        return None
    half = 1.96 * figures.drop_error
    return max(0.0, figures.accuracy - half), min(1.0, figures.accuracy + half)


def _warnings(trial: Trial) -> list[str]:
    figures = trial.figures
    said = []
    if figures is not None and figures.latency_basis in ("datasheet", "calibration"):
        said.append(
            "Its latency is not measured: the search predicted it for the profile from its "
            f"{figures.latency_basis}."
        )
    if trial.tested is None and figures is not None and figures.accuracy is not None:
        said.append(f"Its accuracy is of the rows that the search chose by ({figures.split or 'selection'}).")
    return said


def _source(search: Search, trial: Trial) -> dict[str, Any]:
    return {"id": search.id, "trial": trial.number, "title": trial.title}


def artifact_recipe(search_id: str, number: int) -> str:
    """What the recipe of a trial is called among the artifacts: no recipe that ships has such a name."""
    return f"search-{search_id[:6]}-{number}"
