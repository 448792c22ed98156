"""``edgepress store``: the server's database as a file. Works on the data folder: who may write that may do
this."""

from __future__ import annotations

from pathlib import Path

import click

from .keys_folder import data_folder, data_option, in_words
from .output import emit_json, json_option, table
from .serve import FILE


@click.group()
def store() -> None:
    """Check, copy and restore the server's database.

    A running server makes a copy a day by itself, in DATA/backups. What stands beside the database, keys/,
    pki/ and blobs/, is plain files: copy those too (docs/server.md).
    """


@store.command()
@data_option
@json_option
def check(data_dir: Path | None, as_json: bool) -> None:
    """Look at every page of the database, and at every back-up. The server may run meanwhile."""
    from edgepress_server.errors import ServerError
    from edgepress_server.store.backup import backups, check_file

    path = _database(data_dir)
    found = []
    for each in (path, *(backup.path for backup in backups(path.parent))):
        try:
            check_file(each)
        except ServerError as error:
            found.append((each, error.message))
        else:
            found.append((each, ""))
    if as_json:
        emit_json([{"file": str(each), "problem": problem or None} for each, problem in found])
    else:
        table(["FILE", "STATE"], [(each, problem or "well") for each, problem in found], "nothing to check")
    if found[0][1]:
        raise click.exceptions.Exit(1)


@store.command()
@data_option
@click.option("--to", type=FILE, help="Write the copy here, for example on another disk.")
@json_option
def backup(data_dir: Path | None, to: Path | None, as_json: bool) -> None:
    """Copy the database as it is at this moment. The server may run meanwhile."""
    from edgepress_server.settings import load_settings
    from edgepress_server.store.backup import make_backup

    path = _database(data_dir)
    with in_words():
        kept = load_settings({"data_dir": path.parent}).backups
        made = make_backup(path, to, kept=kept)
    if as_json:
        emit_json({"file": str(made.path), "size_bytes": made.size_bytes})
    else:
        click.echo(f"Back-up made: {made}")


@store.command()
@data_option
@click.argument("file", type=FILE, required=False)
@json_option
def restore(data_dir: Path | None, file: Path | None, as_json: bool) -> None:
    """Put a back-up in the database's place, by default the newest. The server must not run.

    What happened since the back-up is gone; devices that enrolled since enrol again. The file that was there
    stays beside it under another name.
    """
    from edgepress_server.errors import NotFoundError
    from edgepress_server.serve.first_start import locked
    from edgepress_server.settings import load_settings
    from edgepress_server.store import backup as copies

    path = data_folder(data_dir) / "edgepress.db"
    with in_words():
        kept = copies.backups(path.parent)
        if file is None and not kept:
            raise NotFoundError(
                "no_backup", f"There is no back-up in {path.parent / copies.FOLDER}. Name a file."
            )
        source = file or kept[0].path
        with locked(load_settings({"data_dir": path.parent})):
            aside = copies.restore(path, source)
    if as_json:
        emit_json({"restored": str(source), "aside": None if aside is None else str(aside)})
        return
    click.echo(f"Restored {source}. Start the server.")
    if aside is not None:
        click.echo(f"The file that was there is now {aside}; remove it when nothing of it is needed.")


def _database(data_dir: Path | None) -> Path:
    path = data_folder(data_dir) / "edgepress.db"
    if not path.is_file():
        raise click.ClickException(f"{path} is not there. Name the server's data folder with --data.")
    return path
