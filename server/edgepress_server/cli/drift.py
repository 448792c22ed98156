"""``edgepress drift``: whether models see and say something else than when they were made."""

import time
from typing import Any

import click

from .output import api, emit_json, server_options, table

HOURS = click.FloatRange(min=0, min_open=True, max=2 * 366 * 24)
_WORDS = {
    "stable": "stable",
    "some": "some drift",
    "moved": "MOVED",
    "unknown": "cannot be told",
}
_hours = click.option("--hours", type=HOURS, default=24, show_default=True, help="How far back.")


@click.group()
def drift() -> None:
    """See whether a model's inputs and answers are still those it was made for (PSI, KS)."""


@drift.command()
@click.argument("name")
@click.option("--artifact", help="SHA-256; default: the newest that it ran in the range.")
@_hours
@server_options
def device(name: str, artifact: str | None, hours: float, url: str, token: str | None, as_json: bool) -> None:
    """Show the drift of what the device NAME sees and says."""
    found = api(url, token).get(f"/devices/{name}/drift", artifact=artifact, **_range(hours))
    _show(found, as_json)


@drift.command("artifact")
@click.argument("digest")
@_hours
@server_options
def artifact_(digest: str, hours: float, url: str, token: str | None, as_json: bool) -> None:
    """Show the drift of all devices that ran the artifact DIGEST, as one."""
    _show(api(url, token).get(f"/artifacts/{digest}/drift", **_range(hours)), as_json)


def _range(hours: float) -> dict[str, int]:
    now_ms = int(time.time() * 1000)
    return {"from": int(now_ms - hours * 3_600_000), "to": now_ms}


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    whose = found["device"] or "all devices"
    of = f"{found['model']} ({found['artifact'][:12]})" if found["artifact"] else "no model"
    whole = found["whole"]
    click.echo(f"{of} on {whose}: {_WORDS[found['verdict']]}.")
    if found["why_unknown"]:
        click.echo(found["why_unknown"])
    if whole is None or not whole["requests"]:
        return
    click.echo(
        f"{whole['requests']} requests looked at; inputs PSI {_figure(whole['input_psi'])},"
        f" KS {_figure(whole['input_ks'])}; answers PSI {_figure(whole['output_psi'])},"
        f" KS {_figure(whole['output_ks'])}."
    )
    click.echo("PSI below 0.1: stable; from 0.25 on: moved. Chance is taken off.")
    table(
        ("FEATURE", "OF", ">PSI", ">KS", ">MEAN", "WENT TO"),
        [
            (one["name"], one["of"], _figure(one["psi"]), _figure(one["ks"]), _mean(one["mean"]), _went(one))
            for one in found["features"]
        ],
        empty="The baseline has no features.",
    )
    classes = found["classes"]
    if classes is not None and classes["actual"]:
        rows = sorted(
            zip(classes["labels"], classes["expected"], classes["actual"], strict=True),
            key=lambda row: -abs(row[2] - row[1]),
        )
        click.echo()
        table(
            ("CLASS", ">EXPECTED", ">NOW"),
            [(label, f"{100 * e:.1f} %", f"{100 * a:.1f} %") for label, e, a in rows[:10]],
            empty="",
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _went(feature: dict[str, Any]) -> str | None:
    """The bin that gained most, in words."""
    if feature["actual"] is None or not feature["edges"]:
        return None
    gains = [a - e for a, e in zip(feature["actual"], feature["expected"], strict=True)]
    best = max(range(len(gains)), key=gains.__getitem__)
    if gains[best] < 0.1:
        return None
    edges = feature["edges"]
    if best == 0:
        place = f"{edges[0]:.4g} or less"
    elif best == len(edges):
        place = f"more than {edges[-1]:.4g}"
    else:
        place = f"{edges[best - 1]:.4g} to {edges[best]:.4g}"
    return f"{place}: {100 * feature['expected'][best]:.0f} % -> {100 * feature['actual'][best]:.0f} %"
