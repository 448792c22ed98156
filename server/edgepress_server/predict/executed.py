"""Which operators a runtime executes of a stored file: worked out once, kept on disk, waited for a moment.

    get() --kept on disk-----------------------------------------------> ExecutedModel
          --a child is at work (started now, or by somebody else)--wait--> ExecutedModel | None: ask again
          --the child said what is wrong (remembered a while)------------> NotPredictableError

What the answer depends on is its file name: the blob, the layout of the device's convolutions, and the
versions of edgepress and of the runtime that was asked. Losing the folder costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from edgepress_devices import __version__
from edgepress_server.errors import InvalidInputError, RateLimitedError, ServerError
from edgepress_server.files import replace_file
from edgepress_server.predict.executed_model import BYTES_MAX, ExecutedModel, decode

log = logging.getLogger(__name__)

FORMAT: Final = 1  # of the kept files and of what is counted; raise it when either changes
KEPT_MAX: Final = 500  # files; the ones used longest ago go first
TIMEOUT_S: Final = 180.0  # of one child
WAITING_MAX: Final = 16  # children at work or waiting for their turn
FAILURE_KEPT_S: Final = (
    600.0  # a file that cannot be predicted is not tried again with every look at its page
)
_AT_ONCE: Final = threading.BoundedSemaphore(1)  # each may take some GiB, and the machine's other core serves

Kind = Literal["model", "artifact"]


class NotPredictableError(InvalidInputError):
    """The operators of this file cannot be worked out; the message says why."""

    def __init__(self, why: str) -> None:
        super().__init__("not_predictable", why)


@dataclass
class _Work:
    """One child, and who waits for it."""

    done: threading.Event = field(default_factory=threading.Event)
    found: ExecutedModel | None = None
    failed: ServerError | None = None
    failed_s: float = 0.0  # time.monotonic()


class ExecutedModels:
    """Safe to share between threads; several processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._works: dict[str, _Work] = {}
        self._made_by = f"{FORMAT} {__version__} onnxruntime {version('onnxruntime')}"

    def get(
        self, kind: Kind, digest: str, path: Path, layout: str, *, wait_s: float = 0.0
    ) -> ExecutedModel | None:
        """What is executed of the file at `path`, whose SHA-256 is `digest`; None: not known within `wait_s`.

        Raises NotPredictableError, and RateLimitedError where too many files wait already.
        """
        name = hashlib.sha256(f"{self._made_by} {kind} {digest} {layout}".encode()).hexdigest()
        kept = self._read(name)
        if kept is not None:
            return kept
        with self._lock:
            self._forget_old_failures()
            work = self._works.get(name)
            if work is None:
                if sum(not each.done.is_set() for each in self._works.values()) >= WAITING_MAX:
                    raise RateLimitedError(
                        "busy", "The server is looking into other models. Try again in a minute.", 60
                    )
                work = self._works[name] = _Work()
                arguments = (name, work, kind, path, layout)
                threading.Thread(target=self._run, args=arguments, name="executed", daemon=True).start()
        work.done.wait(wait_s)
        if work.failed is not None:
            raise work.failed
        return work.found

    def _run(self, name: str, work: _Work, kind: Kind, path: Path, layout: str) -> None:
        try:
            with _AT_ONCE:
                raw = _ask_child(kind, path, layout)
            work.found = decode(raw)
            self._keep(name, raw)
        except ServerError as error:
            work.failed = error
        except (OSError, ValueError) as error:  # no process, no memory for its output, or another program's
            log.error("the operators of %s cannot be worked out", path, exc_info=error)
            work.failed = NotPredictableError(
                "The program that looks into the model could not be started or understood; the server's log "
                "says more. Try again later."
            )
        finally:
            with self._lock:
                if work.failed is None:
                    del self._works[name]  # the disk has it; who waits holds the work itself
                else:
                    work.failed_s = time.monotonic()
            work.done.set()

    def _forget_old_failures(self) -> None:
        now_s = time.monotonic()
        for name, work in list(self._works.items()):
            if work.done.is_set() and now_s - work.failed_s > FAILURE_KEPT_S:
                del self._works[name]

    # --- the folder -----------------------------------------------------------------------------------

    def _read(self, name: str) -> ExecutedModel | None:
        path = self._folder / name
        try:
            with path.open("rb") as file:
                raw = file.read(BYTES_MAX + 1)
            path.touch()  # used now
            return decode(raw)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # damaged on disk: worked out anew
            log.warning("%s is not used: %s", path, error)
            return None

    def _keep(self, name: str, raw: bytes) -> None:
        """A disk that is full costs time at the next look, no more."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(self._folder / name, raw)
            kept = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in kept[: max(0, len(kept) - KEPT_MAX)]:
                path.unlink(missing_ok=True)
        except (ServerError, OSError) as error:
            log.warning("the operators of a model were not kept: %s", error)


def _ask_child(kind: Kind, path: Path, layout: str) -> bytes:
    """JSON of an ExecutedModel. Raises NotPredictableError, OSError."""
    # here, since the worker, which the package `jobs` offers, predicts too
    from edgepress_server.jobs.child_process import child_environment

    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgepress_server.predict.executed_child", kind, str(path), layout],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=child_environment(threads=1),
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise NotPredictableError(
            f"Working out what a runtime executes of this model took longer than {TIMEOUT_S:.0f} seconds; it "
            "was given up. Its latency shows on a device: release it to one."
        ) from error
    if done.returncode == 0 and done.stdout.startswith(b'{"operators"'):
        return done.stdout
    try:
        said = str(json.loads(done.stdout.splitlines()[-1])["error"])
    except (ValueError, LookupError, TypeError):
        log.error("a look at %s failed:\n%s", path, done.stderr[-8000:].decode("utf-8", "replace"))
        said = (
            "The program that looks into the model ended without an answer: the model is damaged, or it "
            "needs more memory than the server has."
        )
    raise NotPredictableError(said)
