"""``edgepress device``: register, list, show, label, revoke."""

import re
import time
from typing import Any

import click

from . import output
from .output import ago, api, emit_json, facts, micros, server_options, size, table


@click.group()
def device() -> None:
    """Register devices and look after them."""


@device.command()
@click.argument("name")
@click.option("--profile", required=True, help="Device profile; see `edgepress profile list`.")
@click.option(
    "--label", "pairs", multiple=True, metavar="KEY=VALUE", help="Label; may be given several times."
)
@server_options
def register(
    name: str, profile: str, pairs: tuple[str, ...], url: str, token: str | None, as_json: bool
) -> None:
    """Register device NAME and print its single-use enrolment code."""
    body = {"name": name, "profile": profile, "labels": output.labels(pairs)}
    answer = api(url, token).post("/devices", body)
    _print_code(answer, as_json, "Registered")


@device.command()
@click.argument("name")
@server_options
def code(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Print a new enrolment code for NAME (a re-flashed board, an expired code)."""
    _print_code(api(url, token).post(f"/devices/{name}/code"), as_json, "A new code for")


def _print_code(answer: dict[str, Any], as_json: bool, done: str) -> None:
    if as_json:
        emit_json(answer)
        return
    import segno

    minutes = max(1, round((answer["expires_at"] / 1000 - time.time()) / 60))
    click.echo(f"{done} {answer['device']['name']} ({answer['device']['profile']}). On the device, run:\n")
    click.echo(f"    edgepress-agent enroll '{answer['enrol_url']}'\n")
    said = f"The code {answer['code']} works once and expires in {_duration(minutes)}."
    if output.console.is_terminal:
        click.echo(f"{said} As a QR code:\n")
        segno.make(answer["enrol_url"], micro=False).terminal(compact=True)
    else:
        click.echo(said)


def _duration(minutes: int) -> str:
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"


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
                d["status"],
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
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def revoke(name: str, yes: bool, url: str, token: str | None, as_json: bool) -> None:
    """Take away NAME's credentials; it is disconnected and must be enrolled anew."""
    if not yes:
        click.confirm(f"Revoke {name}? It stops reporting until it is enrolled again", abort=True)
    d = api(url, token).delete(f"/devices/{name}")
    if as_json:
        emit_json(d)
    else:
        click.echo(f"{name} is revoked. To enrol it again: edgepress device code {name}")
