"""What a power cut can leave of a folder: every unsynced write dropped, cut short or put before another.

After Pillai et al. 2014 ("All File Systems Are Not Created Equal", OSDI; ALICE). While ``recording`` is on,
what the program asks of the operating system for files under one folder is done and noted as a list of
operations on inodes. ``images(at)`` gives the folders that a cut after ``at`` operations may leave behind:

- data and length of a file are there for certain once the file was synced; before that each write on its own
  is there, is not, or only its first half is;
- an entry of a folder (a name that came, went or moved) is there for certain once that folder was synced;
  before that each on its own is there or is not. A rename is one change: it never leaves neither name.
"""

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

EXHAUSTIVE = 5  # up to so many unsynced operations every choice is tried


@dataclass
class Inode:
    number: int
    data: bytearray | None = None  # None = a folder
    entries: dict[str, "Inode"] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """``kind``: write, truncate (of ``inode``), create, mkdir, unlink, rename (in ``folders``) or sync."""

    kind: str
    inode: int
    folders: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    offset: int = 0
    data: bytes = b""

    @property
    def is_data(self) -> bool:
        return self.kind in ("write", "truncate")

    def made_certain_by(self, sync: "Operation") -> bool:
        return sync.kind == "sync" and (
            sync.inode == self.inode if self.is_data else sync.inode in self.folders
        )


class Recorder:
    """The folder's files as inodes, and what was done to them since ``recording`` began."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.operations: list[Operation] = []
        self._numbers = itertools.count()
        self._first = self._read(folder)
        self._now = self._clone(self._first)
        self._open: dict[int, Inode] = {}  # by descriptor

    # --- what the program does ------------------------------------------------------------------------------

    @contextmanager
    def recording(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Everything that ``os`` is asked for about this folder is noted, after it was done."""
        with patch.context() as patched:
            for name, noted in {
                "open": self._opened,
                "write": self._wrote,
                "pwrite": self._wrote_at,
                "ftruncate": self._truncated,
                "fsync": self._synced,
                "close": self._closed,
                "mkdir": self._made,
                "rename": self._renamed,
                "replace": self._renamed,
                "unlink": self._removed,
                "remove": self._removed,
                "rmdir": self._removed,
            }.items():
                patched.setattr(os, name, _followed(getattr(os, name), noted))
            patched.setattr(os, "fdopen", lambda descriptor, _mode: _Plain(descriptor))
            patched.setattr(os, "posix_fallocate", lambda *_: None)
            patched.setattr(shutil, "rmtree", _remove_tree)
            yield

    def _opened(self, result: int, path: Any, flags: int, *_: Any, **__: Any) -> None:
        found = self._find(path)
        if found is None:
            return
        parent, name = found
        inode = self._now if name is None else parent.entries.get(name)
        if inode is None:
            inode = Inode(next(self._numbers), bytearray())
            parent.entries[name or ""] = inode
            self._note("create", inode, (parent,), (name or "",))
        elif flags & os.O_TRUNC:
            self._truncate(inode, 0)
        self._open[result] = inode

    def _wrote(self, result: int, descriptor: int, data: Any) -> None:
        inode = self._open.get(descriptor)
        if inode is not None and inode.data is not None:
            self._write(inode, len(inode.data), bytes(data)[:result])

    def _wrote_at(self, result: int, descriptor: int, data: Any, offset: int) -> None:
        inode = self._open.get(descriptor)
        if inode is not None:
            self._write(inode, offset, bytes(data)[:result])

    def _truncated(self, _result: None, descriptor: int, size: int) -> None:
        inode = self._open.get(descriptor)
        if inode is not None:
            self._truncate(inode, size)

    def _synced(self, _result: None, descriptor: int) -> None:
        inode = self._open.get(descriptor)
        if inode is not None:
            self._note("sync", inode)

    def _closed(self, _result: None, descriptor: int) -> None:
        self._open.pop(descriptor, None)

    def _made(self, _result: None, path: Any, *_: Any, **__: Any) -> None:
        parent, name = self._find(path) or (None, None)
        if parent is not None and name is not None:
            inode = Inode(next(self._numbers))
            parent.entries[name] = inode
            self._note("mkdir", inode, (parent,), (name,))

    def _renamed(self, _result: None, source: Any, target: Any, **_: Any) -> None:
        before, after = self._find(source), self._find(target)
        if before is None or after is None or before[1] is None or after[1] is None:
            return
        inode = before[0].entries.pop(before[1])
        after[0].entries[after[1]] = inode
        self._note("rename", inode, (before[0], after[0]), (before[1], after[1]))

    def _removed(self, _result: None, path: Any, **_: Any) -> None:
        parent, name = self._find(path) or (None, None)
        if parent is not None and name is not None:
            self._note("unlink", parent.entries.pop(name), (parent,), (name,))

    def _write(self, inode: Inode, offset: int, data: bytes) -> None:
        _apply_write(inode, offset, data)
        self._note("write", inode, offset=offset, data=data)

    def _truncate(self, inode: Inode, size: int) -> None:
        _apply_truncate(inode, size)
        self._note("truncate", inode, offset=size)

    def _note(
        self,
        kind: str,
        inode: Inode,
        folders: tuple[Inode, ...] = (),
        names: tuple[str, ...] = (),
        offset: int = 0,
        data: bytes = b"",
    ) -> None:
        numbers = tuple(folder.number for folder in folders)
        self.operations.append(Operation(kind, inode.number, numbers, names, offset, data))

    def _find(self, path: Any) -> tuple[Inode, str | None] | None:
        """(the folder's inode, the name in it), (the root, None), or None for what lies elsewhere."""
        try:
            parts = Path(os.fspath(path)).relative_to(self.folder).parts
        except (TypeError, ValueError):
            return None
        at = self._now
        for part in parts[:-1]:
            at = at.entries[part]
        return at, parts[-1] if parts else None

    # --- what a cut leaves ----------------------------------------------------------------------------------

    def images(self, at: int, target: Path, rng: random.Random, most: int) -> Iterator[Path]:
        """What a cut after ``at`` operations may leave, at most ``most`` folders, each made at ``target``."""
        done = self.operations[:at]
        pending = [
            index
            for index, operation in enumerate(done)
            if operation.kind != "sync"
            and not any(operation.made_certain_by(later) for later in done[index + 1 :])
        ]
        for choice in _choices(done, pending, rng, most):
            root = self._clone(self._first)
            by_number = {inode.number: inode for inode in _walk(root)}
            for index, operation in enumerate(done):
                _apply(operation, by_number, choice.get(index, 1.0))
            shutil.rmtree(target, ignore_errors=True)
            _store(root, target)
            yield target

    def _read(self, path: Path) -> Inode:
        if not path.is_dir():
            return Inode(next(self._numbers), bytearray(path.read_bytes()))
        folder = Inode(next(self._numbers))
        folder.entries = {entry.name: self._read(entry) for entry in path.iterdir()}
        return folder

    def _clone(self, inode: Inode) -> Inode:
        data = None if inode.data is None else bytearray(inode.data)
        return Inode(inode.number, data, {name: self._clone(entry) for name, entry in inode.entries.items()})


class _Plain:
    """A file object without a buffer of its own, so that writes are seen."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> "_Plain":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def write(self, data: bytes) -> int:
        return os.write(self._descriptor, data)

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        return self._descriptor


def _followed(do: Callable[..., Any], noted: Callable[..., None]) -> Callable[..., Any]:
    def both(*arguments: Any, **options: Any) -> Any:
        result = do(*arguments, **options)
        noted(result, *arguments, **options)
        return result

    return both


def _remove_tree(path: Path, ignore_errors: bool = False) -> None:
    if ignore_errors and not path.exists():
        return
    for entry in sorted(path.iterdir()):
        _remove_tree(entry) if entry.is_dir() else entry.unlink()
    path.rmdir()


def _choices(
    done: list[Operation], pending: list[int], rng: random.Random, most: int
) -> Iterator[dict[int, float]]:
    """How much of each pending operation is there: 0.0, 0.5 (of a write) or 1.0."""
    options = [(0.0, 0.5, 1.0) if done[index].kind == "write" else (0.0, 1.0) for index in pending]
    if len(pending) <= EXHAUSTIVE:
        every = list(itertools.product(*options))
        chosen = every if len(every) <= most else [every[0], every[-1], *rng.sample(every[1:-1], most - 2)]
    else:
        drawn = [tuple(rng.choice(option) for option in options) for _ in range(most - 2)]
        chosen = [tuple(0.0 for _ in pending), tuple(1.0 for _ in pending), *drawn]
    for values in chosen:
        yield dict(zip(pending, values, strict=True))


def _apply(operation: Operation, by_number: dict[int, Inode], share: float) -> None:
    inode = by_number.get(operation.inode)
    if inode is None:
        is_file = operation.kind == "create"
        inode = by_number[operation.inode] = Inode(operation.inode, bytearray() if is_file else None)
    match operation.kind:
        case "write" if share > 0:
            data = operation.data if share == 1.0 else operation.data[: len(operation.data) // 2]
            _apply_write(inode, operation.offset, data)
        case "truncate" if share > 0:
            _apply_truncate(inode, operation.offset)
        case "create" | "mkdir" if share > 0:
            by_number[operation.folders[0]].entries[operation.names[0]] = inode
        case "unlink" if share > 0:
            entries = by_number[operation.folders[0]].entries
            if entries.get(operation.names[0]) is inode:
                del entries[operation.names[0]]
        case "rename" if share > 0:
            source, target = (by_number[number] for number in operation.folders)
            if source.entries.get(operation.names[0]) is inode:
                del source.entries[operation.names[0]]
            target.entries[operation.names[1]] = inode


def _apply_write(inode: Inode, offset: int, data: bytes) -> None:
    assert inode.data is not None
    if len(inode.data) < offset + len(data):
        inode.data.extend(bytes(offset + len(data) - len(inode.data)))
    inode.data[offset : offset + len(data)] = data


def _apply_truncate(inode: Inode, size: int) -> None:
    data = inode.data
    assert data is not None
    inode.data = data[:size] + bytearray(max(0, size - len(data)))


def _walk(inode: Inode) -> Iterator[Inode]:
    yield inode
    for entry in inode.entries.values():
        yield from _walk(entry)


def _store(inode: Inode, path: Path) -> None:
    if inode.data is not None:
        path.write_bytes(inode.data)
        return
    path.mkdir()
    for name, entry in inode.entries.items():
        _store(entry, path / name)
