"""``edgepress sampling``: let devices send a few of their inputs, look at them, delete them."""

from pathlib import Path
from typing import Any

import click

from .output import ago, api, emit_json, percent, server_options, size, table, writing


@click.group()
def sampling() -> None:
    """Let devices send a few of their inputs. By default none ever leaves a device.

    Who looks at one stands in the audit log. A device's owner can forbid it there for good:
    edgepress-agent limits --inputs never
    """


_device = click.option("--device", help="Of this device.")
_group = click.option("--group", help="Of the devices in this group; counts before the fleet's.")


@sampling.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List what was set: the most specific counts, device before group before fleet."""
    found = api(url, token).get("/sampling")
    if as_json:
        emit_json(found)
        return
    table(
        ("FOR", ">INPUTS AN HOUR", "ANSWERS", "SET", "BY"),
        [
            (
                policy["subject"],
                policy["per_hour"] or "none",
                f"less sure than {policy['low_confidence_percent']} %"
                if policy["low_confidence_percent"]
                else "any",
                ago(policy["updated_at"]),
                policy["actor"],
            )
            for policy in found
        ],
        empty="Nothing was set: no input leaves any device.",
    )


@sampling.command("set")
@_device
@_group
@click.option(
    "--per-hour", type=click.IntRange(0, 3600), required=True, help="Inputs of one device at most; 0 = none."
)
@click.option(
    "--low-confidence",
    type=click.IntRange(0, 100),
    default=0,
    metavar="PERCENT",
    help="Only where the answer is less sure than this; 0 = any.",
)
@server_options
def set_(
    device: str | None,
    group: str | None,
    per_hour: int,
    low_confidence: int,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Let devices send inputs, or none; of the fleet unless a device or a group is named. Needs an admin."""
    body = {"per_hour": per_hour, "low_confidence_percent": low_confidence}
    kept = api(url, token).put(_place(device, group), body)
    if as_json:
        emit_json(kept)
    elif per_hour:
        click.echo(f"{kept['subject']}: at most {per_hour} inputs an hour of each device leave it.")
    else:
        click.echo(f"{kept['subject']}: no input leaves a device.")


@sampling.command()
@_device
@_group
@server_options
def clear(device: str | None, group: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Forget what was set; what is less specific counts again. Needs an admin."""
    api(url, token).delete(_place(device, group))
    if as_json:
        emit_json({})
    else:
        click.echo("Forgotten.")


@sampling.command()
@click.option("--device", help="Only of this device.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@server_options
def inputs(device: str | None, limit: int, url: str, token: str | None, as_json: bool) -> None:
    """List sampled inputs, the newest first. They are kept for 7 days."""
    found = api(url, token).get("/inputs" if device is None else f"/devices/{device}/inputs", limit=limit)
    if as_json:
        emit_json(found)
        return
    table(
        ("ID", "DEVICE", "CAME", "WHY", "INPUT", "SHAPE", ">CLASS", ">CONFIDENCE", ">SIZE"),
        [
            (
                one["id"],
                one["device"],
                ago(one["received_at"]),
                one["why"],
                one["name"],
                "x".join(map(str, one["shape"])),
                one["label"],
                percent(one["confidence"]),
                size(one["bytes"]),
            )
            for one in found
        ],
        empty="No sampled inputs. Let a device send some: edgepress sampling set --device NAME --per-hour 10",
    )


@sampling.command()
@click.argument("input_id", metavar="ID")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File; default: ID.npz.",
)
@server_options
def get(input_id: str, out: Path | None, url: str, token: str | None, as_json: bool) -> None:
    """Fetch a sampled input as .npz. The audit log says that you looked."""
    target = out or Path(f"{input_id}.npz")
    blocks = api(url, token).download(f"/inputs/{input_id}")
    with writing(target) as stream:
        stream.writelines(blocks)
    if as_json:
        emit_json({"file": str(target), "bytes": target.stat().st_size})
    else:
        click.echo(f"Wrote {target} ({size(target.stat().st_size)}).")


@sampling.command()
@click.argument("input_id", metavar="[ID]", required=False)
@click.option("--device", help="All of this device.")
@server_options
def delete(input_id: str | None, device: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Delete a sampled input, or all of a device; they are written over."""
    if (input_id is None) == (device is None):
        raise click.UsageError("name an input, or --device NAME")
    path = f"/inputs/{input_id}" if device is None else f"/devices/{device}/inputs"
    answer: Any = api(url, token).delete(path)
    deleted = answer["deleted"] if isinstance(answer, dict) and "deleted" in answer else 1
    if as_json:
        emit_json({"deleted": deleted})
    else:
        click.echo(f"Deleted {deleted} sampled {'input' if deleted == 1 else 'inputs'}.")


def _place(device: str | None, group: str | None) -> str:
    if device is not None and group is not None:
        raise click.UsageError("name a device or a group, not both")
    if device is not None:
        return f"/devices/{device}/sampling"
    return "/sampling" if group is None else f"/groups/{group}/sampling"
