"""``edgepress audit``: who did what, and whether the log is whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import api, emit_json, server_options, table, writing

if TYPE_CHECKING:
    from edgepress_server.store.audit import AuditEntry, Head

_LINE_MAX = 65_536  # bytes; the server writes at most some 5,000


@click.group()
def audit() -> None:
    """Who did what: a log that only grows, each row with the hash of the one before it."""


@audit.command("list")
@click.option("--actor", help="Only what this person did.")
@click.option("--action", help="Only this action, such as create_rollout.")
@click.option("--subject", help="Only what was done to this device, release, rollout, ...")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@server_options
def list_(
    actor: str | None,
    action: str | None,
    subject: str | None,
    limit: int,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """List the newest rows."""
    page = api(url, token).get("/audit", actor=actor, action=action, subject=subject, limit=limit)
    if as_json:
        emit_json(page)
        return
    table(
        (">ROW", "WHEN", "WHO", "DID", "TO", "FROM"),
        [
            (e["number"], _when(e["at"]), e["actor"], e["action"], e["subject"], e["source"])
            for e in page["entries"]
        ],
        empty="No rows.",
    )


@audit.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--head", metavar="ROW:HASH", help="A head kept elsewhere, which the log must contain.")
@server_options
def verify(file: Path | None, head: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Walk the log, here and not on the server, and name the first row that does not hold.

    Without FILE the server's log is read; FILE is what `edgepress audit export` wrote. It prints the head:
    keep it elsewhere (on paper, on another machine), and give it with --head the next time. Ends with 1 when
    the log does not hold.
    """
    from edgepress_server.store.audit import verify_chain

    kept = _head(head)
    if file is None:
        lines: Iterable[bytes] = _split(api(url, token).download("/audit/export"))
        verdict = verify_chain(_entries(lines), kept)
    else:
        with file.open("rb") as stream:
            verdict = verify_chain(_entries(iter(lambda: stream.readline(_LINE_MAX), b"")), kept)
    if as_json:
        emit_json(
            {
                "holds": verdict.holds,
                "rows": verdict.rows,
                "head": vars(verdict.head),
                "broken": verdict.broken,
                "reason": verdict.reason,
            }
        )
    elif verdict.holds:
        click.echo(f"All {verdict.rows} rows hold. Head: {verdict.head.number}:{verdict.head.hash}")
    else:
        click.echo(f"Row {verdict.broken} does not hold: {verdict.reason}.", err=True)
        click.echo(f"The rows before it do. Their head: {verdict.head.number}:{verdict.head.hash}", err=True)
    sys.exit(0 if verdict.holds else 1)


@audit.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@server_options
def export(file: Path, url: str, token: str | None, as_json: bool) -> None:
    """Write every row to FILE, a line of JSON each, oldest first."""
    rows = 0
    with writing(file) as stream:
        for block in api(url, token).download("/audit/export"):
            rows += block.count(b"\n")
            stream.write(block)
    if as_json:
        emit_json({"file": str(file), "rows": rows})
    else:
        click.echo(f"{rows} rows are in {file}. Check them with `edgepress audit verify {file}`.")


def _split(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > _LINE_MAX:
            break
    yield rest


def _entries(lines: Iterable[bytes]) -> Iterator[AuditEntry]:
    from edgepress_server.store.audit import AuditEntry

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields: dict[str, Any] = json.loads(line)
            yield AuditEntry(**fields)
        except (ValueError, TypeError) as error:
            raise click.ClickException(
                f"line {number} is no row of an audit log; export it again with `edgepress audit export`"
            ) from error


def _head(text: str | None) -> Head | None:
    from edgepress_server.store.audit import Head

    if text is None:
        return None
    number, colon, digest = text.partition(":")
    if not colon or not number.isdecimal() or len(digest) != 64:
        raise click.BadParameter(
            "a head is ROW:HASH, as `edgepress audit verify` prints it", param_hint="--head"
        )
    return Head(int(number), digest)


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
