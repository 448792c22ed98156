"""``edgepress login`` and ``token``: who may speak to the server."""

import time
from pathlib import Path
from typing import Any

import click

from .authority import fetch_authority, read_authority, save_authority
from .client import Api, ApiFailure, save_credentials
from .output import ago, api, emit_json, server_options, table
from .person import ROLE


@click.command()
@click.option(
    "--url",
    envvar="EDGEPRESS_URL",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="The server (EDGEPRESS_URL).",
)
@click.option("--name", prompt="Name", default="admin", show_default=True, help="Your name on the server.")
@click.option(
    "--password", prompt=True, hide_input=True, envvar="EDGEPRESS_PASSWORD", help="Asked for when not given."
)
@click.option(
    "--ca",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The server's own authority (pki/ca.pem of its data folder); kept for this address.",
)
@click.option("--fingerprint", help="Of that authority, as the server prints it; instead of --ca.")
def login(url: str, name: str, password: str, ca: Path | None, fingerprint: str | None) -> None:
    """Sign in and keep a token for this server (readable only by you)."""
    url = url.rstrip("/")
    pem = read_authority(ca) if ca is not None else None
    if fingerprint is not None:
        pem = fetch_authority(url, fingerprint)
    client = Api(url, None, pem)
    session = client.sign_in(name, password)
    made = session.post("/tokens", {"name": f"{name}'s command line"})
    if pem is not None:
        save_authority(url, pem)
    path = save_credentials(url, made["token"])
    click.echo(
        f"Signed in to {url} as {name}; the token is kept in {path}. "
        "Commands without --url go there from now on."
    )


@click.group()
def token() -> None:
    """Create and revoke API tokens."""


@token.command()
@click.argument("name")
@click.option("--role", type=ROLE, help="It may do no more than this.  [default: what you may do]")
@click.option(
    "--days", type=click.FloatRange(min=0.001, max=3650), help="It ends then.  [default: when it is revoked]"
)
@server_options
def create(
    name: str, role: str | None, days: float | None, url: str, token: str | None, as_json: bool
) -> None:
    """Create a token called NAME; it is shown once."""
    if not name.strip():
        raise click.BadParameter("a token needs a name that says who uses it", param_hint="NAME")
    made = api(url, token).post(
        "/tokens",
        {"name": name, "role": role, "expires_in_s": None if days is None else max(60, round(days * 86_400))},
    )
    if as_json:
        emit_json(made)
    else:
        click.echo(made["token"])
        click.echo("Keep it: it is not shown again. Use it as EDGEPRESS_TOKEN or --token.", err=True)


@token.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List the tokens (without their secrets)."""
    found = api(url, token).get("/tokens")
    if as_json:
        emit_json(found)
        return
    table(
        ("ID", "NAME", "PERSON", "ROLE", "MADE", "LAST USED", "STATE"),
        [
            (
                t["id"],
                t["name"],
                t["person"],
                t["role"],
                ago(t["created_at"]),
                ago(t["last_used_at"]),
                _state(t),
            )
            for t in found
        ],
        empty="No tokens yet. Make one: edgepress token create NAME",
    )


@token.command()
@click.argument("name", metavar="ID")
@server_options
def revoke(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Revoke the token with this ID (or name, when only one has it)."""
    client = api(url, token)
    valid = [
        t for t in client.get("/tokens") if _state(t).startswith("valid") and name in (t["id"], t["name"])
    ]
    if len(valid) != 1:
        said = f"{len(valid)} valid tokens are" if valid else "no valid token is"
        raise ApiFailure(f"{said} called {name!r}; take its ID from `edgepress token list`", "not_found")
    client.delete(f"/tokens/{valid[0]['id']}")
    if as_json:
        emit_json({"id": valid[0]["id"], "revoked": True})
    else:
        click.echo(f"Revoked {valid[0]['name']} ({valid[0]['id']}).")


def _state(token: dict[str, Any]) -> str:
    if token["revoked_at"]:
        return "revoked"
    if token["expires_at"] is None:
        return "valid"
    left_s = token["expires_at"] / 1000 - time.time()
    if left_s <= 0:
        return "expired"
    days = left_s / 86_400
    return f"valid for {days:.0f} d" if days >= 1 else f"valid for {left_s / 3600:.1f} h"
