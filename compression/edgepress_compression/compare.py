"""Several recipes on one model: which of them leave nothing to be wished for by the others (Pareto).

Each recipe's artifact and report lie in one folder. What is whole there and was made from the same model,
recipe, profile, data and seed by the same tool is not made again, and a recipe that was interrupted goes on
(resume.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from edgepress_compression.artifact.read import decode
from edgepress_compression.compress import Progress, compress, sample_feed
from edgepress_compression.data.dataset import Dataset
from edgepress_compression.data.fit import fit
from edgepress_compression.errors import CompressionCancelledError, EdgepressError, RecipeError
from edgepress_compression.evaluate import paired_latency
from edgepress_compression.recipe import Recipe, load_recipe
from edgepress_compression.resume import data_identity
from edgepress_compression.source import read_source
from edgepress_compression.whole_file import write_whole
from edgepress_devices import __version__
from edgepress_devices.profile import DeviceProfile

UNFINISHED = "unfinished"  # the folder's folder for checkpoints
RESERVED = "compare"  # its files are the comparison's own
MADE_FROM = "made_from"  # in the reports: the data and the tool
SECONDS_A_MODEL = 1.0  # of timing all in turns


class Point(msgspec.Struct, kw_only=True):
    """What a recipe came to. None: it was not measured, or the recipe failed."""

    recipe: str
    artifact_bytes: int | None = None
    ratio: float | None = None  # fp32 weight bytes / artifact bytes
    accuracy: float | None = None  # fraction 0..1
    ci95: tuple[float, float] | None = None
    latency_us: float | None = None  # p50; all models of a comparison in turns
    flops: int | None = None
    parameters: int | None = None
    sparsity: float | None = None
    seconds: float | None = None  # of the compression
    dominated_by_bytes: bool = False  # another is as accurate and as small, and better in one
    dominated_by_latency: bool = False  # another is as accurate and as fast, and better in one
    artifact: str | None = None  # file names in the folder
    report: str | None = None
    error: str | None = None  # why there is no artifact


class Comparison(msgspec.Struct, kw_only=True):
    version: int = 1
    model: str
    source_sha256: str
    profile: str
    dataset: str | None
    metric: str | None
    split: str | None
    n: int | None
    seed: int
    original: Point
    points: list[Point]
    machine: str | None
    command: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types only."""
        return cast(dict[str, Any], msgspec.json.decode(msgspec.json.encode(self)))


def compare(
    model: Path,
    recipes: Sequence[str],
    *,
    profile: DeviceProfile,
    dataset: Dataset | None,
    folder: Path,
    command: str,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[str, Progress], None] = lambda recipe, progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Runs the recipes that are not finished in `folder`, and writes compare.json there.

    A recipe that fails has its reason in its row. Raises RecipeError before anything runs where one of the
    recipes is unknown or two have one name, GraphError or DatasetError where the model or the data cannot be
    read.
    """
    chosen = [(name, load_recipe(name)) for name in dict.fromkeys(recipes)]
    _require_own_files(chosen)
    source = read_source(model)
    folder.mkdir(parents=True, exist_ok=True)
    made_from = {"data": data_identity(dataset), "tool": f"edgepress {__version__}"}
    reports: list[dict[str, Any]] = []
    points, artifacts = [], {}
    for name, recipe in chosen:
        stem = recipe.name
        wanted = {
            "source_sha256": source.sha256,
            "recipe": recipe.as_json(),
            "profile": profile.id,
            "seed": seed,
            MADE_FROM: made_from,
        }
        report = _finished(folder, stem, wanted)
        if report is None:
            try:
                made = compress(
                    model,
                    recipe=name if name.endswith(".toml") else recipe,
                    profile=profile,
                    dataset=dataset,
                    progress=lambda step, stem=stem: progress(stem, step),  # type: ignore[misc]
                    cancelled=cancelled,
                    seed=seed,
                    threads=threads,
                    checkpoint_dir=folder / UNFINISHED,
                )
            except CompressionCancelledError:
                raise
            except EdgepressError as error:
                points.append(Point(recipe=stem, error=str(error)))
                continue
            report = {**made.report, MADE_FROM: made_from}
            write_whole(folder / f"{stem}.epa", made.artifact)
            write_whole(folder / f"{stem}.json", (json.dumps(report, indent=2) + "\n").encode())
            made.finished()
        reports.append(report)
        points.append(_point(stem, report))
        artifacts[stem] = (folder / f"{stem}.epa").read_bytes()
    original = Point(recipe="original", artifact_bytes=source.graph.weight_bytes(), ratio=1.0)
    accuracy = next((one["accuracy"] for one in reports if one["accuracy"] is not None), None)
    if reports:
        before = reports[0]["costs"]["before"]
        original.accuracy = None if accuracy is None else accuracy["before"]
        original.ci95 = None if accuracy is None else accuracy["ci95_before"]
        original.flops, original.parameters = before["flops"], before["parameters"]
        original.sparsity = 1 - before["nonzero"] / max(1, before["parameters"])
        _time(source.graph.serialize(), model.stem, original, points, artifacts, dataset, seed, threads)
    mark_dominated(points)
    result = Comparison(
        model=source.name,
        source_sha256=source.sha256,
        profile=profile.id,
        dataset=None if dataset is None else dataset.name,
        metric=None if accuracy is None else accuracy["metric"],
        split=None if accuracy is None else accuracy["split"],
        n=None if accuracy is None else accuracy["n"],
        seed=seed,
        original=original,
        points=points,
        machine=reports[0]["latency_us"]["machine"] if reports else None,
        command=command,
    )
    write_whole(folder / "compare.json", (json.dumps(result.as_json(), indent=2) + "\n").encode())
    return result


def mark_dominated(points: Sequence[Point]) -> None:
    """Sets who is dominated; without accuracy nobody is, since fewer bytes alone are no merit."""
    known = [point for point in points if point.accuracy is not None]
    for cost in ("bytes", "latency"):
        field = {"bytes": "artifact_bytes", "latency": "latency_us"}[cost]
        having = [(point, getattr(point, field)) for point in known if getattr(point, field) is not None]
        for point, own in having:
            worse = any(
                other_cost <= own
                and (other.accuracy or 0.0) >= (point.accuracy or 0.0)
                and (other_cost < own or (other.accuracy or 0.0) > (point.accuracy or 0.0))
                for other, other_cost in having
            )
            setattr(point, f"dominated_by_{cost}", worse)


def _require_own_files(chosen: Sequence[tuple[str, Recipe]]) -> None:
    """Files have the names of recipes. Raises RecipeError where two would share theirs."""
    given: dict[str, str] = {}
    for name, recipe in chosen:
        if recipe.name == RESERVED:
            raise RecipeError(
                f"The recipe {name} cannot be named {RESERVED!r} here: compare.json is the comparison."
            )
        if recipe.name in given:
            raise RecipeError(
                f"The recipes {given[recipe.name]} and {name} are both named {recipe.name!r}, and so would "
                "be their files. Give one of them another `name`."
            )
        given[recipe.name] = name


def _finished(folder: Path, stem: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The report of an artifact that is whole and was made from the same; else None."""
    try:
        report: dict[str, Any] = json.loads((folder / f"{stem}.json").read_bytes())
        artifact = (folder / f"{stem}.epa").read_bytes()
        same = {key: report[key] for key in wanted}
        whole = report["artifact_sha256"] == hashlib.sha256(artifact).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, cut off or foreign: made anew
    return report if whole and same == wanted and "costs" in report else None


def _point(stem: str, report: dict[str, Any]) -> Point:
    accuracy, after = report["accuracy"], report["costs"]["after"]
    return Point(
        recipe=stem,
        artifact_bytes=report["bytes"]["artifact"],
        ratio=report["bytes"]["ratio"],
        accuracy=None if accuracy is None else accuracy["after"],
        ci95=None if accuracy is None or accuracy["ci95"] is None else tuple(accuracy["ci95"]),
        latency_us=report["latency_us"]["after"]["p50"],
        flops=after["flops"],
        parameters=after["parameters"],
        sparsity=1 - after["nonzero"] / max(1, after["parameters"]),
        seconds=report["seconds"],
        artifact=f"{stem}.epa",
        report=f"{stem}.json",
    )


def _time(
    before: bytes,
    name: str,
    original: Point,
    points: Sequence[Point],
    artifacts: dict[str, bytes],
    dataset: Dataset | None,
    seed: int,
    threads: int,
) -> None:
    """All in turns: latencies of runs on different days do not compare."""
    graph = read_source(before).graph
    data = None if dataset is None else fit(dataset, graph.inputs, graph.outputs, model_name=name)
    having = [point for point in points if point.recipe in artifacts]
    models = [before, *(decode(artifacts[point.recipe]) for point in having)]
    timed = paired_latency(
        models,
        sample_feed(before, graph, data, seed),
        threads=threads,
        seconds=SECONDS_A_MODEL * len(models),
    )
    for point, latency in zip([original, *having], timed, strict=True):
        point.latency_us = latency.p50
