"""``edgepress person``: who may use the server, and as what."""

import sys
from typing import Any

import click

from .output import ago, api, emit_json, server_options, table

ROLE = click.Choice(["viewer", "operator", "admin"])


@click.group()
def person() -> None:
    """Add and remove people, and say what they may do.

    viewer: looks. operator: also registers devices, compresses, releases and rolls out. admin: also people,
    keys and settings.
    """


@person.command()
@click.argument("name")
@click.option("--role", type=ROLE, default="viewer", show_default=True)
@click.option("--ask", is_flag=True, help="Ask for the password (or read it from a pipe).")
@server_options
def add(name: str, role: str, ask: bool, url: str, token: str | None, as_json: bool) -> None:
    """Add NAME; a random password is made and printed once, unless --ask is given."""
    password = asked_password() if ask else None
    made = api(url, token).post("/people", {"name": name, "role": role, "password": password})
    _tell(made, as_json)


@person.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List everybody."""
    found = api(url, token).get("/people")
    if as_json:
        emit_json(found)
        return
    table(
        ("NAME", "ROLE", "ADDED", "SIGNED IN", ">TOKENS"),
        [(p["name"], p["role"], ago(p["created_at"]), ago(p["signed_in_at"]), p["tokens"]) for p in found],
        empty="Nobody yet.",
    )


@person.command()
@click.argument("name")
@click.argument("role", type=ROLE)
@server_options
def role(name: str, role: str, url: str, token: str | None, as_json: bool) -> None:
    """Give NAME another ROLE, at once; the last admin stays one."""
    changed = api(url, token).patch(f"/people/{name}", {"role": role})
    if as_json:
        emit_json(changed)
    else:
        click.echo(f"{changed['name']} is {changed['role']} now.")


@person.command()
@click.argument("name")
@click.option("--ask", is_flag=True, help="Ask for the password (or read it from a pipe).")
@server_options
def password(name: str, ask: bool, url: str, token: str | None, as_json: bool) -> None:
    """Give NAME another password; their browser sessions end.

    When no admin can sign in any more: `edgepress password`, on the server's machine.
    """
    chosen = asked_password() if ask else None
    _tell(api(url, token).put(f"/people/{name}/password", {"password": chosen}), as_json)


@person.command()
@click.argument("name")
@server_options
def remove(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Remove NAME; their sessions and tokens end at once. The last admin stays."""
    api(url, token).delete(f"/people/{name}")
    if as_json:
        emit_json({"name": name, "removed": True})
    else:
        click.echo(f"{name} is removed; their sessions and tokens have ended.")


def asked_password() -> str:
    if sys.stdin.isatty():
        answer: str = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
        return answer
    return sys.stdin.readline().rstrip("\n")


def _tell(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(made)
    elif made["password"] is None:
        click.echo(f"{made['name']} ({made['role']}) signs in with the password given.")
    else:
        click.echo(f"{made['name']} ({made['role']}) signs in with\n    password: {made['password']}")
        click.echo("It is shown only now.", err=True)
