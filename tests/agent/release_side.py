"""The server's side of the protocol, with keys of its own, written from ``protocol``'s head alone.

``ReleaseSide`` makes what a server makes: a TUF root, release statements, wants, sealed keys and chunks. What
it can do wrong is for the tests to ask.
"""

import base64
import copy
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from edgepress_devices import protocol
from edgepress_devices.protocol import DeltaStatement, Limits, Statement, Want


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Release:
    """An artifact with its content key, as chunks, and the statement that allows it."""

    artifact: bytes
    profile: str = "x86-pc"
    model: str = "digits"
    counter: int = 1
    limits: Limits = field(default_factory=Limits)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    @cached_property
    def digest(self) -> str:
        return sha256(self.artifact)

    @property
    def chunks(self) -> int:
        return protocol.chunk_count(len(self.artifact))

    def chunk(self, n: int) -> bytes:
        plain = self.artifact[n * protocol.CHUNK_PLAIN_BYTES : (n + 1) * protocol.CHUNK_PLAIN_BYTES]
        aad = protocol.chunk_aad(self.digest, n, self.chunks)
        return AESGCM(self.key).encrypt(protocol.chunk_nonce(n), plain, aad)


class ReleaseSide:
    def __init__(self) -> None:
        self.root_key = CryptoSigner.generate_ed25519()
        self.release_key = CryptoSigner.generate_ed25519()
        self.director_key = CryptoSigner.generate_ed25519()
        self.snapshot_key = CryptoSigner.generate_ed25519()
        root = Root(consistent_snapshot=False, expires=_in_days(365))
        root.add_key(self.root_key.public_key, "root")
        root.add_key(self.release_key.public_key, "targets")
        root.add_key(self.director_key.public_key, "timestamp")
        root.add_key(self.snapshot_key.public_key, "snapshot")
        self.root: Metadata[Root] = Metadata(root)
        self.root.sign(self.root_key)

    def statement(
        self, release: Release, *, signer: CryptoSigner | None = None, days: float = 365
    ) -> dict[str, Any]:
        custom = msgspec.to_builtins(
            Statement(release.profile, release.model, release.chunks, release.limits)
        )
        target = TargetFile(
            len(release.artifact), {"sha256": release.digest}, release.digest, {"custom": custom}
        )
        signed = Metadata(
            Targets(version=release.counter, expires=_in_days(days), targets={release.digest: target})
        )
        signed.sign(signer or self.release_key)
        return signed.to_dict()

    def delta(
        self, device: str, public_key: X25519PublicKey, whole: Release, delta: Release, **changes: Any
    ) -> dict[str, Any]:
        """``Want.delta``: ``delta`` stands for ``whole``; ``changes`` replace fields of "
        "``DeltaStatement``."""
        said = DeltaStatement(
            delta.profile, delta.model, delta.chunks, "ba" * 32, whole.digest, "0f" * 32, 100_000
        )
        custom = msgspec.to_builtins(said) | changes
        target = TargetFile(len(delta.artifact), {"sha256": delta.digest}, delta.digest, {"custom": custom})
        signed = Metadata(
            Targets(version=delta.counter, expires=_in_days(365), targets={delta.digest: target})
        )
        signed.sign(self.release_key)
        sealed = seal(delta.key, public_key, device, delta.digest)
        return {"statement": signed.to_dict(), "sealed_key": sealed}

    def rotate(self, role: str, *, days: float = 365) -> bytes:
        """The next root: another key for ``role`` (root, targets or timestamp), signed as TUF says."""
        new, signers = CryptoSigner.generate_ed25519(), [self.root_key]
        old = {"root": self.root_key, "targets": self.release_key, "timestamp": self.director_key}[role]
        self.root = copy.deepcopy(self.root)
        self.root.signed.version += 1
        self.root.signed.expires = _in_days(days)
        self.root.signed.revoke_key(old.public_key.keyid, role)
        self.root.signed.add_key(new.public_key, role)
        if role == "root":
            self.root_key = new
            signers.append(new)
        elif role == "targets":
            self.release_key = new
        else:
            self.director_key = new
        self.root.signatures.clear()
        for signer in signers:
            self.root.sign(signer, append=True)
        payload: bytes = self.root.to_bytes()
        return payload

    def want(
        self,
        device: str,
        public_key: X25519PublicKey,
        release: Release | None,
        *,
        counter: int,
        signer: CryptoSigner | None = None,
        days: float = 30,
        issued_at: int | None = None,
        **changes: Any,
    ) -> bytes:
        """A signed want; ``changes`` replace fields of ``Want`` before it is signed."""
        fields: dict[str, Any] = {
            "device": device,
            "issued_at": int(time.time()) if issued_at is None else issued_at,
        }
        if release is not None:
            fields |= {
                "digest": release.digest,
                "size": len(release.artifact),
                "chunks": release.chunks,
                "sealed_key": seal(release.key, public_key, device, release.digest),
                "statement": self.statement(release),
            }
        want = msgspec.to_builtins(Want(**{**fields, **changes}))
        signed = Metadata(
            Targets(
                version=counter, expires=_in_days(days), targets={}, unrecognized_fields={"ep_want": want}
            )
        )
        signed.sign(signer or self.director_key)
        payload: bytes = signed.to_bytes()
        return payload


def seal(key: bytes, public_key: X25519PublicKey, device: str, digest: str) -> str:
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    return base64.b64encode(suite.encrypt(key, public_key, protocol.seal_info(device, digest))).decode(
        "ascii"
    )


def _in_days(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


def replace_somewhere(document: Any, path: list[int], value: object) -> None:
    """Walk down a JSON document by number, and put ``value`` where the walk ends."""
    for step, number in enumerate(path):
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = keys[number % len(keys)]
        if step == len(path) - 1 or not isinstance(document[key], dict | list):
            document[key] = value
            return
        document = document[key]
