"""What the commands of ``edgepress keys`` share: the folder, the passphrase, and the notes that a "
"change leaves."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from .serve import FILE, FOLDER

Command = TypeVar("Command", bound=Callable[..., Any])


def data_option(command: Command) -> Command:
    return click.option(
        "--data",
        "data_dir",
        type=FOLDER,
        envvar="EDGEPRESS_DATA_DIR",
        help="The server's data folder (EDGEPRESS_DATA_DIR).  [default: ~/.local/share/edgepress]",
    )(command)


def passphrase_option(command: Command) -> Command:
    return click.option(
        "--passphrase-file",
        type=FILE,
        help="File whose first line is the passphrase of these keys; without it you are asked.",
    )(command)


@contextmanager
def in_words() -> Iterator[None]:
    """Errors of the server's packages as a sentence."""
    from edgepress_server.errors import ServerError

    try:
        yield
    except ServerError as error:
        raise click.ClickException(error.message) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error


def data_folder(data_dir: Path | None) -> Path:
    from edgepress_server.settings import DEFAULT_DATA_DIR

    return (data_dir or DEFAULT_DATA_DIR).expanduser()


def keys_folder(data_dir: Path | None) -> Path:
    """Raises ClickException where there are no keys."""
    folder = data_folder(data_dir) / "keys"
    if not folder.is_dir():
        raise click.ClickException(
            f"{folder} is not there. The first `edgepress serve` makes the keys; name its data folder "
            "with --data."
        )
    return folder


def ask_passphrase(file: Path | None, what: str, *, confirm: bool = False) -> bytes:
    """From a file, a terminal or a pipe. Raises ClickException."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8").split("\n", 1)[0]
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"the passphrase cannot be read from {file}: {error}") from error
    elif sys.stdin.isatty():
        text = click.prompt(f"Passphrase of {what}", hide_input=True, confirmation_prompt=confirm, err=True)
    else:
        text = sys.stdin.readline().rstrip("\n")
    if confirm and len(text) < 8:
        raise click.ClickException(
            "a passphrase of fewer than 8 characters is guessed soon; choose a longer one"
        )
    if not text:
        raise click.ClickException("no passphrase was given")
    return str(text).encode("utf-8")


def note(
    data_dir: Path | None, action: str, subject: str, data: dict[str, Any], *, follow: bool = True
) -> int:
    """After a change: the audit log has it, and what the keys no longer vouch for is signed again.

    How many releases changed. ``follow`` False: the keys themselves are the same. On a machine without a
    store there is nothing to note.
    """
    from edgepress_server.store import open_store
    from edgepress_server.trust.keys import load_keys

    folder = data_folder(data_dir)
    if not (folder / "edgepress.db").is_file():
        return 0
    store = open_store(folder)
    try:
        store.audit.append(action, subject, source=f"command line, system user {_user()}", data=data)
        store.events.append("server", "keys", action, data={"subject": subject})
        return store.signing.follow(load_keys(folder / "keys")) if follow else 0
    finally:
        store.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return "unknown"
