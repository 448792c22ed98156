"""``edgepress compress``: a model on the server as a job there, or a file right here without a server.

With a recipe it is made; with a budget in its place, the recipe is searched (search_here.py, search.py).
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from .client import Api
from .output import api, emit_json, errors, micros, percent, server_options, size, table, writing

POLL_SECONDS = 0.5
_TELLING = 0.01  # a smaller change of a counted figure is not worth a line
NAME_COLUMNS = 20  # the longest profile id


@click.command()
@click.argument("model")
@click.option("--recipe", help="Recipe name (`edgepress recipe list`) or a TOML file; or give a budget.")
@click.option(
    "--profile", "profiles", multiple=True, required=True, help="Device profile; several on a server."
)
@click.option("--data", help="Data set: a TOML or .npz file here, or its name on the server.")
@click.option(
    "-o", "--output", "out", type=click.Path(dir_okay=False, path_type=Path), help="Artifact file to write."
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Report to write: a page where it ends in .html, else JSON; may be given twice.",
)
@click.option(
    "--target-bytes",
    type=click.IntRange(min=1),
    help="What the artifact may have, for recipes that take a budget, such as rate-distortion.",
)
@click.option(
    "--coding",
    help="How weights are coded, in place of the recipe's: auto, fast, small, or the name of a coder.",
)
@click.option("--latency", help="Budget: latency of one sample on the profile, such as 20ms.")
@click.option("--size", "size_", help="Budget: the artifact's size, such as 2MB.")
@click.option("--memory", help="Budget: memory to load and run it, such as 64MB.")
@click.option("--energy", help="Budget: energy of one inference, such as 5mJ.")
@click.option("--max-drop", help="Budget: points of accuracy that may be lost, such as 1.0.")
@click.option(
    "--search-seconds",
    type=click.FloatRange(min=10, max=604_800),
    default=900,
    show_default=True,
    help="How long to search for a recipe within the budget.",
)
@click.option(
    "--search-trials", type=click.IntRange(min=1, max=100_000), help="How many recipes to try at most."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1, max=64),
    default=1,
    show_default=True,
    help="For a search: processes that share its trials.",
)
@click.option("--device", help="For a search on a server: the device on which candidates are tried.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option(
    "--processes",
    type=click.IntRange(min=1, max=64),
    default=1,
    show_default=True,
    help="For a file here: processes that train together, each on its part of every batch.",
)
@click.option(
    "--resume",
    type=click.Path(file_okay=False, path_type=Path),
    help="For a file here: a folder for checkpoints, or for the trials of a search. The same command goes on "
    "where it was interrupted.",
)
@click.option("--detach", is_flag=True, help="On a server: do not wait for the jobs.")
@server_options
def compress(
    model: str,
    recipe: str | None,
    profiles: tuple[str, ...],
    data: str | None,
    out: Path | None,
    reports: tuple[Path, ...],
    target_bytes: int | None,
    coding: str | None,
    latency: str | None,
    size_: str | None,
    memory: str | None,
    energy: str | None,
    max_drop: str | None,
    search_seconds: float,
    search_trials: int | None,
    workers: int,
    device: str | None,
    seed: int,
    processes: int,
    resume: Path | None,
    detach: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Compress MODEL for device profiles.

    MODEL is a file (.onnx, .pt2): it is compressed here and now, without a server, into the file of -o.
    Or it is the name of a model on the server: a job there makes one artifact per profile.

    Say how with --recipe. Or say what is needed (--latency, --size, --memory, --energy, --max-drop): then
    the recipe is searched.
    """
    from .search_here import parse_budget, search_here

    budget = parse_budget(latency, size_, memory, energy, max_drop)
    if (budget is None) == (recipe is None):
        raise click.UsageError(
            "say either how (--recipe NAME) or what is needed (a budget: --latency 20ms --size 2MB "
            "--memory 64MB --energy 5mJ --max-drop 1.0)"
        )
    if budget is not None and (target_bytes is not None or coding is not None or processes > 1):
        raise click.UsageError(
            "--target-bytes, --coding and --processes belong to a recipe; a search has --size and --workers"
        )
    if device is not None and (budget is None or Path(model).is_file()):
        raise click.UsageError(
            "--device belongs to a search on a server: give a budget and a model's name there"
        )
    if Path(model).is_file():
        if len(profiles) != 1 or out is None:
            raise click.UsageError(
                "compressing a file needs exactly one --profile and an output file: -o OUT"
            )
        if budget is not None:
            _require_folders(out, reports)
            search_here(
                Path(model),
                profiles[0],
                data,
                out,
                budget,
                seconds=search_seconds,
                trials=search_trials,
                workers=workers,
                seed=seed,
                resume=resume,
                as_json=as_json,
                write_reports=lambda report: _write_reports(reports, report),
                print_report=print_report,
            )
            return
        assert recipe is not None  # noqa: S101 - or there was a budget
        _here(
            Path(model),
            recipe,
            profiles[0],
            data,
            out,
            reports,
            target_bytes,
            coding,
            seed,
            processes,
            resume,
            as_json,
        )
        return
    if Path(model).suffix in {".onnx", ".pt2"}:
        raise click.BadParameter(f"there is no file {model}", param_hint="MODEL")
    if out is not None or reports or processes > 1 or resume is not None:
        raise click.UsageError(
            "-o, --report, --processes and --resume belong to compressing a file here; for a job on the "
            "server see `edgepress artifact list` and `edgepress artifact show`"
        )
    if budget is not None:
        from .search import search_on_server

        search_on_server(
            api(url, token),
            model,
            profiles,
            data,
            budget,
            seconds=search_seconds,
            seed=seed,
            detach=detach,
            as_json=as_json,
            workers=workers,
            trials=search_trials,
            device=device,
        )
        return
    assert recipe is not None  # noqa: S101 - or there was a budget
    _on_server(api(url, token), model, recipe, profiles, data, target_bytes, coding, seed, detach, as_json)


def _here(
    model: Path,
    recipe: str,
    profile: str,
    data: str | None,
    out: Path,
    reports: tuple[Path, ...],
    target_bytes: int | None,
    coding: str | None,
    seed: int,
    processes: int,
    resume: Path | None,
    as_json: bool,
) -> None:
    _require_folders(out, reports)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads leave the cores to others
    with errors.status("Loading torch and onnxruntime ..."):
        from edgepress_compression.compress import Progress as Step
        from edgepress_compression.compress import compress as run
        from edgepress_compression.data.dataset import load_dataset
        from edgepress_compression.errors import EdgepressError
        from edgepress_devices.profile import ProfileError, load_profile

    with progress_bars(quiet=as_json) as bars:
        bar = bars.add_task(model.name, total=1.0, step="")

        def show(step: Step) -> None:
            bars.update(bar, completed=step.fraction, step=f"{step.step}: {step.message}")

        try:
            if processes > 1:
                from edgepress_compression.parallel import compress_parallel

                result = compress_parallel(
                    model,
                    processes=processes,
                    recipe=recipe,
                    profile=profile,
                    data=None if data is None else Path(data),
                    progress=show,
                    seed=seed,
                    target_bytes=target_bytes,
                    coding=coding,
                    checkpoint_dir=resume,
                )
            else:
                result = run(
                    model,
                    recipe=recipe,
                    profile=load_profile(profile),
                    dataset=None if data is None else load_dataset(Path(data)),
                    progress=show,
                    seed=seed,
                    target_bytes=target_bytes,
                    coding=coding,
                    checkpoint_dir=resume,
                )
        except (EdgepressError, ProfileError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.strerror}: {error.filename or model}") from error
    with writing(out) as stream:
        stream.write(result.artifact)
    _write_reports(reports, result.report)
    result.finished()
    if as_json:
        emit_json(result.report)
    else:
        print_report(result.report)
        click.echo(
            f"\nWrote {out} ({size(len(result.artifact))})" + "".join(f" and {one}" for one in reports) + "."
        )


def _require_folders(out: Path, reports: tuple[Path, ...]) -> None:
    """Minutes of work must not end in a typing error."""
    for target in (out, *reports):
        if not target.resolve().parent.is_dir():
            raise click.BadParameter(f"the folder {target.resolve().parent} does not exist; create it first")


def _write_reports(targets: tuple[Path, ...], report: dict[str, Any]) -> tuple[Path, ...]:
    for target in targets:
        with writing(target) as stream:
            stream.write(_report_file(target, report))
    return targets


def _report_file(target: Path, report: dict[str, Any]) -> bytes:
    if target.suffix.lower() in {".html", ".htm"}:
        from edgepress_compression.page.report_page import report_page

        return report_page(report).encode()
    return (json.dumps(report, indent=2) + "\n").encode()


def progress_bars(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=NAME_COLUMNS)),
        BarColumn(bar_width=16),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # What is said last gives way on a narrow terminal, not the name and the bar.
        TextColumn("{task.fields[step]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=errors,
        expand=True,
        disable=quiet or not errors.is_terminal,
    )


def _on_server(
    client: Api,
    model: str,
    recipe: str,
    profiles: tuple[str, ...],
    data: str | None,
    target_bytes: int | None,
    coding: str | None,
    seed: int,
    detach: bool,
    as_json: bool,
) -> None:
    options: dict[str, Any] = {"seed": seed}
    if target_bytes is not None:
        options["target_bytes"] = target_bytes
    if coding is not None:
        options["coding"] = coding
    body: dict[str, Any] = {
        "model": model,
        "recipe": recipe,
        "profiles": list(profiles),
        "options": options,
    }
    if data is not None:
        body["dataset"] = data
    jobs = client.post("/jobs", body)
    if not detach:
        jobs = follow(client, jobs, quiet=as_json)
    if as_json:
        emit_json(jobs)
        return
    table(
        ("JOB", "PROFILE", "STATE", "ARTIFACT", "MESSAGE"),
        [(j["id"], j["profile"], j["state"], (j["artifact"] or "-")[:12], j["message"]) for j in jobs],
        empty="No jobs were needed.",
    )
    if any(j["state"] in {"failed", "cancelled"} for j in jobs):
        raise click.exceptions.Exit(1)


def follow(client: Api, jobs: list[dict[str, Any]], *, quiet: bool) -> list[dict[str, Any]]:
    """Show the jobs' progress until each has ended; returns them as they ended."""
    with progress_bars(quiet=quiet) as bars:
        tasks = {j["id"]: bars.add_task(j["profile"], total=1.0, step="waiting") for j in jobs}
        current = {j["id"]: j for j in jobs}
        while True:
            for name, bar in tasks.items():
                if current[name]["state"] in {"queued", "running"}:
                    current[name] = client.get(f"/jobs/{name}")
                job = current[name]
                done = 1.0 if job["state"] == "done" else job["progress"]
                said = job["message"] or job["step"] or job["state"]
                bars.update(bar, completed=done, step=said)
            if all(j["state"] not in {"queued", "running"} for j in current.values()):
                return list(current.values())
            time.sleep(POLL_SECONDS)


def print_report(report: dict[str, Any]) -> None:
    """Before and after, as a person compares them."""
    bytes_, accuracy, latency = report["bytes"], report.get("accuracy") or {}, report.get("latency_us") or {}
    rows: list[tuple[Any, ...]] = [
        (
            "weights (fp32)",
            size(bytes_["weights_before"]),
            size(bytes_["artifact"]),
            f"{bytes_['ratio']:.1f}x smaller",
        )
    ]
    if accuracy.get("after") is not None:
        change = 100 * (accuracy["after"] - accuracy["before"])
        rows.append(
            (
                accuracy["metric"],
                percent(accuracy["before"]),
                percent(accuracy["after"]),
                f"{change:+.2f} points, n = {accuracy['n']}",
            )
        )
    if latency.get("after"):
        before, after = latency["before"]["p50"], latency["after"]["p50"]
        rows.append(("latency here, p50", micros(before), micros(after), f"{before / after:.2f}x faster"))
    if report.get("costs"):
        rows += _cost_rows(report["costs"]["before"], report["costs"]["after"])
    table(("", ">BEFORE", ">AFTER", ""), rows, empty="")
    for warning in report.get("warnings", []):
        errors.print(f"note: {warning}")


def _cost_rows(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What changed of the counted figures."""
    rows: list[tuple[Any, ...]] = []
    for key, name in (("flops", "FLOPs of a sample"), ("parameters", "parameters")):
        if before[key] and after[key] and abs(before[key] / after[key] - 1) >= _TELLING:
            rows.append(
                (name, f"{before[key]:,}", f"{after[key]:,}", f"{before[key] / after[key]:.2f}x fewer")
            )
    zero = [1 - one["nonzero"] / max(1, one["parameters"]) for one in (before, after)]
    if abs(zero[1] - zero[0]) >= 0.0005:
        rows.append(("zeros", f"{100 * zero[0]:.1f} %", f"{100 * zero[1]:.1f} %", ""))
    peak = [one["peak_activation_bytes"] for one in (before, after)]
    if peak[0] and peak[1] and abs(peak[0] / peak[1] - 1) >= _TELLING:
        rows.append(("peak of activations", size(peak[0]), size(peak[1]), f"{peak[0] / peak[1]:.2f}x less"))
    return rows
