"""Profiling reports that are finished and not yet a telemetry batch: ``outbox/report/<job id>``, msgpack."""

from pathlib import Path
from typing import Final

import msgspec

from edgepress_agent.durable import Disk, sweep
from edgepress_devices.profiling_messages import REPORT_MAX_BYTES
from edgepress_devices.protocol import ProfilingReport

_FILE_MAX_BYTES: Final = REPORT_MAX_BYTES + 4096  # the number of answered requests was added


class ReportShelf:
    """Each file arrives whole, so any thread may look while another puts. Methods raise OSError."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder / "outbox" / "report"
        self._disk = disk
        disk.make_folder(self._folder)
        sweep(disk, self._folder)

    def put(self, report: ProfilingReport) -> None:
        """On return it survives a power cut."""
        self._disk.write_whole(self._folder / report.id, msgspec.msgpack.encode(report))

    def has(self, job_id: str) -> bool:
        return (self._folder / job_id).exists()

    def waiting(self) -> list[Path]:
        """Files of finished reports, oldest first."""
        found = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def read_report(path: Path) -> ProfilingReport | None:
    """None where the file is damaged. Raises OSError."""
    with path.open("rb") as file:
        data = file.read(_FILE_MAX_BYTES)
    try:
        return msgspec.msgpack.decode(data, type=ProfilingReport)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # only a broken medium gets here: files are replaced whole
