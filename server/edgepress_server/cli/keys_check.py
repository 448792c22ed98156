"""Everything about the keys that can be wrong, looked at once: `edgepress keys verify`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgepress_server.errors import StoreError
from edgepress_server.store import open_store
from edgepress_server.trust.key_change import pending_root
from edgepress_server.trust.key_state import read_state
from edgepress_server.trust.keys import Keys, load_keys, read_role
from edgepress_server.trust.passphrase import known_passphrases
from edgepress_server.trust.statement import read_statement, valid_signatures


@dataclass(frozen=True)
class Found:
    checked: list[str]  # what is well, in words
    problems: list[str]


def check_all(folder: Path) -> Found:
    """``folder``: DATA/keys. Raises StoreError where nothing can be looked at."""
    found = Found([], [])
    try:
        keys = load_keys(folder)
        root_signers = read_role(folder, keys.root.signed, "root", known_passphrases(folder))
    except StoreError as error:
        found.problems.append(error.message)
        return found
    found.checked.append(
        f"{keys.version} TUF roots follow one another, each signed by the keys of the one before."
    )
    here = [f"{len(root_signers)} root", f"{len(keys.release)} release", "1 director"]
    found.checked.append(
        f"Private keys here open and are the ones that the newest root names: {', '.join(here)}."
    )
    pending_root(folder)
    found.problems.extend(read_state(folder).warnings())
    if (folder.parent / "edgepress.db").is_file():
        _check_releases(folder.parent, keys, found)
    return found


def _check_releases(data_dir: Path, keys: Keys, found: Found) -> None:
    store = open_store(data_dir)
    try:
        good = 0
        for release in store.releases.list(limit=-1):
            if release.state != "signed":
                continue
            statements = [read_statement(text) for text in store.releases.statements(release.id).values()]
            have = min(valid_signatures(keys, statement) for statement in statements)
            if have < keys.threshold("release"):
                found.problems.append(
                    f"Release {release.id} (number {release.counter}) has {have} of "
                    f"{keys.threshold('release')} good "
                    "signatures; start the server, which signs it again, or export it: edgepress keys export"
                )
            else:
                good += 1
        found.checked.append(f"{good} signed releases carry enough good signatures.")
    finally:
        store.close()
