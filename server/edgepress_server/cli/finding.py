"""``edgepress finding``: budgets that devices miss, and what to do about them."""

import time
from typing import Any

import click

from .output import ago, api, emit_json, server_options, table


@click.group()
def finding() -> None:
    """See which budgets devices miss, why, and what became of it."""


@finding.command("list")
@click.option("--model", help="Only of this model.")
@click.option("--profile", help="Only of this profile.")
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@server_options
def list_(
    model: str | None, profile: str | None, everything: bool, url: str, token: str | None, as_json: bool
) -> None:
    """List the findings that are not over."""
    asked = {"model": model, "profile": profile, "over": "true" if everything else "false"}
    found = api(url, token).get("/findings", **{name: v for name, v in asked.items() if v is not None})
    if as_json:
        emit_json(found)
        return
    table(
        ("FINDING", "STATE", "WHAT", "SINCE"),
        [(f["id"], f["state"], f["sentence"], ago(f["since"])) for f in found],
        empty="Nothing misses its budget. `edgepress budget list` shows what is watched.",
    )


@finding.command()
@click.argument("name", metavar="FINDING")
@server_options
def show(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Show FINDING with its story."""
    found = api(url, token).get(f"/findings/{name}")
    if as_json:
        emit_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    click.echo(f"{found['sentence']}.")
    click.echo(f"State: {found['state']}. {found['message']}".rstrip())
    for step in found["steps"]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(step["at"] / 1000))
        click.echo(f"  {at}  {step['what']:<14} {step['sentence']}")
    if found["state"] == "proposed":
        click.echo(f"Next: edgepress finding accept {found['id']}")


@finding.command()
@click.argument("name", metavar="FINDING")
@click.option("--search-only", is_flag=True, help="Ask again before what the search finds is released.")
@server_options
def accept(name: str, search_only: bool, url: str, token: str | None, as_json: bool) -> None:
    """Do what FINDING proposes: calibrate, search, release and roll out; or try again now."""
    found = api(url, token).post(f"/findings/{name}/accept", {"release": not search_only})
    if as_json:
        emit_json(found)
    else:
        click.echo(f"Accepted. Watch it: edgepress finding show {name}")


@finding.command()
@click.argument("name", metavar="FINDING")
@server_options
def dismiss(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Leave FINDING as it is: nothing more is done or found about this artifact."""
    found = api(url, token).post(f"/findings/{name}/dismiss")
    if as_json:
        emit_json(found)
    else:
        click.echo("Dismissed. It is found again only for another artifact.")
