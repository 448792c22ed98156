"""``edgepress telemetry``: the newest figures, and all of them out."""

import sys
import time
from pathlib import Path
from typing import Any

import click

from .output import ago, api, emit_json, micros, server_options, size, table, writing
from .telemetry_query import query
from .telemetry_top import top

HOURS = click.FloatRange(min=0, min_open=True, max=10 * 365 * 24)


@click.group()
def telemetry() -> None:
    """See what the devices report."""


telemetry.add_command(query)
telemetry.add_command(top)


@telemetry.command()
@click.argument("device", required=False)
@server_options
def show(device: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Show the newest sample of DEVICE, or of every device."""
    client = api(url, token)
    latest = client.get("/telemetry/latest")
    if device is not None:
        client.get(f"/devices/{device}")  # says so when nobody registered it
        if device not in latest:
            raise click.ClickException(
                f"{device} has not reported yet; see `edgepress device show {device}` for its state"
            )
        latest = {device: latest[device]}
    if as_json:
        emit_json(latest)
        return
    table(
        ("DEVICE", "AT", ">P50", ">P95", ">INFERENCES/S", ">MEMORY", ">CPU", ">TEMP", ">POWER", "POWER FROM"),
        [
            (
                name,
                ago(s["at_ms"]),
                micros(s.get("p50_us")),
                micros(s.get("p95_us")),
                f"{1000 * s['inferences'] / s['interval_ms']:.1f}" if s["interval_ms"] else None,
                size(s.get("rss_bytes")),
                f"{s['cpu_percent']:.0f} %" if s.get("cpu_percent") is not None else None,
                f"{s['temp_c']:.1f} C" if s.get("temp_c") is not None else None,
                f"{s['power_mw']['value']:.0f} mW" if s.get("power_mw") else None,
                s["power_mw"]["method"] if s.get("power_mw") else None,
            )
            for name, s in sorted(latest.items())
        ],
        empty="No device has reported yet. Register one: edgepress device register NAME --profile ...",
    )


@telemetry.command()
@click.option("--device", help="Only this device.")
@click.option("--hours", type=HOURS, default=24, show_default=True, help="How far back.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "parquet"]),
    default="csv",
    show_default=True,
    help="File format.",
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File; standard output by default.",
)
@server_options
def export(
    device: str | None, hours: float, form: str, out: Path | None, url: str, token: str | None, as_json: bool
) -> None:
    """Export the single samples of the last 24 hours as CSV, JSON or Parquet."""
    now_ms = int(time.time() * 1000)
    query: dict[str, Any] = {
        "device": device,
        "from": int(now_ms - hours * 3_600_000),
        "to": now_ms,
        "format": "json" if as_json else form,
    }
    blocks = api(url, token).download("/telemetry/export", **query)
    if out is None:
        for block in blocks:
            sys.stdout.buffer.write(block)
        return
    with writing(out) as stream:
        stream.writelines(blocks)
    click.echo(f"Wrote {out} ({size(out.stat().st_size)}).", err=True)
