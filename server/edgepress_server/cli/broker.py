"""``edgepress broker``: what an MQTT broker can do, and how an external one asks this server."""

from pathlib import Path
from typing import Any

import click

from .output import console, emit_json, json_option, table

STYLES = {"good": "green", "note": "", "warning": "yellow", "broken": "red", "unknown": ""}


@click.group()
def broker() -> None:
    """MQTT brokers: look at one, connect your own."""


@broker.command()
@click.argument("url")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="CA (PEM) to trust.")
@click.option("--username", help="The server's user at the broker.")
@click.option("--password", envvar="EDGEPRESS_MQTT_PASSWORD", help="Better as EDGEPRESS_MQTT_PASSWORD.")
@click.option("--device", "device_name", metavar="NAME", help="Also look at what this device reaches.")
@click.option(
    "--device-password", envvar="EDGEPRESS_DEVICE_PASSWORD", help="Better as EDGEPRESS_DEVICE_PASSWORD."
)
@json_option
def check(
    url: str,
    ca: Path | None,
    username: str | None,
    password: str | None,
    device_name: str | None,
    device_password: str | None,
    as_json: bool,
) -> None:
    """Find out with real messages what the broker at URL does, and what would break.

    URL is mqtt://host:port or mqtts://host:port. It takes about half a minute and leaves nothing behind.
    The exit code is 1 when something would break.

        edgepress broker check mqtts://broker.example.org:8883 --ca ca.pem --username edgepress_server
    """
    from edgepress_server.broker.check import Finding, run_checks
    from edgepress_server.broker.probe import read_target
    from edgepress_server.errors import ServerError

    try:
        target = read_target(url, ca=ca, username=username, password=password)
        device = (
            read_target(url, ca=ca, username=device_name, password=device_password) if device_name else None
        )
    except ServerError as error:
        raise click.ClickException(str(error)) from error
    found: list[Finding] = []
    for finding in run_checks(target, device):
        found.append(finding)
        if not as_json:
            _tell(finding)
    if as_json:
        emit_json([_row(finding) for finding in found])
    broken = [finding.check for finding in found if finding.level == "broken"]
    if not as_json:
        click.echo()
        click.echo(f"Would break: {', '.join(broken)}." if broken else "Nothing of it would break edgepress.")
    if broken:
        raise SystemExit(1)


@broker.command()
@click.option("--data", "data_dir", help="Data folder of the server.")
@json_option
def hook(data_dir: str | None, as_json: bool) -> None:
    """Show the addresses and the secret with which an external broker asks this server.

    To be run on the server's machine. docs/brokers.md has the configuration of each broker to paste.
    """
    from edgepress_server.broker.hook import QUESTIONS
    from edgepress_server.broker.hook_secret import hook_secret
    from edgepress_server.errors import ServerError
    from edgepress_server.settings import load_settings

    try:
        settings = load_settings({"data_dir": data_dir})
        secret = hook_secret(settings)
    except ServerError as error:
        raise click.ClickException(str(error)) from error
    addresses = {
        name: [f"{settings.url}/api/v1/broker/{name}/{question}" for question in questions]
        for name, questions in QUESTIONS.items()
    }
    if as_json:
        emit_json({"secret": secret, "header": "X-Edgepress-Hook", "addresses": addresses})
        return
    click.echo(f"Secret: {secret}")
    click.echo("In the header X-Edgepress-Hook, or appended to an address after a '/'.\n")
    rows = [(name, address) for name, each in addresses.items() for address in each]
    table(["broker", "POST"], rows, "")


def _row(finding: Any) -> dict[str, Any]:
    return {
        "check": finding.check,
        "level": finding.level,
        "found": finding.found,
        "breaks": finding.breaks,
        "remedy": finding.remedy,
    }


def _tell(finding: Any) -> None:
    style = STYLES[finding.level]
    level = f"[{style}]{finding.level:8}[/]" if style else f"{finding.level:8}"
    console.print(f"{level} {finding.check}: {finding.found}", soft_wrap=True)
    if finding.breaks:
        console.print(f"         breaks: {finding.breaks}", soft_wrap=True)
    if finding.remedy:
        console.print(f"         do: {finding.remedy}", soft_wrap=True)
