"""``edgepress alert rules`` and ``edgepress alert rule``: what is watched."""

import json
import time
from typing import Any

import click

from .alert_options import Quantity, Seconds
from .output import api, emit_json, server_options, table

_KEPT = (  # what the server answers beside the rule itself
    "unit", "words", "shipped", "changed", "runbook_link", "firing", "updated_at", "actor", "name"
)  # fmt: skip


@click.command()
@server_options
def rules(url: str, token: str | None, as_json: bool) -> None:
    """List the rules: what is watched, and whether it is switched on."""
    found = api(url, token).get("/alert-rules")
    if as_json:
        emit_json(found)
        return
    table(
        ("RULE", "", "SEVERITY", ">FIRES", "WHAT"),
        [(r["name"], "on" if r["enabled"] else "off", r["severity"], r["firing"], r["words"]) for r in found],
        empty="There are no rules.",
    )


@click.group()
def rule() -> None:
    """Make rules, change them, and try what they would have done."""


@rule.command()
@click.argument("name", metavar="RULE")
@server_options
def show(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Show RULE as JSON, as `rule set --file` takes it."""
    found = api(url, token).get(f"/alert-rules/{name}")
    if as_json:
        emit_json(found)
        return
    click.echo(found["words"])
    emit_json({key: value for key, value in found.items() if key not in _KEPT})


@rule.command("set")
@click.argument("name", metavar="RULE")
@click.option("--file", type=click.File("r"), help="JSON of the whole rule; options below change it.")
@click.option("--kind", type=click.Choice(["threshold", "rate", "drift", "baseline", "absence", "server"]))
@click.option("--title", help="What people read.")
@click.option("--severity", type=click.Choice(["info", "warning", "critical"]))
@click.option("--metric", help="`edgepress telemetry query --help` says which there are; or restarts.")
@click.option("--aggregate", help="mean, min, max, sum, per_s, ratio; of histograms p50, p90, p95, p99.")
@click.option("--window", "window_s", type=Seconds(), help="Over which time: 5m, 6h.")
@click.option("--above", type=Quantity(), help="Fire above this: 80, 5%, 30ms, 500MB, 15m.")
@click.option("--below", type=Quantity(), help="Fire below this.")
@click.option("--resolve", "resolve_at", type=Quantity(), help="Resolve at this, on the other side.")
@click.option("--for", "for_s", type=Seconds(), help="How long, before it fires.")
@click.option("--resolve-for", "resolve_for_s", type=Seconds(), help="How long, before it resolves.")
@click.option("--least", type=click.IntRange(1), help="Samples below which nothing is said.")
@click.option("--against", type=click.Choice(["own", "profile", "predicted"]), help="For kind baseline.")
@click.option("--where", "query", help="Which devices, in the query language of rollouts.")
@click.option("--per", type=click.Choice(["device", "profile", "artifact", "fleet"]))
@click.option("--group-by", multiple=True, help="profile, artifact, model, label:KEY: what is one alert.")
@click.option("--channel", "channels", multiple=True, help="Only tell these; without it all.")
@click.option("--repeat", "repeat_s", type=Seconds(), help="Tell again after this time; 0m: never.")
@click.option("--runbook", help="A page of ours, or an address.")
@click.option("--note", help="For those who read it later.")
@server_options
def set_(name: str, file: Any, url: str, token: str | None, as_json: bool, **options: Any) -> None:
    """Make RULE, or change what the options name."""
    client = api(url, token)
    known = {r["name"]: r for r in client.get("/alert-rules")}
    body = _read(file) if file else {k: v for k, v in known.get(name, {}).items() if k not in _KEPT}
    body = {**body, **_changes(options, body)}
    body.setdefault("title", name)
    if "kind" not in body:
        raise click.UsageError(f"there is no rule {name} yet: say --kind and --metric, or give --file")
    if name in known:
        made = client.put(f"/alert-rules/{name}", body)
    else:
        made = client.post("/alert-rules", {"name": name, **body})
    if as_json:
        emit_json(made)
    else:
        click.echo(made["words"])
        click.echo(f"Try it: edgepress alert rule test {name}")


def _read(file: Any) -> dict[str, Any]:
    try:
        found = json.load(file)
    except (ValueError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file.name} is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise click.ClickException(f"{file.name} is to hold one rule, a JSON object")
    return {key: value for key, value in found.items() if key not in _KEPT}


def _changes(options: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in options.items() if value not in (None, ())}
    if "above" in given and "below" in given:
        raise click.UsageError("--above or --below, not both")
    for direction in ("above", "below"):
        if direction in given:
            given |= {"fire_at": given.pop(direction), "direction": direction}
            given.setdefault("resolve_at", None)
    if "against" in given:
        given["baseline"] = {**(old.get("baseline") or {}), "against": given.pop("against")}
        given.setdefault("kind", "baseline")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def at(unix_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ms / 1000))


@rule.command()
@click.argument("name", metavar="RULE")
@click.option("--hours", type=click.IntRange(1, 168), default=24, show_default=True)
@click.option("--file", type=click.File("r"), help="JSON of a rule that is not saved.")
@server_options
def test(name: str, hours: int, file: Any, url: str, token: str | None, as_json: bool) -> None:
    """Show what RULE would have done with what is stored."""
    client = api(url, token)
    if file is None:
        found = client.get(f"/alert-rules/{name}/test", hours=hours)
    else:
        found = client.post("/alert-rules/test", {"name": name, **_read(file)}, hours=hours)
    if as_json:
        emit_json(found)
        return
    click.echo(found["words"])
    table(
        ("FROM", "TO", "WHO", "WHAT"),
        [
            (
                at(f["from_ms"]),
                at(f["to_ms"]) if f["to_ms"] else "now",
                f["subject"].partition(":")[2],
                f["sentence"],
            )
            for f in found["firings"]
        ],
        empty="",
    )


@rule.command()
@click.argument("name", metavar="RULE")
@server_options
def enable(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Switch RULE on."""
    _switch(name, True, url, token, as_json)


@rule.command()
@click.argument("name", metavar="RULE")
@server_options
def disable(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Switch RULE off; that is remembered."""
    _switch(name, False, url, token, as_json)


def _switch(name: str, enabled: bool, url: str, token: str | None, as_json: bool) -> None:
    found = api(url, token).post(f"/alert-rules/{name}/enable", {"enabled": enabled})
    if as_json:
        emit_json(found)
    else:
        click.echo(f"{name} is {'on' if enabled else 'off'}.")


@rule.command()
@click.argument("name", metavar="RULE")
@server_options
def reset(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Set RULE back to what came with the server."""
    found = api(url, token).post(f"/alert-rules/{name}/reset")
    if as_json:
        emit_json(found)
    else:
        click.echo(found["words"])


@rule.command()
@click.argument("name", metavar="RULE")
@server_options
def remove(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Remove RULE; what fires by it is over."""
    api(url, token).delete(f"/alert-rules/{name}")
    if as_json:
        emit_json({"removed": name})
    else:
        click.echo(f"{name} is removed.")
