"""The journal: where the device's job stands, as one small file that is replaced whole.

A transition is first written here, with the next number, and only then reported. What can be seen on the disk
itself (which chunks came, what lies in which slot, where the pointer points) is not repeated here: facts have
one place.

It holds the floors below which wants and releases are replays, so it is kept twice::

    journal       line 1: the record, JSON; line 2: the first 16 hexadecimal digits of line 1's SHA-256
    journal.bak   the same, written after it

The one with the larger number that has its checksum counts. A file of an older agent has no line 2.
"""

import hashlib
import logging
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from edgepress_agent.crash_loop import Probation
from edgepress_agent.durable import Disk
from edgepress_agent.errors import StoppedError
from edgepress_devices.protocol import Digest, JobStep, TrialReport

JOURNAL_MAX_BYTES: Final = 65_536
_CHECKSUM_DIGITS: Final = 16

log = logging.getLogger(__name__)


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
    delta_starts: int = 0  # times that applying a delta was begun and not finished
    delta_refused: Digest | None = None  # the delta for the target that could not be used here
    shadow_boot: str | None = None  # boot id of the board when the trial's shadow run began
    trial: TrialReport | None = None  # of the newest trial
    probation: Probation | None = None  # of the model that runs, while it has one
    director: str = ""  # whose counters and times the floors are, ``Identity.director_id``


class Journal:
    """``record`` is what the disk holds; ``lost`` says whether there was one that can no longer be read.
    Raises OSError.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._lock = threading.Lock()
        self._closed = False
        stored = read_record(path)
        self.lost = stored is None and (path.exists() or backup_path(path).exists())
        self.record = stored or Record()

    def write(self, **changes: Any) -> Record:
        """Number and store a transition. Raises OSError (then nothing has changed), StoppedError once
        closed.
        """
        with self._lock:
            return self._write(**changes)

    def reset(self, identity: str, *, seq: int = 0, release_floor: int = 0) -> None:
        """Begin again for another identity, or after the journal was lost; numbers keep growing so reports
        stay in order: the next is at least ``seq``.
        """
        with self._lock:
            number = max(seq, self.record.seq + 1)
            self._store(Record(identity=identity, seq=number, release_floor=release_floor))

    def close(self) -> None:
        """The agent ends now, in good order: what it was in the middle of did not kill it. Raises OSError."""
        with self._lock:
            record = self.record
            changes: dict[str, Any] = {}
            if record.step == "trial":
                changes |= {"step": "staged", "trial_starts": max(0, record.trial_starts - 1)}
                changes |= {"shadow_boot": None}
            if record.loading is not None:
                changes |= {"loading": None, "load_starts": 0}
            if record.delta_starts:
                changes |= {"delta_starts": record.delta_starts - 1}
            if record.probation is not None:
                changes |= {"probation": msgspec.structs.replace(record.probation, open=False)}
            if changes:
                self._write(**changes)
            self._closed = True

    def _write(self, **changes: Any) -> Record:
        return self._store(msgspec.structs.replace(self.record, seq=self.record.seq + 1, **changes))

    def _store(self, record: Record) -> Record:
        if self._closed:
            raise StoppedError("the agent is stopping")
        data = encode_record(record)
        self._disk.write_whole(self._path, data)
        self.record = record
        try:
            self._disk.write_whole(backup_path(self._path), data)
        except OSError as error:  # the transition is on the disk; the next one tries again
            log.warning("the journal's second copy cannot be written: %s", error.strerror or error)
        return record


def backup_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.bak")


def encode_record(record: Record) -> bytes:
    line = msgspec.json.encode(record)
    return line + b"\n" + _checksum(line) + b"\n"


def decode_record(data: bytes) -> Record | None:
    """None where it is damaged."""
    line, _, checksum = data.partition(b"\n")
    if checksum and checksum != _checksum(line) + b"\n":
        return None
    try:
        return msgspec.json.decode(line, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def read_record(path: Path) -> Record | None:
    """The newest stored record, or None where there is none that can be read. Raises OSError where the disk
    gives neither copy.
    """
    records: list[Record] = []
    trouble: OSError | None = None
    for copy in (path, backup_path(path)):
        try:
            with copy.open("rb") as file:
                record = decode_record(file.read(JOURNAL_MAX_BYTES + 1))
        except FileNotFoundError:
            continue
        except OSError as error:
            trouble = error
            continue
        if record is not None:
            records.append(record)
    if not records and trouble is not None:
        raise trouble
    return max(records, key=lambda record: record.seq, default=None)


def _checksum(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest()[:_CHECKSUM_DIGITS].encode("ascii")
