"""``edgepress alert channel``: whom alerts are told."""

import sys
from typing import Any

import click

from .output import ago, api, emit_json, server_options, table

_severity = click.option(
    "--least-severity",
    type=click.Choice(["info", "warning", "critical"]),
    default="info",
    show_default=True,
    help="Tell what is at least this severe.",
)
_secret = click.option(
    "--secret-stdin",
    is_flag=True,
    help="Read the signing key or password from standard input: no list of processes shows it.",
)


@click.group()
def channel() -> None:
    """Say whom alerts are told: webhooks, mail, MQTT. In the web UI they always are."""


@channel.command("list")
@server_options
def list_(url: str, token: str | None, as_json: bool) -> None:
    """List the channels and whether their receivers take what is sent."""
    found = api(url, token).get("/alert-channels")
    if as_json:
        emit_json(found)
        return
    table(
        ("CHANNEL", "KIND", "", "FROM", ">WAITING", "LAST TAKEN", "TROUBLE"),
        [
            (
                c["name"],
                c["kind"],
                "on" if c["enabled"] else "off",
                c["least_severity"],
                c["waiting"],
                ago(c["sent_at"]),
                c["failure"] or None,
            )
            for c in found
        ],
        empty="Alerts are seen in the web UI only. Add a channel: edgepress alert channel webhook NAME URL",
    )


@channel.command()
@click.argument("name", metavar="NAME")
@click.argument("address", metavar="URL")
@click.option(
    "--template", type=click.Choice(["edgepress", "slack", "teams"]), default="edgepress", show_default=True
)
@click.option("--allow-private", is_flag=True, help="URL may be of this machine or a private network.")
@_severity
@_secret
@server_options
def webhook(
    name: str,
    address: str,
    template: str,
    allow_private: bool,
    least_severity: str,
    secret_stdin: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """POST alerts to URL, signed with the secret."""
    options = {"url": address, "template": template, "allow_private": allow_private}
    _put(name, "webhook", options, least_severity, secret_stdin, url, token, as_json)


@channel.command()
@click.argument("name", metavar="NAME")
@click.argument("to", nargs=-1, required=True, metavar="ADDRESS...")
@click.option("--host", default="", help="The mail server; without it the server's EDGEPRESS_SMTP_HOST.")
@click.option("--port", type=click.IntRange(1, 65535), help="587 for starttls, 465 for tls, 25 for none.")
@click.option(
    "--security", type=click.Choice(["starttls", "tls", "none"]), default="starttls", show_default=True
)
@click.option("--username", default="", help="At the mail server.")
@click.option("--from", "sender", default="", metavar="ADDRESS", help="The sender.")
@_severity
@_secret
@server_options
def email(
    name: str,
    to: tuple[str, ...],
    host: str,
    port: int | None,
    security: str,
    username: str,
    sender: str,
    least_severity: str,
    secret_stdin: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Mail alerts to each ADDRESS: one when they fire, one when they are over."""
    options = {
        "to": list(to),
        "host": host,
        "port": port,
        "security": security,
        "username": username,
        "from": sender,
    }
    _put(name, "email", options, least_severity, secret_stdin, url, token, as_json)


@channel.command()
@click.argument("name", metavar="NAME")
@click.option("--host", default="", help="Another broker; without it the one that the server uses.")
@click.option("--port", type=click.IntRange(1, 65535))
@click.option("--username", default="", help="At that broker.")
@click.option("--tls", is_flag=True, help="Speak TLS with it.")
@click.option("--prefix", default="ep/1/alerts", show_default=True, help="Topics are PREFIX/SEVERITY/RULE.")
@_severity
@_secret
@server_options
def mqtt(
    name: str,
    host: str,
    port: int | None,
    username: str,
    tls: bool,
    prefix: str,
    least_severity: str,
    secret_stdin: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Keep a retained message for each rule on a broker, for home automation."""
    options = {"host": host, "port": port, "username": username, "tls": tls, "prefix": prefix}
    _put(name, "mqtt", options, least_severity, secret_stdin, url, token, as_json)


def _put(
    name: str,
    kind: str,
    options: dict[str, Any],
    least_severity: str,
    secret_stdin: bool,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    secret = sys.stdin.readline().strip() if secret_stdin else None
    body = {"kind": kind, "least_severity": least_severity, "options": options, "secret": secret or None}
    made = api(url, token).put(f"/alert-channels/{name}", body)
    if as_json:
        emit_json(made)
    else:
        click.echo(
            f"{name} is told from {made['least_severity']} on. Try it: edgepress alert channel test {name}"
        )


@channel.command()
@click.argument("name", metavar="NAME")
@server_options
def test(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Send a real message over the channel NAME, which says that it is a test, and show the answer."""
    found = api(url, token).post(f"/alert-channels/{name}/test")
    if as_json:
        emit_json(found)
    elif found["ok"]:
        click.echo(f"Taken in {found['took_ms']} ms: {found['answer']}")
    else:
        raise click.ClickException(f"{name} did not take it: {found['answer']}")


@channel.command()
@click.argument("name", metavar="NAME")
@server_options
def remove(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Remove the channel NAME; what waits for it is not sent."""
    api(url, token).delete(f"/alert-channels/{name}")
    if as_json:
        emit_json({"removed": name})
    else:
        click.echo(f"{name} is removed.")
