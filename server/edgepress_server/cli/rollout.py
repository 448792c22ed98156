"""``edgepress rollout``: bring a release to devices, watch it, stop it, take it back."""

import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import click
from rich.live import Live
from rich.table import Table

from . import output
from .client import Api
from .output import ago, api, emit_json, server_options, size, table
from .rollout_policy import policy_options, read_options

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
@click.option("--group", "groups", multiple=True, help="All devices of this group; see `edgepress group`.")
@click.option(
    "--query", help="All devices that fit: 'profile = raspberry-pi-4 and (site = \"hall 3\" or not test)'."
)
@click.option("--all", "everything", is_flag=True, help="Every device the release has an artifact for.")
@policy_options
@click.option("--dry-run", is_flag=True, help="Say what it would do, to whom and when; do nothing.")
@click.option("--watch", is_flag=True, help="Stay and show the progress.")
@server_options
def create(
    release: str,
    devices: tuple[str, ...],
    profiles: tuple[str, ...],
    pairs: tuple[str, ...],
    groups: tuple[str, ...],
    query: str | None,
    everything: bool,
    dry_run: bool,
    watch: bool,
    url: str,
    token: str | None,
    as_json: bool,
    **policy: Any,
) -> None:
    """Start rolling RELEASE out.

    Profiles, labels, groups and query together: devices that all of these fit. docs/rollouts.md says what a
    policy can hold.
    """
    chosen = bool(profiles or pairs or groups or query)
    if not (devices or chosen or everything):
        raise click.UsageError("say which devices: --device, --profile, --label, --group, --query or --all")
    if (devices and chosen) or (everything and (devices or chosen)):
        raise click.UsageError("say it in one way: --device, or --all, or the others")
    body: dict[str, Any] = {"release": release, "policy": read_options(policy)}
    body |= {"devices": list(devices)} if devices else {}
    body |= {"profiles": list(profiles)} if profiles else {}
    body |= {"labels": output.labels(pairs)} if pairs else {}
    body |= {"groups": list(groups)} if groups else {}
    body |= {"query": query} if query else {}
    client = api(url, token)
    if dry_run:
        plan = client.post("/rollouts/plan", body)
        emit_json(plan) if as_json else _show_plan(plan)
        return
    made = client.post("/rollouts", body)
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


def _show_plan(plan: dict[str, Any]) -> None:
    waves = max((len(p["waves"]) for p in plan["profiles"]), default=2) - 1
    columns = ["PROFILE", ">DEVICES", ">ONLINE", ">CANARIES"]
    columns += [">WAVE" if waves == 1 else f">WAVE {n}" for n in range(1, waves + 1)]
    table(
        (*columns, ">ARTIFACT", ">DELTAS"),
        [
            (p["profile"], p["devices"], p["online"], *p["waves"], size(p["bytes"]), p["deltas"])
            for p in plan["profiles"]
        ],
        empty="Nobody.",
    )
    click.echo(
        f"{plan['devices_total']} devices. The server sends {size(plan['server_bytes'])} once; devices fetch "
        f"{size(plan['device_bytes'])} together"
        + (
            f" ({size(plan['device_bytes_full'])} without deltas)."
            if plan["device_bytes"] < plan["device_bytes_full"]
            else "."
        )
    )
    for code, n in plan["left_out_total"].items():
        example = next(each for each in plan["left_out"] if each["code"] == code)
        click.echo(f"Left out: {n} ({code}). {example['reason']}")
    for sentence in plan["missing"]:
        click.echo(sentence)


@rollout.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List the rollouts, newest first."""
    found = api(url, token).get("/rollouts")
    if as_json:
        emit_json(found)
        return
    table(
        ("ROLLOUT", "MODEL", "STATE", ">COMMITTED", ">FAILED", "WHY", "STARTED"),
        [
            (
                r["id"],
                r["release"]["model"],
                _state(r),
                f"{r['counts']['committed']}/{sum(r['counts'].values())}",
                r["counts"]["failed"],
                r["reason"] or r["waiting"],
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
    """Show where ROLLOUT stands, device by device, and what it waits for."""
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


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@server_options
def log(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Show why ROLLOUT did what it did, every decision with its figures."""
    found = api(url, token).get(f"/rollouts/{name}/decisions")
    if as_json:
        emit_json(found)
        return
    table(
        ("WHEN (UTC)", "STAGE", "WHAT", "WHY", "WHO"),
        [
            (
                f"{datetime.fromtimestamp(each['at'] / 1000, UTC):%Y-%m-%d %H:%M:%S}",
                "canary" if each["wave"] == 0 else f"wave {each['wave']}",
                each["what"].replace("_", " "),
                each["why"],
                each["actor"] or "server",
            )
            for each in found
        ],
        empty="Nothing was decided yet.",
    )


def _state(r: dict[str, Any]) -> str:
    waves = len(r["policy"]["waves"])
    return f"ramp {r['wave']}/{waves}" if r["state"] == "ramp" and waves > 1 else r["state"].replace("_", " ")


def _sentence(r: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in r["counts"].items() if count)
    said = "; ".join(part for part in (r["reason"] or counts, r["waiting"]) if part)
    return f"{r['release']['model']}, release {r['release']['counter']}: {_state(r)} ({said})"


def _devices(r: dict[str, Any]) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("DEVICE", "PROFILE", "STAGE", "STATE", "CHUNKS", "REASON"):
        grid.add_column(column)
    many = len(r["policy"]["waves"]) > 1
    for d in r["devices"]:
        chunks = f"{d['chunks_have']}/{d['chunks_total']}" if d["chunks_total"] else ""
        stage = f"wave {d['wave']}" if many and d["wave"] else d["stage"]
        why = d["reason"] or d["waiting"] or ""
        grid.add_row(d["device"], d["profile"], stage, d["state"], chunks, why)
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


def _act(name: str, verb: str, url: str, token: str | None, as_json: bool, **query: Any) -> None:
    found = api(url, token).post(f"/rollouts/{name}/{verb}", **query)
    if as_json:
        emit_json(found)
    else:
        click.echo(_sentence(found))


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@click.option("--stage", help="canary, or the number of a wave; default: the next that waits for approval.")
@server_options
def approve(name: str, stage: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Let a stage of ROLLOUT begin that waits for a person's word."""
    if stage is not None and stage != "canary" and not stage.isdecimal():
        raise click.BadParameter("it is canary, or the number of a wave", param_hint="--stage")
    query = {} if stage is None else {"stage": 0 if stage == "canary" else int(stage)}
    _act(name, "approve", url, token, as_json, **query)


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@server_options
def pause(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Pause ROLLOUT: devices that have begun finish, no other begins."""
    _act(name, "pause", url, token, as_json)


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@click.option("--overrule", is_flag=True, help="The gates of this stage are not looked at any more.")
@server_options
def resume(name: str, overrule: bool, url: str, token: str | None, as_json: bool) -> None:
    """Resume ROLLOUT where it was paused; devices that failed get another try.

    Gates judge by figures from now on.
    """
    _act(name, "resume", url, token, as_json, **({"overrule": "true"} if overrule else {}))


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@server_options
def abort(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Abort ROLLOUT: devices that have not committed go back to what they were told before."""
    _act(name, "abort", url, token, as_json)


@rollout.command()
@click.argument("name", metavar="ROLLOUT")
@click.option("--reason", help="Why, for people.")
@server_options
def rollback(name: str, reason: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Roll ROLLOUT back, also one that is done: all its devices go back to what they ran before.

    Devices that committed go back by a rollout of their own, under a new release.
    """
    _act(name, "rollback", url, token, as_json, **({"reason": reason} if reason else {}))
