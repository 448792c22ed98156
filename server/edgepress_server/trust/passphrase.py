"""What the private keys at rest are encrypted with.

In this order:

1. ``EDGEPRESS_KEYS_PASSPHRASE``
2. the first line of the file that ``EDGEPRESS_KEYS_PASSPHRASE_FILE`` names
3. ``$CREDENTIALS_DIRECTORY/edgepress-keys``, where systemd puts a service's credential
4. ``DIR/keys/secret``: 32 random bytes in hexadecimal, made here when nothing else is given

The first three keep the passphrase apart from the data folder: a stolen disk, back-up or copy of the folder
then gives no key away. The fourth does not, since it lies beside the keys: it only protects keys that are
copied without it. Nothing protects against somebody who has control of the running server: it must sign
wants alone.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgepress_server.errors import StoreError
from edgepress_server.files import replace_file

SECRET_FILE: Final = "secret"  # noqa: S105 - a name
PASSPHRASE_MAX_BYTES: Final = 1024
_VARIABLE: Final = "EDGEPRESS_KEYS_PASSPHRASE"


@dataclass(frozen=True)
class Passphrase:
    """``chosen``: by a person, so guessing it must cost something; else 256 random bits."""

    text: bytes = field(repr=False)
    chosen: bool = True


def known_passphrases(folder: Path, environment: Mapping[str, str] | None = None) -> list[Passphrase]:
    """What this server may open its keys with, the preferred one first. Raises StoreError."""
    environment = os.environ if environment is None else environment
    found: list[Passphrase] = []
    if text := environment.get(_VARIABLE, ""):
        found.append(Passphrase(text.encode("utf-8")))
    if named := environment.get(_VARIABLE + "_FILE", ""):
        found.append(Passphrase(_first_line(Path(named))))
    if credentials := environment.get("CREDENTIALS_DIRECTORY", ""):
        file = Path(credentials) / "edgepress-keys"
        if file.is_file():
            found.append(Passphrase(_first_line(file)))
    if (folder / SECRET_FILE).is_file():
        found.append(Passphrase(_first_line(folder / SECRET_FILE), chosen=False))
    return found


def preferred_passphrase(folder: Path, environment: Mapping[str, str] | None = None) -> Passphrase:
    """What new keys are encrypted with; made where nothing is given. Raises StoreError, DiskFullError."""
    known = known_passphrases(folder, environment)
    if known:
        return known[0]
    replace_file(folder / SECRET_FILE, secrets.token_hex(32).encode("ascii") + b"\n")
    return known_passphrases(folder, environment)[0]


def _first_line(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            line = stream.read(PASSPHRASE_MAX_BYTES).split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise StoreError(
            "no_passphrase", f"The passphrase of the keys cannot be read from {file}: {error.strerror}."
        ) from error
    if not line:
        raise StoreError("no_passphrase", f"{file} is empty; its first line is the passphrase of the keys.")
    return line
