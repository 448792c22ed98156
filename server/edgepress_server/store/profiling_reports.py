"""Reports of profiling jobs: looked at before they are kept, kept whole, the newest ones of each device.

The row holds the report as msgpack of `ProfilingReport`, zlib'd (a report of 50 nets: some 20 KB). Of each
device the newest KEEP_REPORTS are kept; so are those that a calibration in the history was made from, so that
it can be compared with the next one on the same ground.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from edgepress_devices.microbench.nets import FORMS, NAMES
from edgepress_devices.protocol import ProfilingReport
from edgepress_server.store.database import Database

KEEP_REPORTS: Final = {"device": 5, "model": 20}  # of each device
FIT_DEVICES_MAX: Final = 32  # of a profile: more change no median, and a calibration names every one of them
NET_MAX_US: Final = 3.6e9  # an hour for one inference: no device is that slow, and sums stay numbers
COMPLETE_SHARE: Final = 0.5  # of the plan's nets, that a report which was cut short needs to be of use
REPORT_MAX_BYTES: Final = 1 << 20  # of one report unpacked; a batch on the wire is smaller by far

_decoder = msgspec.msgpack.Decoder(ProfilingReport)


class ImplausibleReportError(ValueError):
    """A report that is well-formed and cannot be true; the text says why."""


@dataclass(frozen=True)
class ReportRow:
    """A stored report without its times."""

    id: int  # grows
    job: str
    device: str
    what: str  # "device" | "model"
    digest: str | None
    plan: int
    runtime: str
    usable: bool
    unusable_reason: str  # "" when it is usable
    at: int  # Unix ms, server clock


@dataclass(frozen=True)
class StoredReport:
    row: ReportRow
    report: ProfilingReport


def check_report(report: ProfilingReport) -> None:
    """Raises ImplausibleReportError where a value would poison sums, fits or the store."""
    known, named = set(NAMES), set()
    if report.what == "model" and report.digest is None:
        raise ImplausibleReportError("a report of a model does not say which artifact it is about")
    for net in report.nets:
        place = f"{net.net or 'the artifact'} {net.form}".rstrip()
        if report.what == "device" and (net.net not in known or net.form not in FORMS):
            raise ImplausibleReportError(f"{place} is no net of the plan")
        if report.what == "model" and net.net:
            raise ImplausibleReportError(f"a report of a model has times of {place}")
        if (net.net, net.form) in named:
            raise ImplausibleReportError(f"{place} is in it twice")
        named.add((net.net, net.form))
        if not 0 < net.p10_us <= net.p50_us <= NET_MAX_US or not 0 < net.mean_us <= NET_MAX_US:
            raise ImplausibleReportError(f"{place}: p10 {net.p10_us} us, p50 {net.p50_us} us are no latency")
        if net.runs < 1:
            raise ImplausibleReportError(f"{place} has times of no run")
    for kernel in report.kernels:
        if (kernel.net, kernel.form) not in named:
            raise ImplausibleReportError(f"kernel {kernel.name[:80]!r} is of a net without a time")
        if not 0 <= kernel.mean_us <= NET_MAX_US or kernel.runs < 1:
            raise ImplausibleReportError(
                f"kernel {kernel.name[:80]!r}: {kernel.mean_us} us of {kernel.runs} runs"
            )
    for reading in (report.idle_mw, report.busy_mw):
        if reading is not None and not 0 <= reading.value <= 1e7:
            raise ImplausibleReportError(f"a power of {reading.value} mW")


def why_unusable(report: ProfilingReport) -> str:
    """Why its times are not to be used; "" when they are."""
    timed = {net.net for net in report.nets}
    if not timed or not report.kernels:
        return f"Nothing was timed: {report.reason}." if report.reason else "Nothing was timed."
    if report.what == "device" and report.cut_short and len(timed) < COMPLETE_SHARE * len(NAMES):
        why = f" ({report.reason})" if report.reason else ""
        return f"Only {len(timed)} of {len(NAMES)} nets were timed{why}. Ask again with more seconds."
    return ""


class ProfilingReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, device: str, at: int, report: ProfilingReport) -> ReportRow:
        """Keep a report that was checked; older ones of the same go."""
        unusable = why_unusable(report)
        packed = zlib.compress(msgspec.msgpack.encode(report), 6)
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO profiling_reports (job, device, what, digest, plan, runtime, usable,"
                " unusable_reason, at,"
                " report) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    report.id,
                    device,
                    report.what,
                    report.digest,
                    report.plan,
                    report.runtime,
                    int(not unusable),
                    unusable,
                    at,
                    packed,
                ),
            )
            connection.execute(
                "DELETE FROM profiling_reports WHERE device = :device AND what = :what"
                " AND id NOT IN (SELECT id FROM profiling_reports WHERE device = :device AND what = :what"
                "  ORDER BY id DESC LIMIT :kept)"
                " AND id NOT IN (SELECT j.value FROM calibrations c, json_each(c.reports) j)",
                {"device": device, "what": report.what, "kept": KEEP_REPORTS[report.what]},
            )
            return self.get(int(cursor.lastrowid or 0)).row

    def get(self, report_id: int) -> StoredReport:
        row = self._database.row("SELECT * FROM profiling_reports WHERE id = ?", (report_id,))
        if row is None:
            raise LookupError(f"report {report_id} is not kept")
        return _stored(row)

    def of_job(self, job_id: str) -> StoredReport | None:
        row = self._database.row(
            "SELECT * FROM profiling_reports WHERE job = ? ORDER BY id DESC LIMIT 1", (job_id,)
        )
        return None if row is None else _stored(row)

    def those(self, ids: Sequence[int]) -> list[StoredReport]:
        """Those of them that are kept."""
        marks = ", ".join("?" * len(ids))
        sql = f"SELECT * FROM profiling_reports WHERE id IN ({marks}) ORDER BY id"  # noqa: S608 - only marks
        return [_stored(row) for row in self._database.rows(sql, ids)]

    def newest(self, device: str, limit: int = 10) -> list[ReportRow]:
        """Of one device, newest first."""
        rows = self._database.rows(
            "SELECT * FROM profiling_reports WHERE device = ? ORDER BY id DESC LIMIT ?", (device, limit)
        )
        return [_row(row) for row in rows]

    def inputs(self) -> dict[str, list[int]]:
        """profile -> ids of what its calibration is to be made from: of each device that has this profile
        now, and is not revoked, the newest usable report of the device itself; of the FIT_DEVICES_MAX that
        reported last. Ascending."""
        rows = self._database.rows(
            "SELECT d.profile, max(r.id) AS id FROM profiling_reports r JOIN devices d ON d.name = r.device"
            " WHERE r.what = 'device' AND r.usable = 1 AND d.revoked_at IS NULL GROUP BY d.name ORDER BY id"
        )
        found: dict[str, list[int]] = {}
        for row in rows:
            found.setdefault(str(row["profile"]), []).append(int(row["id"]))
        return {profile: ids[-FIT_DEVICES_MAX:] for profile, ids in found.items()}


def _row(row: sqlite3.Row) -> ReportRow:
    return ReportRow(
        id=row["id"],
        job=row["job"],
        device=row["device"],
        what=row["what"],
        digest=row["digest"],
        plan=row["plan"],
        runtime=row["runtime"],
        usable=bool(row["usable"]),
        unusable_reason=row["unusable_reason"],
        at=row["at"],
    )


def _stored(row: sqlite3.Row) -> StoredReport:
    opened = zlib.decompressobj()
    raw = opened.decompress(row["report"], REPORT_MAX_BYTES)
    return StoredReport(_row(row), _decoder.decode(raw))
