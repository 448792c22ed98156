"""``edgepress device``: register, list, show, label, revoke."""

import re
import time
from pathlib import Path
from typing import Any

import click

from . import output
from .device_bulk import draw_qr_codes, register_csv
from .durations import Duration, in_words
from .output import ago, api, emit_json, facts, micros, server_options, size, table

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def device() -> None:
    """Register devices and look after them."""


EXPIRES = click.option(
    "--expires",
    "expires_in_s",
    type=Duration(60, 90 * 86_400),
    default="24h",
    show_default=True,
    help="How long a code works if it is not used: 30m, 24h, 7d, at most 90d.",
)


@device.command()
@click.argument("name", required=False)
@click.option("--profile", help="Device profile; see `edgepress profile list`.")
@click.option(
    "--label", "pairs", multiple=True, metavar="KEY=VALUE", help="Label; may be given several times."
)
@click.option(
    "--csv",
    "csv_file",
    type=FILE,
    help="Register many: columns name, profile, labels (KEY=VALUE;...), and one for each further label.",
)
@click.option("--out", type=FILE, help="With --csv: write the codes into this CSV file.")
@click.option("--qr-dir", type=FOLDER, help="Draw a QR code for each device into this folder (NAME.svg).")
@click.option(
    "--replace", is_flag=True, help="Names that exist get a new code (boards that were re-flashed)."
)
@EXPIRES
@server_options
def register(
    name: str | None,
    profile: str | None,
    pairs: tuple[str, ...],
    csv_file: Path | None,
    out: Path | None,
    qr_dir: Path | None,
    replace: bool,
    expires_in_s: int,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Register device NAME, or all of a CSV file, and print single-use enrolment codes."""
    if csv_file is not None:
        if name is not None or profile is not None or pairs:
            raise click.UsageError("--csv has names, profiles and labels in it: give none of them beside it")
        register_csv(
            api(url, token),
            csv_file,
            expires_in_s=expires_in_s,
            replace=replace,
            out=out,
            qr_dir=qr_dir,
            as_json=as_json,
        )
        return
    if name is None or profile is None:
        raise click.UsageError("give NAME and --profile, or --csv FILE for many")
    if out is not None:
        raise click.UsageError("--out goes with --csv")
    body = {
        "name": name,
        "profile": profile,
        "labels": output.labels(pairs),
        "expires_in_s": expires_in_s,
        "replace": replace,
    }
    answer = api(url, token).post("/devices", body)
    if qr_dir is not None:
        draw_qr_codes(qr_dir, [{"device": name, "enrol_url": answer["enrol_url"]}])
    _print_code(answer, as_json, "Registered")


@device.command()
@click.argument("name")
@click.option("--cancel", is_flag=True, help="Take the open code back instead.")
@EXPIRES
@server_options
def code(name: str, cancel: bool, expires_in_s: int, url: str, token: str | None, as_json: bool) -> None:
    """Print a new enrolment code for NAME (a re-flashed board, an expired code)."""
    client = api(url, token)
    if cancel:
        client.delete(f"/devices/{name}/code")
        if as_json:
            emit_json({"device": name, "cancelled": True})
        else:
            click.echo(f"The open code of {name} does not work any more.")
        return
    _print_code(client.post(f"/devices/{name}/code", expires_in_s=expires_in_s), as_json, "A new code for")


@device.command()
@server_options
def codes(url: str, token: str | None, as_json: bool) -> None:
    """List enrolment codes that still work (without the codes: they are shown once)."""
    found = api(url, token).get("/enrolment-codes")
    if as_json:
        emit_json(found)
        return
    now_ms = time.time() * 1000
    table(
        ("DEVICE", "PROFILE", "MADE", "BY", ">WORKS FOR"),
        [
            (
                c["device"],
                c["profile"],
                ago(c["created_at"]),
                c["actor"],
                in_words((c["expires_at"] - now_ms) / 1000),
            )
            for c in found
        ],
        empty="No code is open. Make one: edgepress device code NAME",
    )


def _print_code(answer: dict[str, Any], as_json: bool, done: str) -> None:
    if as_json:
        emit_json(answer)
        return
    import segno

    click.echo(f"{done} {answer['device']['name']} ({answer['device']['profile']}). On the device, run:\n")
    click.echo(f"    edgepress-agent enroll '{answer['enrol_url']}'\n")
    left = in_words(answer["expires_at"] / 1000 - time.time())
    said = f"The code {answer['code']} works once and expires in {left}."
    if output.console.is_terminal:
        click.echo(f"{said} As a QR code:\n")
        segno.make(answer["enrol_url"], micro=False).terminal(compact=True)
    else:
        click.echo(said)


@device.command("list")
@click.option("--label", "pairs", multiple=True, metavar="KEY=VALUE", help="Only devices with this label.")
@click.option("--profile", help="Only devices of this profile.")
@server_options
def list_(pairs: tuple[str, ...], profile: str | None, url: str, token: str | None, as_json: bool) -> None:
    """List the devices with what they run."""
    wanted = output.labels(pairs).items()
    found = [
        d
        for d in api(url, token).get("/devices")
        if wanted <= d["labels"].items() and profile in (None, d["profile"])
    ]
    if as_json:
        emit_json(found)
        return
    table(
        ("NAME", "PROFILE", "STATUS", "SEEN", "RUNNING", ">P95", ">MEMORY", "LABELS"),
        [
            (
                d["name"],
                d["profile"],
                d["status"] + (", cloned" if d["cloned_at"] else ""),
                ago(_seen_ms(d)),
                _running(d),
                micros((d["latest"] or {}).get("p95_us")),
                size((d["latest"] or {}).get("rss_bytes")),
                " ".join(f"{k}={v}" for k, v in d["labels"].items()),
            )
            for d in found
        ],
        empty="No device fits; `edgepress device list` shows all."
        if pairs or profile
        else "No devices yet. Register one: edgepress device register NAME --profile raspberry-pi-4",
    )


def _seen_ms(d: dict[str, Any]) -> int | None:
    """A device is seen by what it reports: state when that changes, samples all the time."""
    sampled = d["latest"]["at_ms"] if d["latest"] else 0
    return max(d["seen_at"] or 0, min(sampled, int(time.time() * 1000))) or None


def _day(at_ms: int | None) -> str | None:
    return None if at_ms is None else time.strftime("%Y-%m-%d", time.localtime(at_ms / 1000))


def _cloned(d: dict[str, Any]) -> str | None:
    if d["cloned_at"] is None:
        return None
    return (
        f"two boards use this identity (last seen {ago(d['cloned_at'])}): a copied SD card? Register the "
        f"other one under a name of its own, then enrol this one again: edgepress device code {d['name']}"
    )


def _running(d: dict[str, Any]) -> str | None:
    running = d["running"]
    return None if running is None else f"{running['model']} ({running['recipe']}) {running['digest'][:12]}"


@device.command()
@click.argument("name")
@server_options
def show(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Show one device: hardware, job, what it runs, its newest telemetry."""
    d = api(url, token).get(f"/devices/{name}")
    if as_json:
        emit_json(d)
        return
    hardware, latest = d["hardware"] or {}, d["latest"] or {}
    power = latest.get("power_mw")
    facts(
        [
            ("name", d["name"]),
            ("profile", d["profile"]),
            ("status", f"{d['status']}" + (f", seen {ago(_seen_ms(d))}" if _seen_ms(d) else "")),
            ("warning", _cloned(d)),
            ("certificate until", _day(d["certificate_expires_at"])),
            ("labels", " ".join(f"{k}={v}" for k, v in d["labels"].items()) or None),
            ("agent", d["agent_version"]),
            ("board", hardware.get("board")),
            ("machine", " ".join(str(hardware[k]) for k in ("machine", "system") if hardware.get(k)) or None),
            ("cores", hardware.get("cores")),
            ("memory of the board", size(hardware.get("ram_bytes"))),
            ("job", d["step"] + (f": {d['reason']}" if d["reason"] else "")),
            ("running", _running(d)),
            ("fetching", f"{d['chunks_have']} of {d['chunks_total']} chunks" if d["chunks_total"] else None),
            (
                "latency p50 / p95",
                f"{micros(latest['p50_us'])} / {micros(latest['p95_us'])}" if latest.get("p95_us") else None,
            ),
            ("memory of the agent", size(latest.get("rss_bytes"))),
            ("temperature", f"{latest['temp_c']:.1f} C" if latest.get("temp_c") is not None else None),
            ("power", f"{power['value']:.0f} mW ({power['method']}, {power['scope']})" if power else None),
        ]
    )


@device.command()
@click.argument("name")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE|KEY- ...")
@server_options
def label(name: str, pairs: tuple[str, ...], url: str, token: str | None, as_json: bool) -> None:
    """Set labels (KEY=VALUE) or remove them (KEY-)."""
    client = api(url, token)
    current = dict(client.get(f"/devices/{name}")["labels"])
    for pair in pairs:
        if re.fullmatch(r"[^=]+-", pair):
            current.pop(pair[:-1], None)
        else:
            current.update(output.labels((pair,)))
    d = client.patch(f"/devices/{name}", {"labels": current})
    if as_json:
        emit_json(d)
    else:
        click.echo(f"{name}: " + (" ".join(f"{k}={v}" for k, v in d["labels"].items()) or "no labels"))


@device.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--label", "pairs", multiple=True, metavar="KEY=VALUE", help="Revoke all with these labels.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def revoke(
    names: tuple[str, ...], pairs: tuple[str, ...], yes: bool, url: str, token: str | None, as_json: bool
) -> None:
    """Take away credentials: the devices are disconnected at once and must be enrolled anew."""
    client = api(url, token)
    if bool(names) == bool(pairs):
        raise click.UsageError("give names, or --label for all devices that have it")
    if pairs:
        wanted = output.labels(pairs).items()
        names = tuple(
            d["name"]
            for d in client.get("/devices")
            if wanted <= d["labels"].items() and d["status"] != "revoked"
        )
        if not names:
            raise click.ClickException("no device has these labels; `edgepress device list` shows them all")
    whom = (
        names[0]
        if len(names) == 1
        else f"{len(names)} devices ({', '.join(names[:5])}{', ...' * (len(names) > 5)})"
    )
    if not yes:
        click.confirm(
            f"Revoke {whom}? What is revoked stops reporting until it is enrolled again", abort=True
        )
    if len(names) == 1:
        answer = client.delete(f"/devices/{names[0]}")
    else:
        answer = client.post("/devices/revoke", {"names": list(names)})
    if as_json:
        emit_json(answer)
    elif len(names) == 1:
        click.echo(f"{whom} is revoked. To enrol it again: edgepress device code {whom}")
    else:
        click.echo(f"{len(names)} devices are revoked. To enrol one again: edgepress device code NAME")
