"""``edgepress password``: the way back in. It works on the data folder: who may write that may do this."""

import getpass
from pathlib import Path

import click

from .output import emit_json, json_option
from .person import asked_password
from .serve import FOLDER


@click.command()
@click.argument("name", default="admin")
@click.option(
    "--data",
    "data_dir",
    type=FOLDER,
    envvar="EDGEPRESS_DATA_DIR",
    help="The server's data folder (EDGEPRESS_DATA_DIR).  [default: ~/.local/share/edgepress]",
)
@click.option("--ask", is_flag=True, help="Ask for the new password (or read it from a pipe).")
@json_option
def password(name: str, data_dir: Path | None, ask: bool, as_json: bool) -> None:
    """Give NAME (default: admin) a new password, on the machine of the server.

    Makes a random one and prints it, unless --ask is given. Works whether or not the server runs, and ends
    every browser session of NAME; tokens stay valid (`edgepress token revoke` ends them).
    """
    from edgepress_server.errors import ServerError
    from edgepress_server.settings import DEFAULT_DATA_DIR
    from edgepress_server.store import open_store
    from edgepress_server.store.people import random_password

    folder = (data_dir or DEFAULT_DATA_DIR).expanduser()
    if not (folder / "edgepress.db").is_file():
        raise click.ClickException(
            f"{folder} holds no edgepress store; name the folder that the server uses with --data"
        )
    chosen = asked_password() if ask else random_password()
    try:
        store = open_store(folder)
        try:
            with store.transaction():
                person = store.people.set_password(name, chosen)
                store.audit.append(
                    "password", person.name, source=f"the server's machine, user {getpass.getuser()}"
                )
        finally:
            store.close()
    except ServerError as error:
        raise click.ClickException(error.message) from error
    if as_json:
        emit_json({"name": person.name, "role": person.role, "password": None if ask else chosen})
        return
    if ask:
        click.echo(f"{person.name} has the new password; open sessions have ended.")
    else:
        click.echo(f"Sign in with\n    name:     {person.name}\n    password: {chosen}")
        click.echo("It is shown only now; open sessions have ended.", err=True)
