"""``edgepress rollout``: bring a release to devices, watch it, stop it."""

import time
from contextlib import nullcontext
from typing import Any

import click
from rich.live import Live
from rich.table import Table

from . import output
from .client import Api
from .output import ago, api, emit_json, server_options, table

COUNT = click.IntRange(min=0)
FINAL = {"done", "aborted"}
POLL_SECONDS = 0.5


@click.group()
def rollout() -> None:
    """Roll releases out, in stages."""


@rollout.command()
@click.argument("release")
@click.option("--device", "devices", multiple=True, help="Target device; may be given several times.")
@click.option("--profile", "profiles", multiple=True, help="All devices of this profile.")
@click.option("--label", "pairs", multiple=True, metavar="KEY=VALUE", help="All devices with this label.")
@click.option("--all", "everything", is_flag=True, help="Every device the release has an artifact for.")
@click.option("--canary", type=COUNT, default=1, show_default=True, help="Devices per profile that go first.")
@click.option(
    "--max-failed", type=COUNT, default=0, show_default=True, help="Failures beyond which the rollout pauses."
)
@click.option(
    "--soak", "soak_s", type=COUNT, default=0, show_default=True, help="Seconds to watch before it is done."
)
@click.option("--max-p95", "max_p95_ms", type=float, help="Trial fails above this p95 latency, in ms.")
@click.option("--watch", is_flag=True, help="Stay and show the progress.")
@server_options
def create(
    release: str,
    devices: tuple[str, ...],
    profiles: tuple[str, ...],
    pairs: tuple[str, ...],
    everything: bool,
    canary: int,
    max_failed: int,
    soak_s: int,
    max_p95_ms: float | None,
    watch: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Start rolling RELEASE out."""
    client = api(url, token)
    if not (devices or profiles or pairs or everything):
        raise click.UsageError("say which devices: --device, --profile, --label or --all")
    body: dict[str, Any] = {"release": release}
    if everything:
        found = next((r for r in client.get("/releases") if r["id"] == release), None)
        if found is None:
            raise click.BadParameter(f"there is no release {release!r}; see `edgepress release list`")
        body["profiles"] = sorted(found["artifacts"])
    else:
        body |= {"devices": list(devices)} if devices else {}
        body |= {"profiles": list(profiles)} if profiles else {}
        body |= {"labels": output.labels(pairs)} if pairs else {}
    policy: dict[str, Any] = {"canary_per_profile": canary, "max_failed": max_failed, "soak_s": soak_s}
    if max_p95_ms is not None:
        policy["limits"] = {"p95_us": round(max_p95_ms * 1000)}
    made = client.post("/rollouts", {**body, "policy": policy})
    if watch:
        _watch(client, made["id"], quiet=as_json)
        made = client.get(f"/rollouts/{made['id']}")
    if as_json:
        emit_json(made)
    elif not watch:
        click.echo(
            f"Rollout {made['id']} to {len(made['devices'])} devices. "
            f"Watch it: edgepress rollout status {made['id']} --watch"
        )


@rollout.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List the rollouts, newest first."""
    found = api(url, token).get("/rollouts")
    if as_json:
        emit_json(found)
        return
    table(
        ("ROLLOUT", "MODEL", "STATE", ">COMMITTED", ">FAILED", "REASON", "STARTED"),
        [
            (
                r["id"],
                r["release"]["model"],
                r["state"],
                f"{r['counts']['committed']}/{sum(r['counts'].values())}",
                r["counts"]["failed"],
                r["reason"],
                ago(r["created_at"]),
            )
            for r in found
        ],
        empty="No rollouts yet. Start one: edgepress rollout create RELEASE --all",
    )


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@click.option("--watch", is_flag=True, help="Stay and show the progress until it ends.")
@server_options
def status(name: str, watch: bool, url: str, token: str | None, as_json: bool) -> None:
    """Show where ROLLOUT stands, device by device."""
    client = api(url, token)
    if watch and not as_json:
        _watch(client, name, quiet=False)
        return
    found = client.get(f"/rollouts/{name}")
    if as_json:
        emit_json(found)
        return
    click.echo(_sentence(found))
    output.show(_devices(found))


def _sentence(r: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in r["counts"].items() if count)
    said = r["reason"] or counts
    return f"{r['release']['model']}, release {r['release']['counter']}: {r['state']} ({said})"


def _devices(r: dict[str, Any]) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("DEVICE", "PROFILE", "STAGE", "STATE", "CHUNKS", "REASON"):
        grid.add_column(column)
    for d in r["devices"]:
        chunks = f"{d['chunks_have']}/{d['chunks_total']}" if d["chunks_total"] else ""
        grid.add_row(d["device"], d["profile"], d["stage"], d["state"], chunks, d["reason"])
    return grid


def _watch(client: Api, name: str, *, quiet: bool) -> None:
    """Until the rollout ends or pauses: a live table on a terminal, else the table once at the end."""
    found = client.get(f"/rollouts/{name}")
    with (
        Live(console=output.errors, refresh_per_second=4)
        if output.errors.is_terminal
        else nullcontext() as live
    ):
        while True:
            if live is not None and not quiet:
                live.update(_devices(found))
            if found["state"] in FINAL | {"paused"}:
                break
            time.sleep(POLL_SECONDS)
            found = client.get(f"/rollouts/{name}")
    if not quiet:
        if not output.errors.is_terminal:
            output.show(_devices(found))
        click.echo(_sentence(found))


def _act(name: str, verb: str, url: str, token: str | None, as_json: bool) -> None:
    found = api(url, token).post(f"/rollouts/{name}/{verb}")
    if as_json:
        emit_json(found)
    else:
        click.echo(_sentence(found))


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@server_options
def pause(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Pause ROLLOUT: devices that have begun finish, no other begins."""
    _act(name, "pause", url, token, as_json)


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@server_options
def resume(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Resume ROLLOUT where it was paused."""
    _act(name, "resume", url, token, as_json)


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@server_options
def abort(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Abort ROLLOUT: devices that have not committed go back to what they were told before."""
    _act(name, "abort", url, token, as_json)
