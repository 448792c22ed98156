"""``edgepress alert silence``: tell nobody for a while."""

from datetime import UTC, datetime

import click

from .durations import Duration
from .output import ago, api, emit_json, server_options, table

_LONGEST_S = 366 * 86_400


@click.group()
def silence() -> None:
    """Tell nobody for a while: silences and maintenance windows."""


@silence.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are over, too.")
@server_options
def list_(everything: bool, url: str, token: str | None, as_json: bool) -> None:
    """List the silences that hold or are coming."""
    found = [s for s in api(url, token).get("/alert-silences") if everything or s["state"] != "over"]
    if as_json:
        emit_json(found)
        return
    table(
        ("SILENCE", "STATE", "WHAT", "BY", "MADE"),
        [(s["id"], s["state"], s["words"], s["created_by"], ago(s["created_at"])) for s in found],
        empty="Nothing is silenced.",
    )


@silence.command()
@click.option(
    "--rule", "rule_name", default="", metavar="RULE", help="* stands for any characters; all rules."
)
@click.option("--query", default="", help="Which devices, in the query language of rollouts; all.")
@click.option("--for", "for_s", type=Duration(60, _LONGEST_S), required=True, help="How long: 30m, 2h, 1d.")
@click.option("--from", "start", metavar="TIME", help="2027-01-15T02:00, UTC; now.")
@click.option("--every", type=click.Choice(["day", "week"]), help="A maintenance window that comes again.")
@click.option("--reason", required=True, help="Why; others will ask.")
@server_options
def add(
    rule_name: str,
    query: str,
    for_s: int,
    start: str | None,
    every: str | None,
    reason: str,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Tell nobody about what fits, for a while. It fires and is shown all the same."""
    starts_at = None if start is None else _unix_ms(start)
    made = api(url, token).post(
        "/alert-silences",
        {
            "rule": rule_name,
            "query": query,
            "starts_at": starts_at,
            "for_s": for_s,  # by the server's clock
            "repeats": {None: "no", "day": "daily", "week": "weekly"}[every],
            "reason": reason,
        },
    )
    if as_json:
        emit_json(made)
    else:
        click.echo(f"{made['words']}. End it: edgepress alert silence end {made['id']}")


def _unix_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no time; write 2027-01-15T02:00", param_hint="--from"
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@silence.command()
@click.argument("name", metavar="SILENCE")
@server_options
def end(name: str, url: str, token: str | None, as_json: bool) -> None:
    """End SILENCE before its time."""
    found = api(url, token).post(f"/alert-silences/{name}/end")
    if as_json:
        emit_json(found)
    else:
        click.echo("It is over.")
