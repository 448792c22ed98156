"""``edgepress profile``: device profiles; those that ship need no server, a server has its own besides."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec

from edgepress_devices.profile import (
    DeviceProfile,
    Problem,
    ProfileError,
    file_lookup,
    list_profiles,
    load_profile,
    read_profile_text,
    validate_profile,
)

from .calibrate import calibrate, calibration
from .client import DEFAULT_URL, default_url
from .output import api, emit_json, json_option, server_options, table
from .profile_new import new
from .profile_table import rows


@click.group()
def profile() -> None:
    """Look at device profiles, and make your own."""


profile.add_command(new)
profile.add_command(calibrate)
profile.add_command(calibration)


def ask_server_options(command: Any) -> Any:
    """``--server``, ``--url`` and ``--token`` of commands that need no server without them."""
    command = json_option(command)
    command = click.option("--token", envvar="EDGEPRESS_TOKEN", help="API token (EDGEPRESS_TOKEN).")(command)
    command = click.option(
        "--url",
        envvar="EDGEPRESS_URL",
        default=default_url,
        show_default=f"where you signed in last, else {DEFAULT_URL}",
        help="The server of --server.",
    )(command)
    return click.option(
        "--server", is_flag=True, help="Ask the server, which may have profiles of its own and overrides."
    )(command)


@profile.command("list")
@ask_server_options
def list_(server: bool, url: str, token: str | None, as_json: bool) -> None:
    """List the device profiles: those that ship, or with --server those that hold there."""
    found = api(url, token).get("/profiles") if server else [_fields(one) for one in list_profiles()]
    if as_json:
        emit_json(found)
        return
    table(
        ("ID", "NAME", "KIND", ">CORES", ">RAM", *(("ORIGIN", "STANDS ON") if server else ())),
        [
            (
                one["id"],
                one["name"],
                one["kind"],
                one["cpu"]["cores"],
                f"{one['memory']['ram_mib']} MiB",
                *((one["origin"], one["inherits"]) if server else ()),
            )
            for one in found
        ],
        empty="No profiles are installed; reinstall edgepress.",
    )


@profile.command()
@click.argument("name")
@ask_server_options
def show(name: str, server: bool, url: str, token: str | None, as_json: bool) -> None:
    """Show one profile with the source of every number: by its name, or from a .toml file."""
    data = api(url, token).get(f"/profiles/{name}") if server else _fields(_load(name))
    if as_json:
        emit_json(data)
        return
    shorthands = ("cores", "threads", "ram_mib", "updated_at", "toml") if server else ()
    shown = {key: value for key, value in data.items() if key not in shorthands}
    table(("FIELD", "VALUE", "BASIS", "SOURCE"), list(rows(shown)), empty="")


@profile.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@ask_server_options
def validate(files: tuple[Path, ...], server: bool, url: str, token: str | None, as_json: bool) -> None:
    """Say everything that is wrong with profiles in files; exit status 1 if one cannot be used.

    A file may inherit from a file beside it, from a shipped profile, or, with --server, from one there.
    """
    client = api(url, token) if server else None
    found: dict[str, list[dict[str, str]]] = {}
    for path in files:
        try:
            text = read_profile_text(path)
        except ProfileError as error:
            raise click.ClickException(str(error)) from error
        if client is not None:
            found[str(path)] = client.post("/profiles/validate", {"toml": text})["problems"]
        else:
            found[str(path)] = list(map(_plain, validate_profile(text, file_lookup(path.parent))))
    if as_json:
        emit_json(found)
    else:
        for name, problems in found.items():
            _say(name, problems)
    if any(problem["level"] == "error" for problems in found.values() for problem in problems):
        sys.exit(1)


def _say(name: str, problems: list[dict[str, str]]) -> None:
    errors = sum(problem["level"] == "error" for problem in problems)
    warnings = len(problems) - errors
    if not problems:
        click.echo(f"{name}: a profile, and nothing looks odd")
        return
    count = [
        f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n
    ]
    click.echo(f"{name}: {', '.join(count)}")
    for problem in problems:
        where = f"{problem['path']}: " if problem["path"] else ""
        click.echo(f"  {problem['level']}: {where}{problem['message']}; {problem['fix']}")


@profile.command()
@click.argument("file", type=click.Path(path_type=Path))
@server_options
def put(file: Path, url: str, token: str | None, as_json: bool) -> None:
    """Store the profile in FILE on the server, or change it there.

    Under a shipped id it is an override for that installation: the file then inherits from that id and states
    what differs.
    """
    try:
        text = read_profile_text(file)
    except ProfileError as error:
        raise click.ClickException(str(error)) from error
    name = _id_in(text, file)
    answer = api(url, token).put(f"/profiles/{name}", {"toml": text})
    if as_json:
        emit_json(answer)
    elif answer["origin"] == "override":
        click.echo(f"{name} holds there with your figures; `edgepress profile delete {name}` ends that.")
    else:
        click.echo(f"Stored {name}. For a device: edgepress device register NAME --profile {name}")


@profile.command()
@click.argument("profile_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def delete(profile_id: str, yes: bool, url: str, token: str | None, as_json: bool) -> None:
    """Delete a profile of the server's own, or an override: then the shipped one holds again."""
    client = api(url, token)
    origin = client.get(f"/profiles/{profile_id}")["origin"]
    if not yes:
        what = f"the override of {profile_id}" if origin == "override" else f"profile {profile_id}"
        click.confirm(f"Delete {what}", abort=True)
    client.delete(f"/profiles/{profile_id}")
    if as_json:
        emit_json({"id": profile_id, "deleted": True})
    elif origin == "override":
        click.echo(f"{profile_id} holds as it ships again.")
    else:
        click.echo(f"{profile_id} is deleted.")


def _id_in(text: str, file: Path) -> str:
    """The id that the text states. Raises ClickException where there is none."""
    try:
        name = tomllib.loads(text).get("id")
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{file} is not TOML: {error}") from error
    if not isinstance(name, str) or not name:
        raise click.ClickException(f'{file} states no id: add id = "my-board" at its top')
    return name


def _load(name: str) -> DeviceProfile:
    try:
        return load_profile(name)
    except ProfileError as error:
        raise click.ClickException(f"{error} A server's own: --server.") from error


def _fields(one: DeviceProfile) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(one)
    return fields


def _plain(problem: Problem) -> dict[str, str]:
    return {"path": problem.path, "message": problem.message, "fix": problem.fix, "level": problem.level}
