"""``edgepress alert``: what is wrong now, who sees to it, and what was."""

from typing import Any

import click

from .alert_channel import channel
from .alert_rule import at, rule, rules
from .alert_silence import silence
from .output import ago, api, emit_json, server_options, table


@click.group()
def alert() -> None:
    """See what is wrong, see to it, say who is told."""


@alert.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@click.option("--severity", type=click.Choice(["info", "warning", "critical"]))
@click.option("--rule", "rule_name", metavar="RULE", help="Only of this rule.")
@click.option("--device", help="Only those that this device fires in, or did.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@server_options
def list_(
    everything: bool,
    severity: str | None,
    rule_name: str | None,
    device: str | None,
    limit: int,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """List the alerts that fire."""
    found = api(url, token).get(
        "/alerts",
        state="all" if everything else "firing",
        severity=severity,
        rule=rule_name,
        device=device,
        limit=limit,
    )
    if as_json:
        emit_json(found)
        return
    table(
        ("ALERT", "SEVERITY", "STATE", "WHAT", "SINCE"),
        [(a["id"], a["severity"], _state(a), a["sentence"], ago(a["since"])) for a in found["alerts"]],
        empty="Nothing fires. `edgepress alert rules` shows what is watched.",
    )
    if found["total"] > len(found["alerts"]):
        click.echo(f"{found['total'] - len(found['alerts'])} more; use --limit or a filter.")


def _state(found: dict[str, Any]) -> str:
    said = str(found["state"])
    if found["state"] == "firing" and found["acknowledged_by"]:
        said = f"{found['acknowledged_by']} sees to it"
    also = [name for name in ("silenced", "flapping") if found[name] and found["state"] == "firing"]
    return ", ".join([said, *also])


@alert.command()
@click.argument("name", metavar="ALERT")
@server_options
def show(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Show ALERT: its devices, its story, who was told, and where to read what to do."""
    found = api(url, token).get(f"/alerts/{name}")
    if as_json:
        emit_json(found)
        return
    click.echo(f"{found['title']} ({found['severity']}), {_state(found)}")
    click.echo(f"{found['sentence']}.")
    if found["acknowledged_note"]:
        click.echo(f"{found['acknowledged_by']}: {found['acknowledged_note']}")
    table(
        ("DEVICE", "STATE", "WHAT", "SINCE"),
        [
            (m["device"] or m["subject"], m["state"], m["sentence"], ago(m["began_at"]))
            for m in found["members"]
        ],
        empty="",
    )
    for line in reversed(found["timeline"]):
        click.echo(f"  {at(line['at'])}  {line['what']:<14} {_line(line)}")
    for notice in found["notices"]:
        click.echo(f"Told: {notice['what']} over {notice['channel']}, {notice['state']}. {notice['answer']}")
    runbook = found["runbook"]
    click.echo(f"What to do: {runbook if runbook.startswith('http') else url.rstrip('/') + runbook}")


def _line(line: dict[str, Any]) -> str:
    subject = line["subject"].removeprefix("device:").rstrip(":")
    who = f" ({line['actor']})" if line["actor"] else ""
    return (f"{subject}: {line['sentence']}" if subject else str(line["sentence"])) + who


@alert.command()
@click.option("--alert", "name", metavar="ALERT", help="Only of this alert.")
@click.option("--rule", "rule_name", metavar="RULE", help="Only of this rule.")
@click.option("--device", help="Only of this device.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@server_options
def history(
    name: str | None,
    rule_name: str | None,
    device: str | None,
    limit: int,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Show what fired, resolved and was decided, newest first, with the values that decided."""
    subject = None if device is None else f"device:{device}"
    found = api(url, token).get("/alert-history", alert=name, rule=rule_name, subject=subject, limit=limit)
    if as_json:
        emit_json(found)
        return
    table(
        ("TIME", "RULE", "WHAT", "SENTENCE"),
        [(at(t["at"]), t["rule"], t["what"], _line(t)) for t in found["transitions"]],
        empty="Nothing has happened yet.",
    )


@alert.command()
@click.argument("name", metavar="ALERT")
@click.option("--note", default="", help="What you are doing about it.")
@click.option("--undo", is_flag=True, help="Nobody sees to it any more.")
@server_options
def ack(name: str, note: str, undo: bool, url: str, token: str | None, as_json: bool) -> None:
    """See to ALERT: nobody is told again until it is over."""
    client = api(url, token)
    if undo:
        found = client.post(f"/alerts/{name}/unacknowledge")
    else:
        found = client.post(f"/alerts/{name}/acknowledge", {"note": note})
    if as_json:
        emit_json(found)
    else:
        click.echo("Nobody sees to it now." if undo else "Everybody sees that you see to it.")


@alert.command()
@click.argument("name", metavar="PAGE", required=False)
@server_options
def runbook(name: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Show what an alert means, how to look and what to do; without PAGE list the pages."""
    client = api(url, token)
    found = client.get("/runbooks" if name is None else f"/runbooks/{name}")
    if as_json:
        emit_json(found)
    elif name is None:
        table(("PAGE", "ABOUT"), [(page["name"], page["title"]) for page in found], empty="")
    else:
        click.echo(found["text"].rstrip())


for command in (rules, rule, silence, channel):
    alert.add_command(command)
