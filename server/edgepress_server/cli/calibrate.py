"""``edgepress profile calibrate`` and ``profile calibration``: figures that devices were found to sustain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from .calibrate_here import calibrate_this_machine
from .client import Api
from .compress import progress_bars
from .output import ago, api, emit_json, micros, percent, server_options, table

POLL_SECONDS = 0.5
FIT_SECONDS = 900  # a fit takes seconds; longer than this and no worker is there
OPEN = {"queued", "sent", "running"}


@click.command()
@click.argument("profile_id", metavar="ID")
@click.option(
    "--device", "devices", multiple=True, help="Ask this device; several make a sounder calibration."
)
@click.option(
    "--seconds",
    type=click.IntRange(5, 600),
    default=60,
    show_default=True,
    help="How long each device measures.",
)
@click.option("--detach", is_flag=True, help="Ask, and do not wait for the answers.")
@click.option("--here", is_flag=True, help="Measure this very machine, without a server.")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --here: the profile file to write, which stands on ID and holds the calibration.",
)
@server_options
def calibrate(
    profile_id: str,
    devices: tuple[str, ...],
    seconds: int,
    detach: bool,
    here: bool,
    out: Path | None,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Have devices of profile ID measure themselves, and fit the profile's figures to their times.

    Predictions for the profile rest on the calibration from then on, unless the one before predicts nets that
    were left out of both better.
    """
    if here:
        if devices or detach:
            raise click.UsageError("--here measures this machine; leave --device and --detach out")
        calibrate_this_machine(profile_id, seconds, out, as_json=as_json)
        return
    if not devices:
        raise click.UsageError("name devices with --device NAME, or measure this machine with --here")
    if out is not None:
        raise click.UsageError("-o belongs to --here; `edgepress profile show ID --server` shows the result")
    _ask_devices(api(url, token), profile_id, devices, seconds, detach=detach, as_json=as_json)


def _ask_devices(
    client: Api, profile_id: str, devices: tuple[str, ...], seconds: int, *, detach: bool, as_json: bool
) -> None:
    before = client.get(f"/profiles/{profile_id}/calibration")
    _check_devices(client, profile_id, devices)
    jobs = [
        client.post(f"/devices/{name}/profiling", {"what": "device", "seconds": seconds}) for name in devices
    ]
    if detach:
        if as_json:
            emit_json(jobs)
        else:
            asked = ", ".join(devices)
            click.echo(f"Asked {asked}. What comes of it: edgepress profile calibration {profile_id}")
        return
    try:
        jobs = _follow(client, jobs, quiet=as_json)
    except KeyboardInterrupt:
        raise click.ClickException(
            "not waiting any more; the devices go on measuring. `edgepress profile calibration "
            f"{profile_id}` shows what comes of it."
        ) from None
    done = [job for job in jobs if job["state"] == "done"]
    after = _wait_for_fit(client, profile_id) if done else before
    if as_json:
        emit_json({"jobs": jobs, "calibration": after})
    else:
        for job in jobs:
            if job["state"] != "done":
                click.echo(f"{job['device']}: {job['state']}. {job['message']}", err=True)
    if not done:
        raise click.ClickException("no device measured itself, so nothing was calibrated")
    if not as_json:
        _say_result(before, after)


def _check_devices(client: Api, profile_id: str, devices: tuple[str, ...]) -> None:
    for name in devices:
        found = client.get(f"/devices/{name}")
        if found["profile"] != profile_id:
            raise click.ClickException(
                f"{name} is a device of profile {found['profile']}; it tells nothing about {profile_id}. "
                f"`edgepress device list --profile {profile_id}` shows whose do."
            )


def _follow(client: Api, jobs: list[dict[str, Any]], *, quiet: bool) -> list[dict[str, Any]]:
    """Until every job has ended, with a bar for each on a terminal."""
    with progress_bars(quiet=quiet) as bars:
        tasks = {job["id"]: bars.add_task(job["device"], total=100, step="asked") for job in jobs}
        while True:
            jobs = [client.get(f"/profiling/{job['id']}") for job in jobs]
            for job in jobs:
                said = job["message"] or job["state"]
                bars.update(tasks[job["id"]], completed=job["percent"], step=said)
            if not any(job["state"] in OPEN for job in jobs):
                return jobs
            time.sleep(POLL_SECONDS)


def _wait_for_fit(client: Api, profile_id: str) -> dict[str, Any]:
    """What holds once every report was looked at. Raises ClickException when nobody fits."""
    until = time.monotonic() + FIT_SECONDS
    while time.monotonic() < until:
        found: dict[str, Any] = client.get(f"/profiles/{profile_id}/calibration")
        if not found["pending"]:
            return found
        time.sleep(POLL_SECONDS)
    raise click.ClickException(
        "the devices have measured, and the server does not fit. Is its worker running? `edgepress profile "
        f"calibration {profile_id}` shows the calibration once it is there."
    )


def _say_result(before: dict[str, Any], after: dict[str, Any]) -> None:
    fit = after["fit"]
    if fit is not None and fit["message"]:
        raise click.ClickException(f"the reports gave no calibration: {fit['message']}")
    newest = after["newest"]
    if newest is None:
        raise click.ClickException("the reports gave no calibration")
    if newest["state"] == "active":
        _say_kinds(newest, before["active"])
        click.echo()
    click.echo(newest["message"])  # below a table that is longer than a screen
    _say_rejected(newest)


def _say_rejected(found: dict[str, Any]) -> None:
    for one in found["rejected"]:
        click.echo(f"{one['device']} was left out: {one['reason']}", err=True)


def _say_kinds(active: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Kind by kind: at most by the datasheet, as it was calibrated before, as it is now."""
    old = {kind["kind"]: kind for kind in before["kinds"]} if before is not None else {}
    table(
        ("KIND", ">SHAPES", ">DATASHEET", ">BEFORE", ">NOW", ">DATASHEET", ">NOW", ">A CALL", ">ERROR"),
        [
            (
                kind["kind"],
                kind["samples"],
                _gops(kind["datasheet_operations_per_us"]) if kind["operations_per_us"] else None,
                _gops(old[kind["kind"]]["operations_per_us"]) if kind["kind"] in old else None,
                _gops(kind["operations_per_us"]),
                _gb_per_s(kind["datasheet_bytes_per_us"]),
                _gb_per_s(kind["bytes_per_us"]),
                micros(kind["overhead_us"]),
                None if kind["error"] is None else f"{100 * kind['error']:.0f} %",
            )
            for kind in active["kinds"]
        ],
        empty="",
    )


def _gops(operations_per_us: float | None) -> str | None:
    """1e6 operations a microsecond are 1e12 a second."""
    return None if operations_per_us is None else f"{operations_per_us / 1000:.1f} Gop/s"


def _gb_per_s(bytes_per_us: float) -> str:
    return f"{bytes_per_us / 1000:.3g} GB/s"


@click.command()
@click.argument("profile_id", metavar="ID")
@click.option("--history", is_flag=True, help="Every calibration that is kept, newest first.")
@click.option("--revert", is_flag=True, help="Go back to the calibration before, or to the datasheet.")
@server_options
def calibration(
    profile_id: str, history: bool, revert: bool, url: str, token: str | None, as_json: bool
) -> None:
    """Show what profile ID is calibrated to, its history, or go back to the one before."""
    client = api(url, token)
    if history and revert:
        raise click.UsageError("--history looks and --revert changes; give one of them")
    if history:
        _history(client, profile_id, as_json=as_json)
        return
    path = f"/profiles/{profile_id}/calibration"
    found = client.delete(path) if revert else client.get(path)
    if as_json:
        emit_json(found)
        return
    active = found["active"]
    if active is None:
        click.echo(f"{profile_id} is not calibrated: predictions rest on the datasheet (a factor of 2).")
    else:
        error = active["error"]
        click.echo(
            f"{profile_id}: calibrated {ago(active['at'])} on {', '.join(active['devices'])} "
            f"({active['runtime']}, {_threads(active['threads'])}).\n"
            f"On {error['n']} nets left out of the fit: median error {percent(error['model_median'])}, worst "
            f"{percent(error['model_worst'])}; of an operator {percent(error['operator_median'])}."
        )
        if found["stale"]:
            click.echo("The profile's figures were changed since, so it is not used until the new fit.")
        _say_rejected(active)
        _say_kinds(active, None)
    _say_fit(found)
    _say_errors(found)


def _say_fit(found: dict[str, Any]) -> None:
    fit = found["fit"]
    if fit is not None and fit["running"]:
        click.echo("It is being fitted to new reports now.")
    elif fit is not None and fit["message"]:
        click.echo(f"The last fit gave no calibration: {fit['message']}")


def _say_errors(found: dict[str, Any]) -> None:
    if found["errors"]:
        click.echo("\nPredicted and measured, of what ran in the last hour:")
        table(
            ("ARTIFACT", "MODEL", ">DEVICES", ">PREDICTED", ">MEASURED p50", ">ERROR", "RESTS ON"),
            [
                (
                    one["digest"][:12],
                    one["model"],
                    one["devices"],
                    micros(one["predicted_us"]),
                    micros(one["measured_p50_us"]),
                    f"{100 * one['error']:+.0f} %",
                    one["basis"],
                )
                for one in found["errors"]
            ],
            empty="",
        )


def _history(client: Api, profile_id: str, *, as_json: bool) -> None:
    found = client.get(f"/profiles/{profile_id}/calibrations")
    if as_json:
        emit_json(found)
        return
    table(
        ("NUMBER", "STATE", "WHEN", "DEVICES", ">ERROR BEFORE", ">ERROR", "WHAT CAME OF IT"),
        [
            (
                one["id"],
                one["state"],
                ago(one["at"]),
                ", ".join(one["devices"]),
                percent(one["error_before"]),
                percent(one["error"]["model_median"]),
                one["message"],
            )
            for one in found
        ],
        empty=f"No calibrations yet. Make one: edgepress profile calibrate {profile_id} --device NAME",
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
