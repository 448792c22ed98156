"""``edgepress profile``: the device profiles this version ships. No server needed."""

import click
import msgspec

from edgepress_devices.profile import ProfileError, list_profiles, load_profile

from .output import emit_json, facts, json_option, table


@click.group()
def profile() -> None:
    """Look at device profiles."""


@profile.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the device profiles."""
    found = list_profiles()
    if as_json:
        emit_json([msgspec.to_builtins(p) for p in found])
        return
    table(
        ("ID", "NAME", "KIND", ">CORES", ">RAM"),
        [(p.id, p.name, p.kind, p.cores, f"{p.ram_mib} MiB") for p in found],
        empty="No profiles are installed; reinstall edgepress.",
    )


@profile.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one profile with the source of every number."""
    try:
        found = load_profile(name)
    except ProfileError as error:
        raise click.ClickException(str(error)) from error
    data = msgspec.to_builtins(found)
    if as_json:
        emit_json(data)
        return
    facts(_flat("", data))


def _flat(prefix: str, data: object) -> list[tuple[str, object]]:
    if isinstance(data, dict):
        return [pair for key, value in data.items() for pair in _flat(f"{prefix}.{key}".lstrip("."), value)]
    if isinstance(data, list):
        return [(prefix, ", ".join(map(str, data)) or "none")]
    if isinstance(data, bool):
        return [(prefix, "yes" if data else "no")]
    return [(prefix, data)]
