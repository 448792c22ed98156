"""Two slots for models, and one pointer to the one that runs.

::

    slots/a/artifact      the artifact, byte for byte as released; or the delta that it was made of
    slots/a/model.onnx    with a delta only: the model that came of it, as its base is overwritten one day
    slots/a/info.json     what it is (SlotInfo); written before the folder becomes a slot
    slots/b/...
    current               JSON {"slot": "a"}: replaced whole, the only thing that says which one runs

A slot's folder arrives by one rename of the finished fetch folder, so a slot is whole or absent. The slot
that is pointed to is never touched. After a switch the other slot is the last good one, until something new
is staged.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from edgepress_agent.durable import Disk, sweep
from edgepress_devices.protocol import Digest

Slot = Literal["a", "b"]
SLOTS: Final[tuple[Slot, Slot]] = ("a", "b")
_SMALL_FILE_BYTES: Final = 65_536
_BLOCK_BYTES: Final = 1 << 18


class SlotInfo(msgspec.Struct, frozen=True):
    """What lies in a slot, from the signed statement that allowed it."""

    digest: Digest
    size: int
    model: str
    profile: str
    release: int  # release counter
    trusted: bool = False  # it passed its trial here: good enough to go back to
    delta: Digest | None = None  # of the file ``artifact``, where that is a delta; ``size`` is its size then
    onnx_sha256: Digest | None = None  # of the file ``model.onnx``, exactly where there is a delta
    onnx_bytes: int = 0
    identity: str = ""  # whose model this is, as ``Record.identity``; "" = it lies here since before that

    @property
    def file_digest(self) -> str:
        """SHA-256 of the file ``artifact``."""
        return self.delta or self.digest


class _Pointer(msgspec.Struct):
    slot: Slot


class Slots:
    """Reads and changes ``slots/`` and ``current`` under ``folder``. Methods raise OSError."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._read: dict[Slot, tuple[tuple[int, int, int], SlotInfo | None]] = {}
        self._paths: dict[Slot, Path] = {slot: folder / "slots" / slot for slot in SLOTS}
        self._infos: dict[Slot, Path] = {slot: path / "info.json" for slot, path in self._paths.items()}

    def prepare(self) -> None:
        """Make the folder and clear away what an interrupted change left."""
        slots = self._folder / "slots"
        self._disk.make_folder(slots)
        sweep(self._disk, slots)
        for slot in SLOTS:
            if self.path(slot).is_dir() and self.info(slot) is None:
                self._disk.remove(self.path(slot))

    def path(self, slot: Slot) -> Path:
        return self._paths[slot]

    def artifact(self, slot: Slot) -> Path:
        return self.path(slot) / "artifact"

    def is_whole(self, slot: Slot, info: SlotInfo, keep_on: Callable[[], None]) -> bool:
        """Whether every file of this slot still has its digest. ``keep_on`` may raise."""
        wanted = {self.artifact(slot): info.file_digest}
        if info.onnx_sha256 is not None:
            wanted[decoded_path(self.artifact(slot))] = info.onnx_sha256
        try:
            return all(file_sha256(path, keep_on) == digest for path, digest in wanted.items())
        except FileNotFoundError:
            return False

    def current(self) -> Slot | None:
        """The slot that is pointed to, if there is a model in it."""
        data = _read_small(self._folder / "current")
        if data is None:
            return None
        try:
            slot = msgspec.json.decode(data, type=_Pointer).slot
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return slot if self.info(slot) else None

    def info(self, slot: Slot) -> SlotInfo | None:
        """What lies there. Read again only when the file is another one: every decision asks for it."""
        try:
            found = self._infos[slot].stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        mark = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._read.get(slot)
        if known is None or known[0] != mark:
            known = self._read[slot] = mark, read_info(self._paths[slot])
        return known[1]

    def find(self, digest: str) -> Slot | None:
        for slot in SLOTS:
            info = self.info(slot)
            if info is not None and info.digest == digest:
                return slot
        return None

    def spare(self) -> Slot:
        """The slot that may be overwritten: never the one that is pointed to.

        Where nothing is pointed to, an empty or never-tried one before the last good one.
        """
        current = self.current()
        if current is not None:
            return other(current)
        first = self.info("a")
        return "b" if first is not None and first.trusted else "a"

    def stage(self, source: Path) -> Slot:
        """Move a finished folder (artifact, info.json) into the spare slot."""
        slot = self.spare()
        if self.path(slot).is_dir():
            self._disk.remove(self.path(slot))
        self._disk.move(source, self.path(slot))
        return slot

    def switch(self, slot: Slot, info: SlotInfo | None = None) -> None:
        """Point to ``slot``: from here on, and after a power cut, it is the one that runs.

        ``info`` where it is not what was staged: the same artifact may be released again.
        """
        now = info or self.info(slot)
        if now is not None:
            self.relabel(slot, now)
        self._disk.write_whole(self._folder / "current", msgspec.json.encode(_Pointer(slot)))

    def relabel(self, slot: Slot, info: SlotInfo) -> None:
        """``info`` is what lies there, and it passed its trial."""
        now = msgspec.structs.replace(info, trusted=True)
        if now != self.info(slot):
            write_info(self._disk, self.path(slot), now)

    def point_nowhere(self) -> None:
        self._disk.remove(self._folder / "current")

    def discard(self, slot: Slot) -> None:
        if slot == self.current():
            raise ValueError(f"slot {slot} is the one that runs")
        if self.path(slot).is_dir():
            self._disk.remove(self.path(slot))

    def clear(self) -> None:
        """Forget every model (the device now belongs to another server)."""
        self.point_nowhere()
        for slot in SLOTS:
            self.discard(slot)


def decoded_path(artifact: Path) -> Path:
    """Where the decoded model of a delta lies: beside it."""
    return artifact.with_name("model.onnx")


def file_sha256(path: Path, keep_on: Callable[[], None]) -> str:
    """``keep_on`` is called between blocks and may raise. Raises OSError."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK_BYTES))  # one for all: new memory for each costs more than hashing it
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
            keep_on()
    return digest.hexdigest()


def file_identity(path: Path) -> tuple[int, int, int]:
    """Inode, bytes and time of the last change: the same for a file that was only moved. Raises OSError."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def other(slot: Slot) -> Slot:
    return "b" if slot == "a" else "a"


def write_info(disk: Disk, folder: Path, info: SlotInfo) -> None:
    disk.write_whole(folder / "info.json", msgspec.json.encode(info))


def read_info(folder: Path) -> SlotInfo | None:
    data = _read_small(folder / "info.json")
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=SlotInfo)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _read_small(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_SMALL_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
