"""The schema of migration m008: profiling jobs and their reports, calibrations, fits under way."""

from typing import Final

SCHEMA: Final = """
CREATE TABLE profiling_jobs ( -- what a device is asked to measure; rules in profiling.py
    id TEXT PRIMARY KEY, device TEXT NOT NULL REFERENCES devices(name) ON DELETE CASCADE,
    what TEXT NOT NULL CHECK (what IN ('device', 'model')),
    digest TEXT,                                  -- what = 'model': the artifact it is about
    seconds INTEGER NOT NULL, plan INTEGER NOT NULL,
    state TEXT NOT NULL CHECK
        (state IN ('queued', 'sent', 'running', 'done', 'failed', 'expired', 'cancelled')),
    percent INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    report INTEGER,                       -- id in profiling_reports, which may have been dropped since
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, sent_at INTEGER, started_at INTEGER,
    finished_at INTEGER, actor TEXT
) STRICT;
CREATE INDEX profiling_jobs_device ON profiling_jobs(device, created_at);
CREATE INDEX profiling_jobs_open ON profiling_jobs(device) WHERE state IN ('queued', 'sent', 'running');
CREATE TABLE profiling_reports (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL,
    device TEXT NOT NULL REFERENCES devices(name) ON DELETE CASCADE,
    what TEXT NOT NULL, digest TEXT, plan INTEGER NOT NULL, runtime TEXT NOT NULL,
    usable INTEGER NOT NULL, unusable_reason TEXT NOT NULL, at INTEGER NOT NULL,
    report BLOB NOT NULL                          -- zlib of msgpack of protocol.ProfilingReport, whole
) STRICT;
CREATE INDEX profiling_reports_device ON profiling_reports(device, what);
CREATE INDEX profiling_reports_job ON profiling_reports(job);
CREATE TABLE calibrations (   -- history of each profile; rules in calibrations.py
    id INTEGER PRIMARY KEY AUTOINCREMENT, profile TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'kept', 'replaced', 'reverted')),
    at INTEGER NOT NULL, calibration TEXT NOT NULL, basis TEXT NOT NULL,
    reports TEXT NOT NULL,                        -- JSON: ids in profiling_reports
    error_before REAL, error_after REAL NOT NULL, message TEXT NOT NULL, actor TEXT
) STRICT;
CREATE UNIQUE INDEX calibrations_active ON calibrations(profile) WHERE state = 'active';
CREATE TABLE refits (         -- the last fit of each profile, or the one under way; rules in refits.py
    profile TEXT PRIMARY KEY, inputs TEXT NOT NULL, worker TEXT, lease_until INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '', at INTEGER NOT NULL
) STRICT;
CREATE TABLE artifact_predictions (
    profile TEXT NOT NULL, digest TEXT NOT NULL, identity TEXT NOT NULL,
    latency_us REAL,                              -- NULL: it cannot be predicted
    basis TEXT NOT NULL, error REAL, at INTEGER NOT NULL, PRIMARY KEY (profile, digest)
) STRICT, WITHOUT ROWID;
ALTER TABLE wants ADD COLUMN profiling TEXT;      -- id of the profiling job that the want carries
CREATE INDEX wants_profiling ON wants(device) WHERE profiling IS NOT NULL;
"""
