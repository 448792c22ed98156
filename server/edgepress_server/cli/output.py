"""How the command line speaks: a table for people, ``--json`` for programs, sizes and times in words."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
from rich.console import Console
from rich.table import Table

from .client import DEFAULT_URL, Api, default_url, saved_credentials

Command = TypeVar("Command", bound=Callable[..., Any])

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

PIPE_COLUMNS = 10_000


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


def server_options(command: Command) -> Command:
    """``--url``, ``--token`` and ``--json``, on every command that asks the server."""
    command = json_option(command)
    command = click.option(
        "--token",
        envvar="EDGEPRESS_TOKEN",
        help="API token (EDGEPRESS_TOKEN; else what `edgepress login` saved).",
    )(command)
    return click.option(
        "--url",
        envvar="EDGEPRESS_URL",
        default=default_url,
        show_default=f"where you signed in last, else {DEFAULT_URL}",
        help="The server (EDGEPRESS_URL).",
    )(command)


def api(url: str, token: str | None) -> Api:
    return Api(url, token or saved_credentials().get(url.rstrip("/")))


def emit_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, sort_keys=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str, *, header: bool = True) -> None:
    """Print rows as a table ('>' before a column's name: right-aligned), or ``empty`` for none."""
    listed = list(rows)
    if not listed:
        click.echo(empty)  # not through rich, which would wrap the command that it names
        return
    grid = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for column in columns:
        grid.add_column(column, overflow="fold", justify="right" if column.startswith(">") else "left")
        grid.columns[-1].header = column.lstrip(">")
    for row in listed:
        grid.add_row(*("-" if cell is None else str(cell) for cell in row))
    show(grid)


def show(grid: Table) -> None:
    """Print a table. Into a pipe one line a row, however wide, and no trailing blanks: programs read it."""
    if sys.stdout.isatty():
        console.print(grid)
        return
    wide = Console(highlight=False, width=PIPE_COLUMNS)
    with wide.capture() as captured:
        wide.print(grid)
    click.echo("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


@contextmanager
def writing(target: Path) -> Iterator[BinaryIO]:
    """A stream into ``target``: written aside, synced, put in place when the block ends well, else removed.

    Raises ClickException with a sentence when the disk or the rights do not allow it.
    """
    aside = target.with_name(target.name + ".part")
    try:
        with aside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(target)
    except BaseException as error:
        try:
            aside.unlink(missing_ok=True)
        except OSError:
            pass  # the folder itself is the trouble, which the error below says
        if isinstance(error, OSError):
            raise click.ClickException(f"cannot write {target}: {error.strerror}") from error
        raise


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    table(("", ""), [(name, value) for name, value in pairs if value is not None], empty="", header=False)


def size(size_bytes: float | None) -> str | None:
    """1536 -> '1.5 KB' (decimal units, as in the design page)."""
    if size_bytes is None:
        return None
    for unit in ("B", "KB", "MB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.2f} GB"


def micros(us: float | None) -> str | None:
    return None if us is None else (f"{us / 1000:.2f} ms" if us >= 1000 else f"{us:.0f} us")


def percent(fraction: float | None) -> str | None:
    return None if fraction is None else f"{100 * fraction:.2f} %"


def ago(at_ms: float | None) -> str | None:
    if at_ms is None:
        return None
    seconds = max(0.0, time.time() - at_ms / 1000)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def labels(pairs: Sequence[str]) -> dict[str, str]:
    """``("site=hall-3",)`` -> ``{"site": "hall-3"}``. Raises BadParameter."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is no label; write KEY=VALUE")
        found[key] = value
    return found
