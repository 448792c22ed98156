"""``edgepress group``: named queries over devices."""

import click

from .output import ago, api, emit_json, server_options, table


@click.group()
def group() -> None:
    """Name devices by a query: 'site = "hall 3" and not label.test'. Evaluated whenever it is used."""


@group.command()
@click.argument("name")
@click.argument("query")
@click.option("--note", default="", help="What it is for.")
@server_options
def create(name: str, query: str, note: str, url: str, token: str | None, as_json: bool) -> None:
    """Make group NAME of the devices that QUERY fits, or change what it means.

    Fields: name, profile, status, online, running (a digest, 3f2a*), model, release, agent, board, system,
    machine, group, and every label. Operators: = != < <= > >= in (A, B); and, or, not, brackets; * stands for
    anything.
    """
    found = api(url, token).put(f"/groups/{name}", {"query": query, "note": note})
    if as_json:
        emit_json(found)
    else:
        click.echo(f"Group {name}: {found['devices_total']} devices now.")


@group.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List the groups."""
    found = api(url, token).get("/groups")
    if as_json:
        emit_json(found)
        return
    table(
        ("GROUP", ">DEVICES", "QUERY", "NOTE", "CHANGED"),
        [(g["name"], g["devices_total"], g["query"], g["note"], ago(g["updated_at"])) for g in found],
        empty="No groups yet. Make one: edgepress group create NAME 'profile = raspberry-pi-4'",
    )


@group.command()
@click.argument("name")
@server_options
def show(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Show group NAME and the devices that are in it now."""
    found = api(url, token).get(f"/groups/{name}")
    if as_json:
        emit_json(found)
        return
    click.echo(found["query"])
    click.echo("\n".join(found["devices"]) or "Nobody is in it now.")
    if found["devices_total"] > len(found["devices"]):
        click.echo(f"and {found['devices_total'] - len(found['devices'])} more")


@group.command()
@click.argument("query")
@server_options
def match(query: str, url: str, token: str | None, as_json: bool) -> None:
    """Say which devices QUERY fits, and keep nothing."""
    found = api(url, token).post("/groups/matches", {"query": query})
    if as_json:
        emit_json(found)
        return
    click.echo("\n".join(found["devices"]) or "Nobody fits.")
    if found["devices_total"] > len(found["devices"]):
        click.echo(f"and {found['devices_total'] - len(found['devices'])} more")


@group.command()
@click.argument("name")
@server_options
def delete(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Forget group NAME; its devices stay."""
    api(url, token).delete(f"/groups/{name}")
    if as_json:
        emit_json({"deleted": name})
    else:
        click.echo(f"Group {name} is gone.")
