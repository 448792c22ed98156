"""Where a search's trials are kept, claimed and taken over: the contract, and a file that keeps it.

    claim(propose) -> a trial nobody else works on: one whose worker died (its lease ran out), else a new one
    renew(number)  -> the worker is alive; False: another has taken the trial over, drop it
    finish(trial)  -> its figures; a second finish of the same trial changes nothing

FileLog is one folder that several processes of one machine share:

    search.json      what is searched: a log of another search is refused
    trials.jsonl     one line for each thing that happened to a trial; the last line of a number holds
    artifacts/       SHA-256.epa
    lock             flock while lines are read and added
    workers/         one file for each worker, locked while it lives: the kernel unlocks it when it dies

A line is fsynced before a worker goes on. A last line without its newline was cut off by a crash: it counts
as not written, and is cut away before the next one. So kill -9 at any moment loses at most the trial in hand.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Protocol

import msgspec

from edgepress_compression.errors import SearchError
from edgepress_compression.search.trial import Trial
from edgepress_compression.whole_file import write_whole

LEASE_S: Final = 60.0  # without a sign of life for so long, a worker is dead
LOG_MAX_BYTES: Final = 256 * 2**20
_FORMAT: Final = 1

Propose = Callable[[Sequence[Trial]], Trial | None]  # all trials so far -> the next; None: nothing to try


class TrialLog(Protocol):
    """Shared by all workers of one search."""

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Binds the log to a search. Raises SearchError where it holds another one."""

    def trials(self) -> list[Trial]:
        """As they are now, by number from 0, without gaps."""

    def claim(self, propose: Propose) -> Trial | None:
        """The trial that this worker shall do, state "running". No two workers get the same one.

        `propose` gives the new trial with `number == len(trials)`; it may be called again with more trials
        where another worker was faster. None: nothing is left to try.
        """

    def renew(self, number: int) -> bool:
        """Extends the lease, at least every LEASE_S / 3; False: the trial is another worker's by now."""

    def finish(self, trial: Trial, artifact: bytes | None = None) -> None:
        """State "done" or "failed". `artifact` is kept under its SHA-256, `trial.artifact`."""

    def artifact(self, digest: str) -> bytes | None:
        """The artifact of a finished trial, where it was kept."""

    def tell_tested(self, trial: Trial) -> None:
        """Replaces a trial that is done by one with more: a device's figures (stage "measured"), `tested`."""


class _Search(msgspec.Struct, frozen=True):
    format: int
    identity: dict[str, Any]


class FileLog:
    """A folder on this machine. One object is one worker; `close` it, or use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        """Raises SearchError where the folder cannot be used."""
        self.folder = folder
        self.worker = uuid.uuid4().hex[:12]
        try:
            for one in (folder, folder / "artifacts", folder / "workers"):
                one.mkdir(parents=True, exist_ok=True)
            self._alive: IO[bytes] | None = (folder / "workers" / self.worker).open("wb")
        except OSError as error:
            raise SearchError(
                f"The folder {folder} of the search cannot be used: {error.strerror}. Give another one."
            ) from error
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        self._read_bytes = 0
        self._known: dict[int, Trial] = {}

    def __enter__(self) -> FileLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets other workers take over what this one left."""
        if self._alive is not None:
            self._alive.close()
            self._alive = None
            (self.folder / "workers" / self.worker).unlink(missing_ok=True)

    def begin(self, identity: Mapping[str, Any]) -> None:
        ours = msgspec.json.encode(_Search(_FORMAT, dict(identity)), order="sorted")
        with self._locked():
            path = self.folder / "search.json"
            if not path.exists():
                write_whole(path, ours)
            elif path.read_bytes() != ours:
                raise SearchError(
                    f"The folder {self.folder} holds another search (its model, profile, data, budget or "
                    "seed differs). Give a folder of its own, or repeat the command that began it."
                )

    def trials(self) -> list[Trial]:
        with self._locked():
            return self._read()

    def claim(self, propose: Propose) -> Trial | None:
        with self._locked():
            trials = self._read()
            trial = next((one for one in trials if one.state == "running" and self._abandoned(one)), None)
            if trial is None:
                trial = propose(trials)
            if trial is None:
                return None
            claimed = msgspec.structs.replace(trial, state="running", worker=self.worker)
            self._append(claimed)
            return claimed

    def renew(self, number: int) -> bool:
        return True  # who lives holds its lock

    def finish(self, trial: Trial, artifact: bytes | None = None) -> None:
        digest = None if artifact is None else hashlib.sha256(artifact).hexdigest()
        with self._locked():
            now = {one.number: one for one in self._read()}.get(trial.number)
            if now is None or now.state != "running" or now.worker != self.worker:
                return  # finished before, or another worker's by now
            if artifact is not None and digest is not None and not self._artifact(digest).exists():
                write_whole(self._artifact(digest), artifact)
            self._append(msgspec.structs.replace(trial, worker=self.worker, artifact=digest))

    def tell_tested(self, trial: Trial) -> None:
        with self._locked():
            self._read()
            self._append(trial)

    def artifact(self, digest: str) -> bytes | None:
        try:
            return self._artifact(digest).read_bytes()
        except FileNotFoundError:
            return None

    def __getstate__(self) -> Path:
        return self.folder  # a worker process opens the same folder as a worker of its own

    def __setstate__(self, folder: Path) -> None:
        FileLog.__init__(self, folder)

    def _artifact(self, digest: str) -> Path:
        return self.folder / "artifacts" / f"{digest}.epa"

    def _abandoned(self, trial: Trial) -> bool:
        if trial.worker == self.worker:
            return True  # ours, and we ask for work: given up
        path = self.folder / "workers" / trial.worker
        try:
            with path.open("rb") as other:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        path.unlink(missing_ok=True)
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> list[Trial]:
        """What was added since the last look is read; under the lock only."""
        path = self.folder / "trials.jsonl"
        if not path.exists():
            return []
        if path.stat().st_size > LOG_MAX_BYTES:
            raise SearchError(
                f"The log {path} has more than {LOG_MAX_BYTES:,} bytes; begin in another folder."
            )
        with path.open("rb") as stream:
            stream.seek(self._read_bytes)
            added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                trial = msgspec.json.decode(line, type=Trial)
            except msgspec.DecodeError as error:
                raise SearchError(f"The log {path} is damaged ({error}); begin in another folder.") from error
            self._known[trial.number] = trial
        self._read_bytes += len(whole)
        return [self._known[number] for number in sorted(self._known)]

    def _append(self, trial: Trial) -> None:
        """After `_read`, under the same lock."""
        path = self.folder / "trials.jsonl"
        line = msgspec.json.encode(trial) + b"\n"
        with path.open("r+b" if path.exists() else "w+b") as stream:
            stream.truncate(self._read_bytes)  # cuts away a line that a crash left unfinished
            stream.seek(self._read_bytes)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        self._known[trial.number] = trial
        self._read_bytes += len(line)
