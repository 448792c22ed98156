"""A store with one model and its artifacts, release keys on sticks, and the commands that carry bundles."""

from __future__ import annotations

import hashlib
from pathlib import Path

from click.testing import CliRunner, Result

from edgepress_server.cli.main import edgepress
from edgepress_server.store import Store
from edgepress_server.store.models import ModelFacts
from edgepress_server.trust.key_change import rotate
from edgepress_server.trust.key_file import new_private_key, public_pem, write_private_key
from edgepress_server.trust.keys import Keys, create_keys_if_missing, load_keys
from edgepress_server.trust.passphrase import Passphrase

MODEL = "digits"
PASSPHRASE = "a stick in a safe"


class Vendor:
    """The server's store and keys; ``sticks`` are the private release keys that lie elsewhere."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.data = store.data_dir
        self.folder = store.data_dir / "keys"
        self.keys: Keys = create_keys_if_missing(self.folder)
        self.sticks: list[Path] = []
        blob = store.blobs.put(b"the model")
        facts = ModelFacts(bytes=9, weight_bytes=9, parameters=2, macs=None, inputs=[], outputs=[])
        store.models.add(MODEL, blob, facts, None, actor=None)
        self.passphrase_file = self.data / "passphrase"
        self.passphrase_file.write_text(PASSPHRASE + "\n")

    def reload(self) -> Keys:
        self.keys = load_keys(self.folder)
        return self.keys

    def release_keys_elsewhere(self, count: int, threshold: int) -> None:
        (self.data / "sticks").mkdir(exist_ok=True)
        signers = [new_private_key() for _ in range(count)]
        self.sticks = [self.data / "sticks" / f"{number}.pem" for number in range(count)]
        for path, signer in zip(self.sticks, signers, strict=True):
            write_private_key(path, signer, "release", Passphrase(PASSPHRASE.encode()))
            path.with_suffix(".pub.pem").write_bytes(public_pem(signer.public_key))
        rotate(
            self.folder, "release", new_keys=[signer.public_key for signer in signers], threshold=threshold
        )
        self.reload()

    def artifact(self, text: str, profile: str = "x86-pc") -> str:
        data = text.encode() * 20_000
        digest = self.store.blobs.put(data)
        assert digest == hashlib.sha256(data).hexdigest()
        self.store.artifacts.add(
            digest, model=MODEL, profile=profile, recipe="none", size_bytes=len(data), report={}, job=None
        )
        return digest

    def delta(self, base: str, full: str, size: int = 1000) -> str:
        """A delta that the worker has made."""
        digest = hashlib.sha256(f"{base}{full}".encode()).hexdigest()
        with self.store.transaction() as connection:
            connection.execute(
                "INSERT INTO deltas (base, full, state, created_at) VALUES (?, ?, 'wanted', 0)", (base, full)
            )
        self.store.deltas.made(base, full, digest=digest, size=size, onnx_sha256="0f" * 32, onnx_bytes=50_000)
        return digest

    def command(self, *arguments: str, data: bool = True) -> Result:
        """``edgepress keys ...`` on this data folder."""
        where = ["--data", str(self.data)] if data else []
        return CliRunner().invoke(edgepress, ["keys", *arguments, *where])

    def sign(self, bundle: Path, stick: Path) -> Result:
        """On the machine that has the stick and nothing else."""
        passphrase = ["--passphrase-file", str(self.passphrase_file)]
        return self.command("sign", str(bundle), "--key", str(stick), "--yes", *passphrase, data=False)
