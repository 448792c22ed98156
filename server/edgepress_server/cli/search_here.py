"""``edgepress compress MODEL --latency 20ms ...`` for a file here: a search for a recipe within a budget."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .output import emit_json, errors, micros, show, size, writing

if TYPE_CHECKING:
    from edgepress_compression.compress import Progress
    from edgepress_compression.search.budget import Budget
    from edgepress_compression.search.log import FileLog
    from edgepress_compression.search.trial import Figures, SearchResult, Trial

REFRESH_S = 1.0
ROWS_MOST = 12  # of the live table
RECIPE_SUFFIX = ".recipe.toml"
# What stands behind a figure of each basis
_MARKS = {
    "datasheet": "~",
    "calibration": "~",
    "estimate": "~",
    "here": "",
    "device": "",
    "file": "",
    None: "",
}
_BASES = {
    "datasheet": "predicted from the datasheet's roofline, expect a factor of 2",
    "calibration": "predicted from the profile's calibration",
    "here": "measured on this machine, in turns with the original",
    "device": "measured on a device",
    "file": "the artifact's own",
    "estimate": "estimated",
}


def parse_budget(
    latency: str | None, size_: str | None, memory: str | None, energy: str | None, max_drop: str | None
) -> Budget | None:
    """None where no limit was given. Raises click.BadParameter with what to write."""
    from edgepress_compression.errors import BudgetError
    from edgepress_compression.search.budget import (
        Budget,
        parse_bytes,
        parse_drop,
        parse_energy_mj,
        parse_latency_us,
    )

    try:
        budget = Budget(
            latency_us=None if latency is None else parse_latency_us(latency),
            artifact_bytes=None if size_ is None else parse_bytes(size_),
            memory_bytes=None if memory is None else parse_bytes(memory, "memory"),
            energy_mj=None if energy is None else parse_energy_mj(energy),
            max_drop=None if max_drop is None else parse_drop(max_drop),
        )
    except BudgetError as error:
        raise click.BadParameter(str(error), param_hint=f"--{error.field}") from error
    return None if budget.empty else budget


def search_here(
    model: Path,
    profile: str,
    data: str | None,
    out: Path,
    budget: Budget,
    *,
    seconds: float,
    trials: int | None,
    workers: int,
    seed: int,
    resume: Path | None,
    as_json: bool,
    write_reports: Callable[[dict[str, Any]], Sequence[Path]],
    print_report: Callable[[dict[str, Any]], None],
) -> None:
    """Searches, shows the front as it grows, writes the artifact and, beside it, its recipe.

    Exits with 1 where nothing is within the budget: then the nearest point and what blocks are said, and no
    artifact is written.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with errors.status("Loading torch and onnxruntime ..."):
        from edgepress_compression.data.dataset import load_dataset
        from edgepress_compression.errors import EdgepressError
        from edgepress_compression.recipe import Recipe
        from edgepress_compression.search.log import FileLog
        from edgepress_compression.search.recipe_toml import recipe_toml
        from edgepress_compression.search.search import search
        from edgepress_devices.profile import ProfileError, load_profile

    import msgspec

    with ExitStack() as stack:
        folder = resume or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgepress-search-")))
        try:
            log = stack.enter_context(FileLog(folder))
            live = None if as_json or not errors.is_terminal else stack.enter_context(_live())
            result = search(
                model,
                load_profile(profile),
                None if data is None else load_dataset(Path(data)),
                budget,
                log=log,
                seconds=seconds,
                trials=trials,
                workers=workers,
                seed=seed,
                progress=_shower(live, log, budget, seconds),
            )
        except KeyboardInterrupt:
            what_stays = (
                f"The trials are kept in {resume}: the same command goes on with them."
                if resume is not None
                else "Nothing was kept; with --resume DIR trials are, and the same command goes on with them."
            )
            raise click.ClickException(f"interrupted. {what_stays}") from None
        except (EdgepressError, ProfileError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.strerror}: {error.filename or model}") from error
    chosen = result.best or result.nearest
    recipe = None if chosen is None else recipe_toml(msgspec.convert(chosen.recipe, Recipe))
    recipe_file = out.with_name(out.stem + RECIPE_SUFFIX)
    if recipe is not None:
        with writing(recipe_file) as stream:
            stream.write(recipe.encode())
    wrote: Sequence[Path] = ()
    if result.best is not None and result.artifact is not None and result.report is not None:
        with writing(out) as stream:
            stream.write(result.artifact)
        wrote = write_reports(result.report)
    if as_json:
        emit_json(
            {**msgspec.to_builtins(msgspec.structs.replace(result, artifact=None)), "recipe_toml": recipe}
        )
    else:
        _tell(result, budget, recipe, print_report)
        if wrote or result.best is not None:
            kept = [out, recipe_file, *wrote]
            click.echo(f"\nWrote {', '.join(str(one) for one in kept[:-1])} and {kept[-1]}.")
        elif recipe is not None:
            click.echo(f"\nNo artifact was written; the nearest point's recipe is in {recipe_file}.")
    if result.best is None:
        raise click.exceptions.Exit(1)


def _live() -> Live:
    return Live(console=errors, refresh_per_second=2, transient=True)


def _shower(live: Live | None, log: FileLog, budget: Budget, seconds: float) -> Callable[[Progress], None]:
    from edgepress_compression.search.front import front

    began = time.monotonic()
    due = 0.0

    def tell(progress: Progress) -> None:
        nonlocal due
        now = time.monotonic()
        if live is None or now < due:
            return
        due = now + REFRESH_S
        trials = log.trials()
        line = (
            f"{now - began:.0f} of {seconds:.0f} s, {len(trials)} trials; {progress.step}: {progress.message}"
        )
        live.update(
            Group(
                Text(line, no_wrap=True, overflow="ellipsis"),
                _table(front(trials, budget)[:ROWS_MOST], budget),
            )
        )

    return tell


def _table(trials: Sequence[Trial], budget: Budget, chosen: Trial | None = None) -> Table:
    """Memory and energy only where they are asked for: terminals are narrow."""
    grid = Table(box=None, pad_edge=False)
    names = ["LATENCY", "SIZE"]
    names += ["MEMORY"] if budget.memory_bytes is not None else []
    names += ["ENERGY"] if budget.energy_mj is not None else []
    grid.add_column("TRIAL", justify="right")
    for name in (*names, "POINTS LOST"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("BUDGET")
    grid.add_column("RECIPE", overflow="ellipsis", no_wrap=True)
    for one in trials:
        known = one.figures
        if known is None:
            continue
        cells = {
            "LATENCY": _marked(micros(known.latency_us), known.latency_basis),
            "SIZE": _marked(size(known.artifact_bytes), known.bytes_basis),
            "MEMORY": _marked(size(known.memory_bytes), known.memory_basis),
            "ENERGY": _marked(
                None if known.energy_mj is None else f"{known.energy_mj:.3g} mJ", known.energy_basis
            ),
        }
        met = {True: "met", False: "missed", None: "-"}[one.within]
        style = "bold" if chosen is not None and one.number == chosen.number else None
        grid.add_row(
            str(one.number), *(cells[name] for name in names), _points(known), met, one.title, style=style
        )
    return grid


def _marked(text: str | None, basis: str | None) -> str:
    return "-" if text is None else f"{_MARKS[basis]}{text}"


def _points(figures: Figures) -> str:
    if figures.loss is None:
        return "-"
    # 95 %: 1.96 standard errors to either side, as the web shows it
    error = "" if figures.loss_error is None else f" ±{196 * figures.loss_error:.1f}"
    return f"{round(100 * figures.loss, 1) + 0.0:.1f}{error}"  # + 0.0: never "-0.0"


def _tell(
    result: SearchResult,
    budget: Budget,
    recipe: str | None,
    print_report: Callable[[dict[str, Any]], None],
) -> None:
    chosen = result.best or result.nearest
    others = [one for one in result.front if one.number != result.original.number]
    show(_table([result.original, *others], budget, chosen))
    click.echo()
    if result.best is not None:
        click.echo(f"Chosen: trial {result.best.number}, {result.best.title} (budget: {budget.words()}).")
    else:
        click.echo(f"No recipe was found within {budget.words()}, in {result.trials} trials.")
        for sentence in result.blocked:
            click.echo(sentence)
        if chosen is not None:
            click.echo(f"The nearest is trial {chosen.number}: {chosen.title}.")
    if result.report is not None:
        click.echo()
        print_report(result.report)
    if chosen is not None and chosen.figures is not None:
        click.echo()
        for line in _bases(chosen.figures):
            click.echo(line)
    for note in result.notes:
        click.echo(note)
    if recipe is not None:
        click.echo(f"\n{recipe.rstrip()}")


def _bases(figures: Figures) -> list[str]:
    """How each figure of the table was obtained; "~" marks what was not measured."""
    said = []
    for name, basis in (
        ("latency", figures.latency_basis),
        ("size", figures.bytes_basis),
        ("memory", figures.memory_basis),
        ("energy", figures.energy_basis),
    ):
        if basis is not None:
            error = ""
            if name == "latency" and figures.latency_error is not None and basis == "calibration":
                error = f" (±{100 * figures.latency_error:.0f} %)"
            said.append(f"{name}: {_BASES[basis]}{error}")
    if figures.samples is not None:
        smooth = "" if figures.expected_drop is None else ", expected from how sure the answers are"
        said.append(f"points lost: on {figures.samples:,} rows ({figures.split}){smooth}")
    return said
