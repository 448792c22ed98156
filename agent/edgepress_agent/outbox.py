"""Telemetry that waits until the server says it is stored.

::

    outbox/open/<seq>.<level>      samples that no batch holds yet, up to SAMPLES_PER_BATCH and
                                   BATCH_MAX_BYTES a file
    outbox/batch/<epoch>.<number>  samples that a batch holds: (epoch, number) is theirs for ever
    outbox/report/<job id>         a profiling report (report_shelf)
    outbox/batch/<epoch>.<number>.report    a report that is a batch of its own
    outbox/batch/<epoch>.<number>.inputs    inputs of the model that the privacy policy lets out, likewise

A file is a row of frames: length u32, CRC-32 u32 (both little endian), one msgpack ``protocol.Sample``; a
torn frame at the end is what a power cut left, and is ignored. A file becomes a batch by renaming it, on
the medium before it is sent, so a sample never travels under two numbers and the server, which stores each
batch once, stores each sample once. The epoch is drawn at every start: numbers are only remembered in
names.

While the server listens, each sample is its own batch. While it does not, samples gather in files of
SAMPLES_PER_BATCH, on the medium when full. Past MAX_BYTES all but the newest quarter of them is thinned: two
neighbouring samples become one of twice the interval, counts and latencies added (``thinning``; ``level``
counts how often); then the oldest go.
"""

import errno
import logging
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edgepress_agent.durable import Disk, sweep
from edgepress_agent.report_shelf import ReportShelf, read_report
from edgepress_agent.thinning import thinned
from edgepress_devices.model_messages import INPUTS_PER_BATCH_MAX
from edgepress_devices.protocol import VERSION, InputSample, Sample, TelemetryBatch, encode_batch

SAMPLES_PER_BATCH: Final = 60
MAX_BYTES: Final = 16 << 20
BLOCK_BYTES: Final = 4096  # what a small file takes
REPORTS_MAX: Final = 16  # of a server that asks and never takes, the oldest are given up
INPUT_BATCHES_MAX: Final = 32  # at most 4 MB: a device that is away keeps the newest
EPOCH_BATCHES_MAX: Final = 64
LEVEL_MAX: Final = 4  # 60 samples are 4 then, in one block: thinner saves nothing
_FRAME: Final = struct.Struct("<II")
BATCH_MAX_BYTES: Final = 120_000  # the smallest packet that a broker of ours takes is 128 KB
_SAMPLE_MAX_BYTES: Final = BATCH_MAX_BYTES // 2

log = logging.getLogger(__name__)

BatchName = tuple[str, int]  # epoch, number


class Outbox:
    """Not thread-safe: one thread owns it. Methods raise OSError."""

    def __init__(self, folder: Path, disk: Disk, *, max_bytes: int = MAX_BYTES) -> None:
        self._open_folder = folder / "outbox" / "open"
        self._batch_folder = folder / "outbox" / "batch"
        self._disk = disk
        self._max_bytes = max_bytes
        self.epoch = secrets.token_hex(8)
        self._number = 0
        for path in (self._open_folder, self._batch_folder):
            disk.make_folder(path)
            sweep(disk, path)
        self._open = self._scan_open()  # seq -> level
        self.shelf = ReportShelf(folder, disk)
        self._kinds: dict[BatchName, str] = {}  # of batches that are no samples: "report", "inputs"
        self._batches = self._scan_batches()  # oldest first
        self._filling: int | None = None  # the open file that takes samples
        self._filled = self._filled_bytes = 0  # samples and bytes in it

    # --- putting in ---------------------------------------------------------------------------------------

    def add(self, sample: Sample) -> None:
        """Keep a sample for a later batch. Where it raises, the sample is not kept."""
        frame = _frame(sample)
        if self._filling is not None and self._filled_bytes + len(frame) > BATCH_MAX_BYTES:
            self._end_filling(self._filling)
        seq = max(self._open, default=0) + 1 if self._filling is None else self._filling
        with (self._open_folder / f"{seq:08d}.0").open("ab", buffering=0) as file:
            if self._filling is None:
                self._open[seq] = 0
                self._filling, self._filled, self._filled_bytes = seq, 0, 0
            if file.write(frame) < len(frame):  # there was room for a part of it
                file.truncate(self._filled_bytes)  # what follows a torn frame would not be read
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._filled += 1
        self._filled_bytes += len(frame)
        if self._filled >= SAMPLES_PER_BATCH:
            self._end_filling(seq)

    def _end_filling(self, seq: int) -> None:
        self._filling = None
        try:
            with self._open_path(seq).open("rb") as file:
                os.fsync(file.fileno())
            self._make_room()
        except OSError as error:  # its samples are in it all the same, and room is made with the next file
            log.debug("the outbox: %s", error)

    def add_batch(self, samples: Iterable[Sample]) -> BatchName:
        """Keep samples as a batch of their own, to be sent at once. Lost by a power cut, whole or not at
        all.
        """
        name = self._next_name()
        self._put_aside(name, b"".join(_frame(sample) for sample in samples))
        return name

    def begin_epoch(self) -> None:
        """Number batches anew: what waits was taken before the clock was set back, and keeps the old epoch as
        far as EPOCH_BATCHES_MAX goes.
        """
        while len(self._batches) < EPOCH_BATCHES_MAX and self.close_oldest():
            pass
        self.epoch, self._number = secrets.token_hex(8), 0

    def _put_aside(self, name: BatchName, data: bytes) -> None:
        path = self._batch_path(name)
        aside = path.with_name(f".{path.name}.new")
        try:
            aside.write_bytes(data)
            aside.replace(path)
        except OSError:
            with suppress(OSError):
                aside.unlink()
            raise
        self._batches.append(name)

    # --- taking out ---------------------------------------------------------------------------------------

    def batches(self) -> list[BatchName]:
        """Batches that are not acknowledged, oldest first."""
        return list(self._batches)

    def has_open(self) -> bool:
        return bool(self._open)

    def close_oldest(self) -> BatchName | None:
        """Make the oldest waiting samples a batch, on the medium; None when none wait."""
        if not self._open:
            return None
        seq = min(self._open)
        name = self._next_name()
        self._disk.move(self._open_path(seq), self._batch_path(name))
        del self._open[seq]
        if seq == self._filling:
            self._filling = None
        self._batches.append(name)
        return name

    def take_reports(self) -> None:
        """Make each finished profiling report a batch of its own, on the medium."""
        for path in self.shelf.waiting():
            name = self._next_name()
            self._kinds[name] = "report"
            self._disk.move(path, self._batch_path(name))
            self._batches.append(name)
        self._give_up("report", REPORTS_MAX)

    def add_inputs(self, inputs: Sequence[InputSample]) -> None:
        """Keep sampled inputs as batches of their own; of too many the oldest are given up. Lost by a power
        cut, whole or not at all.
        """
        for at in range(0, len(inputs), INPUTS_PER_BATCH_MAX):  # each is at most INPUT_MAX_BYTES: they fit
            name = self._next_name()
            self._kinds[name] = "inputs"
            self._put_aside(name, msgspec.msgpack.encode(inputs[at : at + INPUTS_PER_BATCH_MAX]))
        self._give_up("inputs", INPUT_BATCHES_MAX)

    def drop_inputs(self) -> None:
        """The policy allows none any more: those that wait leave this device by no way."""
        self._give_up("inputs", 0)

    def _give_up(self, kind: str, most: int) -> None:
        names = [name for name in self._batches if self._kinds.get(name) == kind]
        for name in names[: max(0, len(names) - most)]:
            self._batch_path(name).unlink(missing_ok=True)
            self.forget(name)

    def payload(self, name: BatchName) -> bytes:
        """The message of a batch."""
        path = self._batch_path(name)
        kind = self._kinds.get(name)
        report = read_report(path) if kind == "report" else None
        inputs = _read_inputs(path) if kind == "inputs" else []
        samples = _read(path) if kind is None else []
        # A power cut may take a batch of its own: the server must not wait for what this device lost.
        oldest = min((number for epoch, number in self._batches if epoch == name[0]), default=name[1])
        reports = [] if report is None else [report]
        return encode_batch(
            TelemetryBatch(
                VERSION,
                name[0],
                name[1],
                samples,
                oldest,
                reports,
                inputs,
                sent_at_ms=time.time_ns() // 1_000_000,  # the server sees by it how wrong this clock is
            )
        )

    def forget(self, name: BatchName) -> None:
        """A batch whose file is gone: somebody removed it."""
        self._batches.remove(name)
        self._kinds.pop(name, None)

    def acknowledge(self, epoch: str, number: int) -> None:
        """The server stored every batch of ``epoch`` up to ``number``: forget them."""
        kept = []
        for name in self._batches:
            if name[0] == epoch and name[1] <= number:
                self._batch_path(name).unlink(missing_ok=True)
                self._kinds.pop(name, None)
            else:
                kept.append(name)
        self._batches = kept

    # --- the folder ---------------------------------------------------------------------------------------

    def _next_name(self) -> BatchName:
        self._number += 1
        return self.epoch, self._number

    def _open_path(self, seq: int) -> Path:
        return self._open_folder / f"{seq:08d}.{self._open[seq]}"

    def _batch_path(self, name: BatchName) -> Path:
        kind = self._kinds.get(name)
        return self._batch_folder / (f"{name[0]}.{name[1]:08d}" + (f".{kind}" if kind else ""))

    def _scan_open(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for path in sorted(self._open_folder.iterdir()):
            seq, _, level = path.name.partition(".")
            if not (seq.isdecimal() and level.isdecimal()):
                continue
            if int(seq) in found:  # thinned, and stopped before the original was removed: names sort by level
                (self._open_folder / f"{seq}.{found[int(seq)]}").unlink()
            found[int(seq)] = int(level)
        return found

    def _scan_batches(self) -> list[BatchName]:
        dated = []
        for path in self._batch_folder.iterdir():
            epoch, number, kind = [*path.name.split("."), "", ""][:3]
            if epoch and number.isdecimal() and kind in ("", "report", "inputs"):
                dated.append((path.stat().st_mtime_ns, (epoch, int(number))))
                if kind:
                    self._kinds[epoch, int(number)] = kind
        return [name for _, name in sorted(dated)]

    def _make_room(self) -> None:
        sizes = {seq: _blocks(self._open_path(seq)) for seq in self._open}
        while sum(sizes.values()) > self._max_bytes:
            older = sorted(self._open)[: max(1, 3 * len(self._open) // 4)]  # the newest quarter stays whole
            seq = min(older, key=lambda s: (self._open[s], s))
            if self._open[seq] >= LEVEL_MAX:
                seq = older[0]
                self._open_path(seq).unlink()
                del self._open[seq], sizes[seq]
            else:
                self._thin(seq)
                sizes[seq] = _blocks(self._open_path(seq))

    def _thin(self, seq: int) -> None:
        before = self._open_path(seq)
        samples = thinned(_read(before))
        data = b"".join(map(_frame, samples))
        while len(data) > BATCH_MAX_BYTES:  # histograms far apart: one of both is longer than the two
            fewer = thinned(samples)
            samples = fewer if len(fewer) < len(samples) else [_bare(sample) for sample in samples]
            data = b"".join(map(_frame, samples))
        self._open[seq] += 1
        self._disk.write_whole(self._open_path(seq), data)
        before.unlink()


def _frame(sample: Sample) -> bytes:
    data = msgspec.msgpack.encode(sample)
    if len(data) > _SAMPLE_MAX_BYTES:  # of no model of ours: the counts matter more than their shape
        data = msgspec.msgpack.encode(_bare(sample))
    return _FRAME.pack(len(data), zlib.crc32(data)) + data


def _bare(sample: Sample) -> Sample:
    return msgspec.structs.replace(
        sample, latency_us=None, queue_us=None, pre_us=None, post_us=None, model=None
    )


def _read(path: Path) -> list[Sample]:
    data = path.read_bytes()
    samples, at = [], 0
    while at + _FRAME.size <= len(data):
        length, crc32 = _FRAME.unpack_from(data, at)
        body = data[at + _FRAME.size : at + _FRAME.size + length]
        if len(body) != length or zlib.crc32(body) != crc32:
            break  # torn by a power cut; nothing whole follows
        samples.append(msgspec.msgpack.decode(body, type=Sample))
        at += _FRAME.size + length
    return samples


def _read_inputs(path: Path) -> list[InputSample]:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=list[InputSample])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []  # damaged by the medium: the batch goes empty, and is done with


def _blocks(path: Path) -> int:
    return -(-path.stat().st_size // BLOCK_BYTES) * BLOCK_BYTES
