"""The journal: where the device's job stands, as one small file that is replaced whole.

A transition is first written here, with the next number, and only then reported. What can be seen on the disk
itself (which chunks came, what lies in which slot, where the pointer points) is not repeated here: facts have
one place.
"""

import threading
from pathlib import Path
from typing import Any

import msgspec

from edgepress_agent.durable import Disk
from edgepress_agent.errors import StoppedError
from edgepress_devices.protocol import Digest, JobStep

JOURNAL_MAX_BYTES = 65_536


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    identity: str = ""  # whose journal this is: SHA-256 over device name and TUF root
    seq: int = 0  # number of the last transition
    want: int = 0  # counter of the newest authentic want: older ones are replays
    release_floor: int = 0  # release counter of the newest committed model: older ones are rollbacks
    time_floor_s: int = 0  # newest signed time seen, Unix seconds: a board's clock may start in 1970
    step: JobStep = "idle"
    reason: str | None = None
    target: Digest | None = None  # the artifact this job is about
    trial_starts: int = 0  # trials of the target that were begun and neither passed nor refused yet
    loading: Digest | None = None  # the model that is being loaded at the agent's start
    load_starts: int = 0  # starts at which it did not finish loading
    director: str = ""  # whose counters and times the floors are, ``Identity.director_id``


class Journal:
    """``record`` is what the disk holds. A missing or unreadable file reads as a new device's."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._lock = threading.Lock()
        self._closed = False
        self.record = read_record(path) or Record()

    def write(self, **changes: Any) -> Record:
        """Number and store a transition. Raises OSError (then nothing has changed), StoppedError once
        closed.
        """
        with self._lock:
            return self._write(**changes)

    def reset(self, identity: str) -> None:
        """Begin again for another identity; numbers keep growing so reports stay in order."""
        with self._lock:
            self._store(Record(identity=identity, seq=self.record.seq + 1))

    def close(self) -> None:
        """The agent ends now, in good order: what it was in the middle of did not kill it. Raises OSError."""
        with self._lock:
            record = self.record
            if record.step == "trial":
                self._write(step="staged", trial_starts=max(0, record.trial_starts - 1))
            if record.loading is not None:
                self._write(loading=None, load_starts=0)
            self._closed = True

    def _write(self, **changes: Any) -> Record:
        return self._store(msgspec.structs.replace(self.record, seq=self.record.seq + 1, **changes))

    def _store(self, record: Record) -> Record:
        if self._closed:
            raise StoppedError("the agent is stopping")
        self._disk.write_whole(self._path, msgspec.json.encode(record))
        self.record = record
        return record


def read_record(path: Path) -> Record | None:
    """The stored record, or None where there is none that can be read. Raises OSError."""
    try:
        with path.open("rb") as file:
            data = file.read(JOURNAL_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # only a broken medium gets here: files are replaced whole
