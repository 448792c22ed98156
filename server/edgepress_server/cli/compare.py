"""``edgepress compare``: several recipes on one model file, and which of them are worth having."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .compress import progress_bars
from .output import emit_json, errors, json_option, micros, percent, size, table, writing

if TYPE_CHECKING:
    from edgepress_compression.compare import Comparison, Point


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--recipes", required=True, help="Names or TOML files, with commas between.")
@click.option("--profile", required=True, help="Device profile.")
@click.option("--data", help="Data set: a TOML or .npz file. Without one accuracy is unknown.")
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for artifacts, reports, compare.json and compare.html. What is finished there is kept.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@json_option
def compare(
    model: Path, recipes: str, profile: str, data: str | None, folder: Path, seed: int, as_json: bool
) -> None:
    """Compress MODEL by several recipes and compare them.

    Run it again after an interruption: recipes that are finished in the folder are not run again.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads leave the cores to others
    with errors.status("Loading torch and onnxruntime ..."):
        from edgepress_compression.compare import compare as run
        from edgepress_compression.compress import Progress as Step
        from edgepress_compression.data.dataset import load_dataset
        from edgepress_compression.errors import EdgepressError
        from edgepress_compression.page.compare_page import compare_page
        from edgepress_devices.profile import ProfileError, load_profile

    names = [name.strip() for name in recipes.split(",") if name.strip()]
    if not names:
        raise click.BadParameter("name at least one recipe, such as --recipes int8,rate-distortion")
    words = ["edgepress", "compare", str(model), "--recipes", ",".join(names), "--profile", profile]
    words += ["--data", data] if data is not None else []
    words += ["-o", str(folder), "--seed", str(seed)]
    with progress_bars(quiet=as_json) as bars:
        tasks = {}

        def show(recipe: str, step: Step) -> None:
            if recipe not in tasks:
                tasks[recipe] = bars.add_task(recipe, total=1.0, step="")
            bars.update(tasks[recipe], completed=step.fraction, step=f"{step.step}: {step.message}")

        try:
            found = run(
                model,
                names,
                profile=load_profile(profile),
                dataset=None if data is None else load_dataset(Path(data)),
                folder=folder,
                command=shlex.join(words),
                seed=seed,
                progress=show,
            )
        except (EdgepressError, ProfileError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.strerror}: {error.filename or folder}") from error
    _pages(found, folder)
    with writing(folder / "compare.html") as stream:
        stream.write(compare_page(found).encode())
    if as_json:
        emit_json(found.as_json())
    else:
        _print(found, folder)
    if all(point.error is not None for point in found.points):
        raise click.exceptions.Exit(1)


def _pages(found: "Comparison", folder: Path) -> None:
    """A page for each report, which the comparison links to."""
    import json

    from edgepress_compression.page.report_page import report_page

    for point in found.points:
        if point.report is not None:
            report = json.loads((folder / point.report).read_bytes())
            with writing(folder / f"{point.recipe}.html") as stream:
                stream.write(report_page(report).encode())


def _print(found: "Comparison", folder: Path) -> None:
    table(
        ("RECIPE", ">BYTES", ">SMALLER", f">{(found.metric or 'accuracy').upper()}", ">LATENCY", "PARETO"),
        [_row(found.original), *(_row(point) for point in found.points if point.error is None)],
        empty="",
    )
    for point in found.points:
        if point.error is not None:
            errors.print(f"{point.recipe} made no artifact: {point.error}", markup=False)
    click.echo(f"\nWrote {folder / 'compare.html'} and {folder / 'compare.json'}.")


def _row(point: "Point") -> tuple[str | None, ...]:
    best = [
        word
        for word, dominated in (
            ("bytes", point.dominated_by_bytes),
            ("latency", point.dominated_by_latency),
        )
        if not dominated and point.artifact is not None and point.accuracy is not None
    ]
    return (
        point.recipe,
        size(point.artifact_bytes),
        None if point.ratio is None else f"{point.ratio:.1f}x",
        percent(point.accuracy),
        micros(point.latency_us),
        ", ".join(best) or None,
    )
