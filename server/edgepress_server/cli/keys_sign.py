"""``edgepress keys export``, ``sign`` and ``import``: signatures by keys on other machines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .keys_folder import (
    ask_passphrase,
    data_folder,
    data_option,
    in_words,
    keys_folder,
    note,
    passphrase_option,
)
from .serve import FILE

if TYPE_CHECKING:
    from edgepress_server.store import Store
    from edgepress_server.trust.keys import Keys

READABLE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("what")
@click.option("-o", "--output", type=FILE, required=True, help="The bundle to write.")
@click.option(
    "--with-rollback",
    is_flag=True,
    help="Also make ready the way back: a release of what these profiles had before, to sign together.",
)
@data_option
def export(what: str, output: Path, with_rollback: bool, data_dir: Path | None) -> None:
    """Write what waits for signatures into a bundle: WHAT is a release's id, `releases` (all) or `root`."""
    from edgepress_server.files import replace_file
    from edgepress_server.store import open_store
    from edgepress_server.trust.bundle import Item, make_bundle
    from edgepress_server.trust.key_change import newest_root, pending_root
    from edgepress_server.trust.keys import load_keys

    folder = keys_folder(data_dir)
    with in_words():
        if what == "root":
            draft = pending_root(folder)
            if draft is None:
                raise click.ClickException("no change of the keys waits for signatures")
            items = [Item("root", draft.to_dict())]
        else:
            _need_store(data_dir)
            keys = load_keys(folder)
            store = open_store(data_folder(data_dir))
            try:
                ids = [release.id for release in store.signing.waiting()] if what == "releases" else [what]
                if with_rollback:
                    ids = list(dict.fromkeys(ids + _ways_back(store, keys, ids)))
                items = [item for release_id in ids for item in store.signing.items(keys, release_id)]
            finally:
                store.close()
            if not items:
                raise click.ClickException("no release waits for signatures")
        replace_file(output, make_bundle(newest_root(folder), items), mode=0o644)
    click.echo(
        f"{output} holds {len(items)} to sign. Where the key is: edgepress keys sign {output.name} --key FILE"
    )


@click.command()
@click.argument("bundle", type=READABLE_FILE)
@click.option(
    "--key",
    "key_file",
    type=READABLE_FILE,
    required=True,
    help="The private key, from keys init or take-offline.",
)
@click.option("-o", "--output", type=FILE, help="Where to write the signed bundle.  [default: BUNDLE itself]")
@click.option("--yes", is_flag=True, help="Do not ask; for a script that has looked at the bundle itself.")
@passphrase_option
def sign(bundle: Path, key_file: Path, output: Path | None, yes: bool, passphrase_file: Path | None) -> None:
    """Sign BUNDLE with a key of this machine, which needs neither a server nor a network.

    Says first what the bundle asks for, read from the bytes that are signed.
    """
    from edgepress_server.files import replace_file
    from edgepress_server.trust.bundle import describe, make_bundle, read_bundle, read_item_root, sign_bundle
    from edgepress_server.trust.key_file import read_private_key
    from edgepress_server.trust.keys import KEYID_CHARS
    from edgepress_server.trust.passphrase import Passphrase

    with in_words():
        read = read_bundle(_bytes_of(bundle))
        for number, line in enumerate(describe(read), 1):
            click.echo(f"{number}. {line}")
        if not yes and not sys.stdin.isatty():
            raise click.ClickException(
                "say --yes to sign without a terminal, after you have read the lines above"
            )
        if not yes:
            click.confirm("Is this what you mean to sign?", abort=True)
        signer = read_private_key(key_file, [Passphrase(ask_passphrase(passphrase_file, str(key_file)))])
        signed, count = sign_bundle(read, signer)
        replace_file(output or bundle, make_bundle(read_item_root(signed.root), signed.items), mode=0o644)
    click.echo(
        f"Signed {count} of {len(read.items)} with key {signer.public_key.keyid[:KEYID_CHARS]} into "
        f"{output or bundle}. "
        "Where another key must sign, pass the file on; on the server: edgepress keys import"
    )


@click.command("import")
@click.argument("bundle", type=READABLE_FILE)
@data_option
def import_(bundle: Path, data_dir: Path | None) -> None:
    """Take the signatures of BUNDLE, after everything in it was checked against the keys and "
    "releases here."""
    from edgepress_server.store import open_store
    from edgepress_server.trust.bundle import read_bundle, read_item_root
    from edgepress_server.trust.key_change import add_root_signatures
    from edgepress_server.trust.keys import load_keys

    folder = keys_folder(data_dir)
    with in_words():
        read = read_bundle(_bytes_of(bundle))
        for item in read.items:
            if item.kind != "root":
                continue
            signed = read_item_root(item.metadata)
            if not signed.signatures:
                raise click.ClickException(f"{bundle} came back without a signature: run keys sign first")
            change = add_root_signatures(folder, signed)
            missing = change.missing_old + change.missing_new
            note(data_dir, "keys_import", "root", {"root": change.version, "missing": missing})
            click.echo(
                f"TUF root {change.version} is published. Devices follow it when they next connect."
                if change.published
                else f"The signatures in it are kept. TUF root {change.version} still waits for "
                f"{change.missing_old} by root keys of version {change.version - 1} and "
                f"{change.missing_new} by its own; a key of both counts for both."
            )
        ids = list(dict.fromkeys(item.release for item in read.items if item.kind != "root"))
        if not ids:
            return
        _need_store(data_dir)
        keys = load_keys(folder)
        store = open_store(data_folder(data_dir))
        try:
            with store.transaction():  # the whole bundle or nothing of it
                taken = [
                    store.signing.take(
                        keys, release_id, [item for item in read.items if item.release == release_id]
                    )
                    for release_id in ids
                ]
        finally:
            store.close()
        for one in taken:
            have = f"{one.signatures} of {one.needed} signatures"
            said = f"Release {one.release} (number {one.counter}) has {have}"
            said += (
                ": it is signed." if one.signatures >= one.needed else "; pass the bundle on to the next key."
            )
            click.echo(said + (f" {one.deltas} deltas are signed." if one.deltas else ""))
            data = {"signatures": one.signatures, "needed": one.needed, "deltas": one.deltas}
            note(data_dir, "keys_import", one.release, data)


def _ways_back(store: Store, keys: Keys, ids: list[str]) -> list[str]:
    """Rollbacks to sign together with these releases, made ready where that was not done before."""
    found = []
    for release in map(store.releases.get, ids):
        if release.standby_for is not None:
            continue  # it is a way back itself
        before = store.releases.standby_of(release.id)
        standby = before or store.releases.create_standby(keys, release.id)
        if standby is not None and standby.state == "awaiting_signature":
            found.append(standby.id)
    return found


def _need_store(data_dir: Path | None) -> None:
    folder = data_folder(data_dir)
    if not (folder / "edgepress.db").is_file():
        raise click.ClickException(
            f"{folder} holds no edgepress store; name the folder that the server uses with --data"
        )


def _bytes_of(bundle: Path) -> bytes:
    from edgepress_server.trust.bundle import BUNDLE_MAX_BYTES

    with bundle.open("rb") as stream:
        return stream.read(BUNDLE_MAX_BYTES + 1)
