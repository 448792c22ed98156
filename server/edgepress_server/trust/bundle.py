"""A bundle: what keys on another machine are asked to sign, carried there and back as one JSON file.

::

    {"edgepress_bundle": 1,
     "root": Metadata[Root],       the newest one, so that the signer sees which keys count
     "items": [{"kind": "release" | "delta" | "root",
                "release": id of the release, empty for a root,
                "metadata": Metadata[Targets] or Metadata[Root], with the signatures so far}, ...]}

Nothing in a bundle is believed. What a signer is shown is read from the bytes that are signed, never from
words that came along; what comes back is compared with what the server asked for, signature by signature.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from edgepress_devices.protocol import DeltaStatement, Statement
from edgepress_server.errors import ConflictError, InvalidInputError
from edgepress_server.trust.keys import KEYID_CHARS
from edgepress_server.trust.roots import MALFORMED, ROLES, read_root, role_keyids, role_threshold

BUNDLE_MAX_BYTES: Final = 16 << 20
ITEMS_MAX: Final = 2000


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["release", "delta", "root"]
    metadata: dict[str, Any]
    release: str = ""


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    root: dict[str, Any]
    items: list[Item]
    edgepress_bundle: int = 1


def make_bundle(root: Metadata[Root], items: Sequence[Item]) -> bytes:
    """As a file: sorted and indented, so that two of them can be compared by eye."""
    bundle = Bundle(root=root.to_dict(), items=list(items))
    return json.dumps(msgspec.to_builtins(bundle), indent=1, sort_keys=True).encode("utf-8") + b"\n"


def read_bundle(data: bytes) -> Bundle:
    """Raises InvalidInputError."""
    if len(data) > BUNDLE_MAX_BYTES:
        raise InvalidInputError(
            "bundle_too_large", f"A bundle has at most {BUNDLE_MAX_BYTES >> 20} MiB; this is no bundle."
        )
    try:
        bundle = msgspec.json.decode(data, type=Bundle)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(
            "bad_bundle", f"This is no bundle of `edgepress keys export` ({str(error)[:200]})."
        ) from error
    if bundle.edgepress_bundle != 1 or len(bundle.items) > ITEMS_MAX:
        raise InvalidInputError(
            "bad_bundle", "This bundle was made by another version of edgepress; export it again."
        )
    return bundle


def read_targets(item: Item) -> Metadata[Targets]:
    """Raises InvalidInputError."""
    try:
        metadata = Metadata[Targets].from_dict(copy.deepcopy(item.metadata))
        if not isinstance(metadata.signed, Targets) or len(metadata.signed.targets) != 1:
            raise ValueError("it is no statement about one artifact")
    except MALFORMED as error:
        raise InvalidInputError(
            "bad_bundle", f"An item of the bundle is damaged: {_short(error)}."
        ) from error
    return metadata


def read_item_root(document: dict[str, Any]) -> Metadata[Root]:
    """Raises InvalidInputError."""
    try:
        return read_root(json.dumps(document).encode("utf-8"))
    except (*MALFORMED, RecursionError) as error:
        raise InvalidInputError(
            "bad_bundle", f"A TUF root in the bundle is damaged: {_short(error)}."
        ) from error


def describe(bundle: Bundle) -> list[str]:
    """One sentence for each item, from what is signed. Raises InvalidInputError."""
    newest = read_item_root(bundle.root)
    return [_describe(item, newest) for item in bundle.items]


def sign_bundle(bundle: Bundle, signer: CryptoSigner) -> tuple[Bundle, int]:
    """The bundle with this key's signature on every item where the key counts, and how many those are.

    Raises InvalidInputError, ConflictError (the key counts nowhere in it).
    """
    newest = read_item_root(bundle.root)
    keyid = signer.public_key.keyid
    signed: list[Item] = []
    count = 0
    for item in bundle.items:
        metadata: Metadata[Any]
        if item.kind == "root":
            metadata = read_item_root(item.metadata)
            counts = keyid in role_keyids(newest.signed, "root") + role_keyids(metadata.signed, "root")
        else:
            metadata = read_targets(item)
            counts = keyid in role_keyids(newest.signed, "release")
        if counts:
            metadata.sign(signer, append=True)
            count += 1
        signed.append(msgspec.structs.replace(item, metadata=metadata.to_dict()))
    if not count:
        raise ConflictError(
            "key_counts_nowhere",
            f"Key {keyid[:KEYID_CHARS]} is no key that anything in this bundle needs; `edgepress keys "
            "show` on the "
            "server lists the keys.",
        )
    return msgspec.structs.replace(bundle, items=signed), count


def describe_root_change(before: Root, after: Root) -> str:
    """What a new root changes, in words."""
    said: list[str] = []
    for role in ROLES:
        old, new = role_keyids(before, role), role_keyids(after, role)
        said += [f"{role} key {keyid[:KEYID_CHARS]} comes" for keyid in new if keyid not in old]
        said += [f"{role} key {keyid[:KEYID_CHARS]} goes" for keyid in old if keyid not in new]
        if role_threshold(before, role) != role_threshold(after, role):
            said.append(f"{role} needs {role_threshold(after, role)} of {len(new)} keys")
    return "; ".join(said) or "the same keys for longer"


def _describe(item: Item, newest: Metadata[Root]) -> str:
    if item.kind == "root":
        root = read_item_root(item.metadata)
        return (
            f"TUF root {root.signed.version}, valid until {_day(root.signed.expires)}: "
            f"{describe_root_change(newest.signed, root.signed)}. {_signatures(len(root.signatures))}"
        )
    metadata = read_targets(item)
    (digest, target), *_ = metadata.signed.targets.items()
    until = _day(metadata.signed.expires)
    needed = _signatures(len(metadata.signatures), role_threshold(newest.signed, "release"))
    try:
        if item.kind == "delta":
            delta = msgspec.convert(target.custom, DeltaStatement)
            return (
                f"Delta of release {metadata.signed.version}: model {delta.model!r} for "
                f"{delta.profile!r}, from artifact "
                f"{delta.base} to {delta.full}, {target.length} bytes, file {digest}, valid until "
                f"{until}. {needed}"
            )
        said = msgspec.convert(target.custom, Statement)
    except msgspec.MsgspecError as error:
        raise InvalidInputError("bad_bundle", f"An item says too little: {_short(error)}.") from error
    return (
        f"Release {metadata.signed.version}: model {said.model!r} for {said.profile!r}, "
        f"{target.length} bytes, "
        f"artifact {digest}, valid until {until}. {needed}"
    )


def _signatures(have: int, needed: int | None = None) -> str:
    return f"Signatures: {have}." if needed is None else f"Signatures: {have} of {needed}."


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
