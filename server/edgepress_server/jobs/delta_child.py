"""The process that makes one delta: ``delta_child DATA_DIR BASE FULL``.

What comes out is decoded again and compared with the artifact's own model before it is kept. The blob is
written before its row, so wherever this is killed, the delta is there or still wanted.

Exit status: 0 it is settled in the store, anything else: it crashed.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path

from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.rebase import write_delta
from edgepress_compression.errors import ArtifactError
from edgepress_server.errors import NotFoundError, StoreError
from edgepress_server.jobs.child_process import die_with_pipe, settle_in
from edgepress_server.store import Store, open_store

log = logging.getLogger("edgepress_server.jobs")


def make_delta(store: Store, base: str, full: str) -> None:
    """Make, check and keep the delta from one artifact to another, or say in the store why there is none."""
    try:
        before, after = store.blobs.read(base), store.blobs.read(full)
        base_model, model = decode(before), decode(after)
        delta = write_delta(after, base_model)
        if decode(delta, base=base_model) != model:
            raise ArtifactError("file", "the delta decodes to something else than the artifact")
    except (ArtifactError, NotFoundError, StoreError) as error:
        log.warning("no delta from %s to %s: %s", base[:12], full[:12], error)
        store.deltas.attempted(base, full, str(error), final=True)
        return
    digest = store.blobs.put(delta)
    store.deltas.made(
        base,
        full,
        digest=digest,
        size=len(delta),
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        onnx_bytes=len(model),
    )
    log.info("delta from %s to %s: %d bytes in place of %d", base[:12], full[:12], len(delta), len(after))


def main() -> int:
    settle_in()
    die_with_pipe()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    data_dir, base, full = sys.argv[1:]
    store = open_store(Path(data_dir))
    try:
        make_delta(store, base, full)
    finally:
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
