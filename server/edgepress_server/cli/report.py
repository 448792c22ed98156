"""``edgepress report``: a report that was written before, for people."""

import json
from pathlib import Path
from typing import Any

import click

from .compress import print_report
from .output import emit_json, json_option, writing

REPORT_MAX_BYTES = 64 * 2**20


@click.group()
def report() -> None:
    """Look at reports of compressions."""


@report.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it as a page: one HTML file with plots.",
)
@json_option
def show(file: Path, out: Path | None, as_json: bool) -> None:
    """Show FILE, the JSON that --report of `edgepress compress` wrote."""
    found = _read(file)
    page = html(found)  # says, too, whether it is a whole report
    if out is not None:
        with writing(out) as stream:
            stream.write(page)
    if as_json:
        emit_json(found)
        return
    print_report(found)
    if out is not None:
        click.echo(f"\nWrote {out}.")


def html(found: dict[str, Any]) -> bytes:
    """The report as a page. Raises ClickException when it is no report."""
    from edgepress_compression.page.report_page import report_page

    try:
        return report_page(found).encode()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise click.ClickException(
            f"this is no report of this edgepress ({type(error).__name__}: {error}); compress again"
        ) from error


def _read(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        raw = stream.read(REPORT_MAX_BYTES + 1)
    if len(raw) > REPORT_MAX_BYTES:
        raise click.ClickException(f"{file} is larger than {REPORT_MAX_BYTES:,} bytes; it is no report")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{file} is no JSON ({error}); give what --report wrote") from error
    if (
        not isinstance(found, dict)
        or "artifact_sha256" not in found
        or not isinstance(found.get("bytes"), dict)
    ):
        raise click.ClickException(f"{file} is no report; give what --report of `edgepress compress` wrote")
    return found
