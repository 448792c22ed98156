"""``edgepress keys``: who may say what runs. Works on the data folder: who may write that may do this."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .keys_folder import ask_passphrase, data_option, in_words, keys_folder, note, passphrase_option
from .keys_sign import export, import_, sign
from .output import emit_json, facts, json_option, table
from .serve import FILE, FOLDER

if TYPE_CHECKING:
    from edgepress_server.trust.key_change import Change
    from edgepress_server.trust.roots import RoleName

ROLE = click.Choice(["root", "release", "director"])


@click.group()
def keys() -> None:
    """Show, rotate, revoke and take offline the keys that devices trust.

    Root keys name all other keys; release keys say what may run at all; the director key says which device
    runs which release. docs/trust.md has the ceremonies step by step.
    """


keys.add_command(export)
keys.add_command(sign)
keys.add_command(import_)


@keys.command()
@data_option
@json_option
def show(data_dir: Path | None, as_json: bool) -> None:
    """Roles, keys, thresholds, and where each private key is."""
    from edgepress_server.trust.key_state import read_state
    from edgepress_server.trust.keys import KEYID_CHARS

    with in_words():
        state = read_state(keys_folder(data_dir))
    warnings = state.warnings()
    if as_json:
        emit_json(
            {
                "root_version": state.version,
                "root_expires": f"{state.expires:%Y-%m-%dT%H:%M:%SZ}",
                "pending_root": state.pending,
                "warnings": warnings,
                "roles": [
                    {
                        "role": role.role,
                        "threshold": role.threshold,
                        "keys": [
                            {"keyid": key.keyid, "here": key.here, "encrypted": key.encrypted}
                            for key in role.keys
                        ],
                    }
                    for role in state.roles
                ],
            }
        )
        return
    facts([("TUF root", f"version {state.version}, valid until {state.expires:%Y-%m-%d}")])
    table(
        ("ROLE", "KEY", "NEEDED", "PRIVATE KEY"),
        [
            (
                role.role,
                key.keyid[:KEYID_CHARS],
                f"{role.threshold} of {len(role.keys)}",
                "elsewhere"
                if not key.here
                else "here, encrypted"
                if key.encrypted
                else "here, not encrypted",
            )
            for role in state.roles
            for key in role.keys
        ],
        empty="No keys.",
    )
    for warning in warnings:
        click.echo(warning, err=True)


@keys.command()
@click.argument("folder", type=FOLDER)
@click.option("--role", type=click.Choice(["root", "release"]), required=True, help="What they are for.")
@click.option("--count", type=click.IntRange(1, 20), default=1, show_default=True, help="How many.")
@passphrase_option
def init(folder: Path, role: Literal["root", "release"], count: int, passphrase_file: Path | None) -> None:
    """Make keys in FOLDER, on any machine: encrypted private keys, and public ones to carry to the server.

    A server makes its own first keys; this is for keys that never lie there. `edgepress keys rotate ROLE
    --key FILE.pub.pem` on the server then hands the role over to them.
    """
    from edgepress_server.files import replace_file
    from edgepress_server.trust.key_file import new_private_key, public_pem, write_private_key
    from edgepress_server.trust.keys import key_path
    from edgepress_server.trust.passphrase import Passphrase

    chosen = Passphrase(ask_passphrase(passphrase_file, f"the new {role} keys", confirm=True))
    with in_words():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(count):
            signer = new_private_key()
            path = key_path(folder, role, signer.public_key.keyid)
            write_private_key(path, signer, role, chosen)
            public = path.with_suffix(".pub.pem")
            replace_file(public, public_pem(signer.public_key), mode=0o644)
            click.echo(f"{role} key: private {path}, public {public}")
    click.echo("Keep the private files and the passphrase apart; nobody can make them again.", err=True)


@keys.command()
@click.argument("role", type=ROLE)
@click.argument("needed", type=click.IntRange(1, 20))
@data_option
def threshold(role: RoleName, needed: int, data_dir: Path | None) -> None:
    """Have NEEDED keys of ROLE sign from now on."""
    from edgepress_server.trust.key_change import set_threshold

    with in_words():
        change = set_threshold(keys_folder(data_dir), role, needed)
        _tell(change, note(data_dir, "keys_threshold", role, {"needed": needed, "root": change.version}))


@keys.command()
@click.argument("role", type=ROLE)
@click.option("--old", metavar="KEYID", help="Replace only this key (the start of its id).")
@click.option(
    "--key",
    "files",
    type=FILE,
    multiple=True,
    help="Public key in PEM, made by keys init; repeat for several.",
)
@click.option("--threshold", "needed", type=click.IntRange(1, 20), help="How many of them must sign.")
@data_option
def rotate(
    role: RoleName, old: str | None, files: tuple[Path, ...], needed: int | None, data_dir: Path | None
) -> None:
    """Replace the keys of ROLE: what the old ones signed is refused from then on.

    Without --key a new key is made on this machine. Devices follow when they next connect, also after years.
    """
    from edgepress_server.trust.key_change import rotate as rotate_keys
    from edgepress_server.trust.key_file import read_public_key

    with in_words():
        new_keys = [read_public_key(file) for file in files]
        change = rotate_keys(keys_folder(data_dir), role, old=old, new_keys=new_keys, threshold=needed)
        said = {"root": change.version, "new": [key.keyid for key in new_keys] or "made here"}
        _tell(change, note(data_dir, "keys_rotate", role, said))


@keys.command()
@click.argument("keyid")
@data_option
def revoke(keyid: str, data_dir: Path | None) -> None:
    """Take the key KEYID (the start of its id) away from its role, where enough others are left."""
    from edgepress_server.trust.key_change import revoke as revoke_key

    with in_words():
        change = revoke_key(keys_folder(data_dir), keyid)
        _tell(change, note(data_dir, "keys_revoke", keyid, {"root": change.version}))


@keys.command()
@data_option
def renew(data_dir: Path | None) -> None:
    """The same keys for another year: a TUF root that expires stops every installation."""
    from edgepress_server.trust.key_change import renew as renew_root

    with in_words():
        change = renew_root(keys_folder(data_dir))
        _tell(change, note(data_dir, "keys_renew", "root", {"root": change.version}))


@keys.command()
@data_option
def cancel(data_dir: Path | None) -> None:
    """Drop a change of the keys that still waits for signatures."""
    from edgepress_server.trust.key_change import cancel as cancel_change

    with in_words():
        if not cancel_change(keys_folder(data_dir)):
            click.echo("No change waits for signatures.")
            return
        note(data_dir, "keys_cancel", "root", {})
    click.echo("The change is dropped; the newest TUF root stays as it is.")


@keys.command("take-offline")
@click.argument("role", type=click.Choice(["root", "release"]))
@click.argument("folder", type=FOLDER)
@passphrase_option
@data_option
def take_offline(
    role: Literal["root", "release"], folder: Path, passphrase_file: Path | None, data_dir: Path | None
) -> None:
    """Move the private keys of ROLE into FOLDER, such as a stick, with a passphrase of their own.

    What they have to sign then waits: `edgepress keys export`, `sign` where the keys are, `import`.
    """
    from edgepress_server.trust.key_change import take_offline as move
    from edgepress_server.trust.passphrase import Passphrase

    here = keys_folder(data_dir)
    chosen = Passphrase(ask_passphrase(passphrase_file, f"the {role} keys in {folder}", confirm=True))
    with in_words():
        for path in move(here, role, folder, chosen):
            click.echo(f"{path} holds the {role} key now; it is no longer on this machine.")
        note(data_dir, "keys_take_offline", role, {})
    click.echo(
        "Back-ups of the data folder from before still hold it: destroy them, or rotate the role to "
        "new keys.",
        err=True,
    )


@keys.command()
@passphrase_option
@data_option
def protect(passphrase_file: Path | None, data_dir: Path | None) -> None:
    """Encrypt the private keys here with a passphrase of yours instead of the file DATA/keys/secret.

    The server then needs it at every start: EDGEPRESS_KEYS_PASSPHRASE, EDGEPRESS_KEYS_PASSPHRASE_FILE, or a
    systemd credential named edgepress-keys.
    """
    from edgepress_server.trust.key_change import encrypt_all
    from edgepress_server.trust.passphrase import Passphrase

    here = keys_folder(data_dir)
    chosen = Passphrase(ask_passphrase(passphrase_file, "this server's keys", confirm=True))
    with in_words():
        count = encrypt_all(here, chosen, drop_secret=True)
        note(data_dir, "keys_protect", "keys", {"keys": count}, follow=False)
    click.echo(f"{count} private keys are encrypted with the new passphrase; {here / 'secret'} is gone.")
    click.echo("Give the server the passphrase before its next start, or it cannot sign.", err=True)


@keys.command()
@data_option
@json_option
def verify(data_dir: Path | None, as_json: bool) -> None:
    """Check the whole chain: every TUF root, the keys here, every release statement."""
    from .keys_check import check_all

    with in_words():
        found = check_all(keys_folder(data_dir))
    if as_json:
        emit_json({"checked": found.checked, "problems": found.problems})
    else:
        for line in found.checked:
            click.echo(line)
        for line in found.problems:
            click.echo(f"Problem: {line}", err=True)
    if found.problems:
        raise click.exceptions.Exit(1)
    if not as_json:
        click.echo("All is well.")


def _tell(change: Change, releases: int) -> None:
    if change.published:
        click.echo(f"TUF root {change.version} is published. Devices follow it when they next connect.")
        if releases:
            click.echo(
                f"{releases} releases are signed by the new keys, or wait for them: edgepress release "
                "list shows which."
            )
        return
    missing = []
    if change.missing_old:
        missing.append(f"{change.missing_old} by root keys of version {change.version - 1}")
    if change.missing_new:
        missing.append(f"{change.missing_new} by its own root keys")
    click.echo(f"TUF root {change.version} waits for signatures: {', '.join(missing)}.")
    click.echo(
        "Next: edgepress keys export root -o root.bundle; where the keys are: edgepress keys sign "
        "root.bundle "
        "--key FILE; here: edgepress keys import root.bundle"
    )
