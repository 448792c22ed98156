"""The worker's part in deltas: makes what is wanted, one at a time in a child process, and has it signed.

look --something is wanted--> child running --exit 0: settled in the store--> look again
                                            --other exit, TIMEOUT_S---------> attempted; again, or failed
     --something is ready, unsigned--> signed for its release, where the release key is here
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgepress_devices.protocol import chunk_count
from edgepress_server.errors import ServerError
from edgepress_server.jobs.child_process import child_environment, end_child, exit_words, log_file
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.deltas import Delta
from edgepress_server.trust.keys import Keys
from edgepress_server.trust.statement import sign_delta_statement

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
TIMEOUT_S: Final = 600.0

StartDeltaChild = Callable[[Settings, Delta], "subprocess.Popen[bytes]"]


def start_delta_child(settings: Settings, delta: Delta) -> subprocess.Popen[bytes]:
    """The process of `delta_child`; what it prints goes to DIR/log/deltas/<artifact>.log."""
    with _log(settings, delta).open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "edgepress_server.jobs.delta_child",
                str(settings.data_dir),
                delta.base,
                delta.full,
            ],
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(threads=1),
        )


def sign_deltas(store: Store, keys: Keys) -> int:
    """Have the release key sign the deltas that are ready; how many. None where that key is offline."""
    if not keys.signs_releases:
        return 0
    signed = 0
    for release_id, delta in store.deltas.unsigned():
        release = store.releases.get(release_id)
        if release.state != "signed" or delta.digest is None or delta.bytes is None:
            continue
        profile = next(p for p, digest in release.artifacts.items() if digest == delta.full)
        statement = sign_delta_statement(
            keys,
            digest=delta.digest,
            size=delta.bytes,
            chunks=chunk_count(delta.bytes),
            profile=profile,
            model=release.model,
            base=delta.base,
            full=delta.full,
            onnx_sha256=delta.onnx_sha256 or "",
            onnx_bytes=delta.onnx_bytes or 0,
            release_counter=release.counter,
        )
        store.deltas.put_statement(release_id, delta.digest, statement)
        signed += 1
    return signed


class DeltaMaker:
    """Made once for a worker. ``tick`` never waits."""

    def __init__(
        self, settings: Settings, store: Store, keys: Keys, start: StartDeltaChild = start_delta_child
    ) -> None:
        self._settings = settings
        self._store = store
        self.keys = keys
        self._start = start
        self._child: tuple[Delta, subprocess.Popen[bytes], float] | None = None
        self._look_due_s = 0.0

    def tick(self) -> None:
        """Look after the child, or for something to make. Raises StoreError."""
        if self._child is not None:
            self._watch(*self._child)
        elif time.monotonic() >= self._look_due_s:
            self._look_due_s = time.monotonic() + LOOK_S
            sign_deltas(self._store, self.keys)
            wanted = self._store.deltas.next_wanted()
            if wanted is not None:
                self._begin(wanted)

    def stop(self) -> None:
        """End the child; what it made is wanted again."""
        if self._child is not None:
            _, process, _ = self._child
            self._child = None
            end_child(process)

    def _begin(self, delta: Delta) -> None:
        try:
            self._child = (delta, self._start(self._settings, delta), time.monotonic() + TIMEOUT_S)
        except OSError as error:
            self._store.deltas.attempted(
                delta.base, delta.full, f"Its process could not be started ({error})."
            )

    def _watch(self, delta: Delta, process: subprocess.Popen[bytes], until_s: float) -> None:
        late = time.monotonic() >= until_s
        if process.poll() is None and not late:
            return
        end_child(process)
        self._child = None
        self._look_due_s = 0.0
        if late or process.returncode != 0:
            why = (
                f"It took longer than {TIMEOUT_S:.0f} seconds."
                if late
                else exit_words(process.returncode, _log(self._settings, delta))
            )
            try:
                self._store.deltas.attempted(delta.base, delta.full, why)
            except ServerError as error:  # it is still wanted, and tried again
                log.warning("a delta's end could not be noted: %s", error.message)


def _log(settings: Settings, delta: Delta) -> Path:
    return log_file(settings.log_dir / "deltas", delta.full[:16])
