"""What there is of keys, read without opening any: for `edgepress keys show`, the API and the health page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgepress_server.trust.key_change import pending_root
from edgepress_server.trust.key_file import is_encrypted
from edgepress_server.trust.keys import find_key
from edgepress_server.trust.roots import (
    ROLES,
    ROOT_WARNING,
    RoleName,
    read_root,
    read_roots,
    role_keyids,
    role_threshold,
)


@dataclass(frozen=True)
class KeyState:
    keyid: str
    here: bool  # the private key is on this machine
    encrypted: bool | None  # at rest; None where it is not here


@dataclass(frozen=True)
class RoleState:
    role: RoleName
    threshold: int
    keys: list[KeyState]

    @property
    def signs_here(self) -> bool:
        return sum(key.here for key in self.keys) >= self.threshold


@dataclass(frozen=True)
class KeysState:
    version: int  # of the newest root
    expires: datetime
    roles: list[RoleState]
    pending: int | None  # version of a root that waits for signatures

    def expiry_warning(self, now: datetime | None = None) -> str | None:
        """From 30 days before the root expires, in words; for everybody."""
        left = self.expires - (now or datetime.now(UTC))
        if left > ROOT_WARNING:
            return None
        if left.total_seconds() <= 0:
            return (
                f"The TUF root expired on {self.expires:%Y-%m-%d}: devices keep running and install nothing. "
                "Renew it: edgepress keys renew"
            )
        return (
            f"The TUF root expires on {self.expires:%Y-%m-%d}, in {left.days} days; devices then install "
            "nothing. Renew it: edgepress keys renew"
        )

    def warnings(self, now: datetime | None = None) -> list[str]:
        """What people should do something about, in words."""
        expiry = self.expiry_warning(now)
        said = [] if expiry is None else [expiry]
        plain = [key for role in self.roles for key in role.keys if key.encrypted is False]
        if plain:
            said.append(
                f"{len(plain)} private keys lie unencrypted in the keys folder: edgepress keys protect"
            )
        if self.pending is not None:
            said.append(
                f"TUF root {self.pending} waits for signatures by root keys: edgepress keys export root"
            )
        return said


def read_state(folder: Path) -> KeysState:
    """Raises StoreError."""
    root = read_root(read_roots(folder)[-1]).signed
    pending = pending_root(folder)
    return KeysState(
        version=root.version,
        expires=root.expires,
        roles=[
            RoleState(
                role,
                role_threshold(root, role),
                [_key(folder, role, keyid) for keyid in role_keyids(root, role)],
            )
            for role in ROLES
        ],
        pending=None if pending is None else pending.signed.version,
    )


def _key(folder: Path, role: RoleName, keyid: str) -> KeyState:
    path = find_key(folder, role, keyid)
    return KeyState(keyid, path is not None, None if path is None else is_encrypted(path))
