"""``edgepress telemetry query``: one metric over time, of all devices or some, by group."""

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from .durations import Duration
from .output import api, emit_json, micros, server_options, size, table, writing

SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARK_CHARS: Final = 32
_STEP_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Step(click.ParamType):  # type: ignore[type-arg]  # generic only in new versions of click
    """``10s`` or ``5m`` -> milliseconds."""

    name = "step"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is no step; write 10s, 5m, 1h or 1d", param, ctx)
        return int(match[1]) * _STEP_UNITS[match[2]] * 1000

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "STEP"


@click.command()
@click.option("--metric", help="Such as latency, cpu_percent, errors; see --list.")
@click.option("--aggregate", help="Such as mean, p95, rate, ratio; default: the metric's usual one.")
@click.option(
    "--group-by",
    default="none",
    show_default=True,
    help="none, device, profile, artifact, model or label:KEY.",
)
@click.option("--where", default="", help="Which devices, for example: site = hall-3 and not test")
@click.option("--artifact", help="Only what was measured while it ran: a digest, or its first characters.")
@click.option("--model", help="Only what was measured while it ran.")
@click.option(
    "--last", type=Duration(60, 2 * 366 * 86_400), default="1h", show_default=True, help="How far back."
)
@click.option("--from", "from_ms", type=click.IntRange(min=0), help="Unix ms, in place of --last.")
@click.option("--to", "to_ms", type=click.IntRange(min=0), help="Unix ms; default: now.")
@click.option("--step", type=Step(), help="Default: about 300 steps.")
@click.option("--limit", type=click.IntRange(1, 50), default=50, show_default=True, help="Series at most.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="How the answer is written.",
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File; standard output by default.",
)
@click.option("--link", is_flag=True, help="Print the address of the page that shows this.")
@click.option("--list", "listing", is_flag=True, help="List metrics and what can be asked of them.")
@server_options
def query(
    metric: str | None,
    aggregate: str | None,
    group_by: str,
    where: str,
    artifact: str | None,
    model: str | None,
    last: int,
    from_ms: int | None,
    to_ms: int | None,
    step: int | None,
    limit: int,
    form: str,
    out: Path | None,
    link: bool,
    listing: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Ask for a metric over time: of all devices or some, together or by group.

    \b
    edgepress telemetry query --metric latency --aggregate p95 --group-by profile --last 6h
    edgepress telemetry query --metric errors --aggregate ratio --where "site = hall-3" --last 7d
    """
    client = api(url, token)
    if listing:
        _list(client.get("/telemetry/metrics"))
        return
    if metric is None:
        raise click.UsageError("Name a --metric, such as latency; --list shows them all.")
    asked: dict[str, Any] = {
        "metric": metric,
        "aggregate": aggregate,
        "group_by": group_by,
        "where": where or None,
        "artifact": artifact,
        "model": model,
        "from": from_ms,
        "to": to_ms,
        "last_ms": None if from_ms is not None else last * 1000,
        "step_ms": step,
        "limit": limit,
    }
    if link:
        present = {name: value for name, value in asked.items() if value is not None and name != "limit"}
        click.echo(f"{client.url}/telemetry?{urlencode(present)}")
        return
    if as_json or (form == "table" and out is None):
        found = client.get("/telemetry/query", **asked)
        if as_json:
            emit_json(found)
        else:
            _show(found)
        return
    if form == "table":
        raise click.UsageError("A table is for reading. For a file take --format csv, json or parquet.")
    if form == "parquet" and out is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is no text. Name a file with -o.")
    blocks = client.download("/telemetry/query/export", **asked, format=form)
    if out is None:
        for block in blocks:
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        return
    with writing(out) as stream:
        stream.writelines(blocks)
    click.echo(f"Wrote {out} ({size(out.stat().st_size)}).", err=True)


def _show(found: dict[str, Any]) -> None:
    unit = found["unit"]
    table(
        ("SERIES", ">TOTAL", ">LAST", ">LEAST", ">MOST", ">DEVICES", "OVER TIME"),
        [
            (
                one["title"],
                shown(one["total"], unit),
                shown(_last(one["values"]), unit),
                shown(min(_there(one["values"]), default=None), unit),
                shown(max(_there(one["values"]), default=None), unit),
                one["devices"],
                sparkline(one["values"]),
            )
            for one in found["series"]
        ],
        empty="Nothing was measured. Ask for a longer time (--last 7d), or of more devices.",
    )
    if found["series"]:
        begin, end = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(found[at] / 1000)) for at in ("from", "to"))
        click.echo(f"{found['title']}, {begin} to {end} UTC, steps of {found['step_ms'] / 1000:g} s")
    for note in found["notes"]:
        click.echo(note, err=True)


def _list(catalogue: dict[str, Any]) -> None:
    table(
        ("METRIC", "UNIT", "AGGREGATES", "WHAT"),
        [
            (one["name"], one["unit"], " ".join(one["aggregates"]), one["title"])
            for one in (*catalogue["histograms"], *catalogue["metrics"])
        ],
        empty="There are none.",
    )
    if catalogue["labels"]:
        click.echo("Labels: " + ", ".join(f"label:{key}" for key in catalogue["labels"]))


def shown(value: float | None, unit: str) -> str | None:
    """A figure with its unit, as people read it."""
    if value is None:
        return None
    if unit == "us":
        return micros(value)
    if unit in ("B", "B/s"):
        return f"{size(value)}{unit[1:]}"
    return f"{value:,.6g} {unit}".rstrip()


def sparkline(values: Sequence[float | None]) -> str:
    """A character for each value, or for the mean of several; a blank where nothing was measured."""
    columns = min(SPARK_CHARS, len(values))
    means = []
    for i in range(columns):
        part = _there(values[i * len(values) // columns : (i + 1) * len(values) // columns])
        means.append(sum(part) / len(part) if part else None)
    there = _there(means)
    if not there:
        return ""
    low, high = min(there), max(there)
    top, flat = len(SPARKS) - 1, high - low <= 1e-6 * max(abs(low), abs(high))  # what arithmetic leaves
    return "".join(
        " " if mean is None else SPARKS[0 if flat else round((mean - low) / (high - low) * top)]
        for mean in means
    ).rstrip()


def _there(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _last(values: Sequence[float | None]) -> float | None:
    there = _there(values)
    return there[-1] if there else None
