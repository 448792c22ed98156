"""``edgepress profile new``: begin a profile of one's own from one that is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from edgepress_devices.profile import Problem, ProfileError, file_lookup, load_profile, validate_profile

from .output import emit_json, json_option, writing
from .profile_draft import assignments, draft
from .profile_here import BASES, tables_here


@click.command()
@click.argument("profile_id", metavar="ID")
@click.option("--inherits", metavar="BASE", help="The profile it stands on: a shipped id, or a file.toml.")
@click.option("--name", help="For people; by default the ID.")
@click.option(
    "--set", "pairs", multiple=True, metavar="FIELD=VALUE",
    help="A figure that differs, such as memory.ram_mib=2048; may be given several times.",
)  # fmt: skip
@click.option("--source", help="Where the figures of --set come from.")
@click.option(
    "--basis",
    type=click.Choice(["datasheet", "measured", "derived", "estimate"]),
    help="What the figures of --set are.  [default: estimate]",
)
@click.option("--here", is_flag=True, help="Fill in processor, cores, memory and caches of this machine.")
@click.option("-o", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@json_option
def new(
    profile_id: str,
    inherits: str | None,
    name: str | None,
    pairs: tuple[str, ...],
    source: str | None,
    basis: str | None,
    here: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write a profile ID that inherits from another, to fill in.

    The file states what differs (--set, --here) and lists the rest as comments. What is still missing is said
    on standard error; `edgepress profile validate FILE` says it again, `edgepress profile put FILE` gives the
    finished file to a server.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", profile_id):
        raise click.BadParameter(
            "take 1 to 63 lower-case letters, digits and hyphens, such as raspberry-pi-4-2gb", param_hint="ID"
        )
    if out is not None and out.exists():  # what somebody has filled in is not written over
        raise click.ClickException(f"{out} is there already; remove it, or write to another file with -o")
    own = assignments(pairs)
    read = _here() if here else {}
    inherits = inherits or (BASES[read["cpu"]["machine"]] if here else None)
    if inherits is None:
        raise click.UsageError("name the profile to stand on: --inherits raspberry-pi-4")
    try:
        base = load_profile(inherits)
    except ProfileError as error:
        raise click.ClickException(str(error)) from error
    own = {"id": profile_id, "name": name or profile_id, "inherits": base.id, **_joined(read, own)}
    text = draft(own, base, source=source, basis=basis)
    problems = validate_profile(text, file_lookup(Path(inherits).parent))
    if out is not None:
        with writing(out) as stream:
            stream.write(text.encode())
    if as_json:
        emit_json({"toml": text, "problems": [_plain(problem) for problem in problems]})
    elif out is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"{out}: profile {profile_id}, standing on {base.id}.")
    for problem in problems:
        click.echo(f"{'to do' if problem.level == 'error' else 'look at'}: {problem}", err=True)


def _here() -> dict[str, Any]:
    try:
        return tables_here()
    except ValueError as error:
        raise click.ClickException(f"{error}. Name a profile with --inherits instead of --here.") from error


def _joined(read: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """What was read, with what was asked for over it."""
    joined = dict(read)
    for key, value in asked.items():
        there = joined.get(key)
        joined[key] = _joined(there, value) if isinstance(there, dict) and isinstance(value, dict) else value
    return joined


def _plain(problem: Problem) -> dict[str, str]:
    return {"path": problem.path, "message": problem.message, "fix": problem.fix, "level": problem.level}
