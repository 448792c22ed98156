"""The schema, as migrations that only move forward. Never edit one that has been released: add the next.

Times are Unix milliseconds of the server's clock (``*_at``); JSON columns hold text written by this package.
States are the field's terms and are checked here too, so that no bug can write a state nobody knows.
"""

from sqlite_utils import Database, Migrations

from edgepress_server.store.schema_activity import SCHEMA as ACTIVITY
from edgepress_server.store.schema_alerts import SCHEMA as ALERTS
from edgepress_server.store.schema_audit import SCHEMA as AUDIT
from edgepress_server.store.schema_broker import SCHEMA as BROKER
from edgepress_server.store.schema_delivery import SCHEMA as DELIVERY
from edgepress_server.store.schema_enrolment import SCHEMA as ENROLMENT
from edgepress_server.store.schema_findings import SCHEMA as FINDINGS
from edgepress_server.store.schema_model_stats import SCHEMA as MODEL_STATS
from edgepress_server.store.schema_profiling import SCHEMA as PROFILING
from edgepress_server.store.schema_rollouts import SCHEMA as ROLLOUTS
from edgepress_server.store.schema_series import GONE as SERIES_GONE
from edgepress_server.store.schema_series import SCHEMA as SERIES
from edgepress_server.store.schema_timeline import SCHEMA as TIMELINE
from edgepress_server.store.schema_trust import SCHEMA as TRUST

migrations = Migrations("edgepress")


@migrations()
def m001_people(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE people (
            name TEXT PRIMARY KEY, password_hash TEXT NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')), created_at INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE sessions (   -- browser sessions; id_hash = SHA-256 of the cookie
            id_hash TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES people(name) ON DELETE CASCADE,
            csrf TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE tokens (     -- for the CLI and programs; hash = SHA-256 of the token
            id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
            person TEXT NOT NULL REFERENCES people(name) ON DELETE CASCADE,
            created_at INTEGER NOT NULL, last_used_at INTEGER, revoked_at INTEGER
        ) STRICT;
        CREATE TABLE events (     -- what changed, for live pages and as the log of who did what
            id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,
            kind TEXT NOT NULL,   -- device, model, dataset, job, artifact, release, rollout, telemetry, person, server
            subject TEXT NOT NULL, action TEXT NOT NULL, actor TEXT, data TEXT NOT NULL DEFAULT '{}'
        ) STRICT;
        CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;  -- e.g. the release counter
        """
    )


@migrations()
def m002_devices(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE devices (
            name TEXT PRIMARY KEY, profile TEXT NOT NULL, labels TEXT NOT NULL DEFAULT '{}',
            created_at INTEGER NOT NULL, enrolled_at INTEGER, revoked_at INTEGER,
            public_key TEXT,            -- X25519, base64 raw; made by the device at enrolment
            mqtt_secret TEXT,           -- broker password of this device, random, 32 bytes url-safe base64
            agent_version TEXT, hardware TEXT,
            online INTEGER NOT NULL DEFAULT 0, seen_at INTEGER,
            state TEXT,                 -- last full up/state message as JSON
            want_counter INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE TABLE enrolment_codes (  -- hash = SHA-256 of the code; a code works once, until it expires
            hash TEXT PRIMARY KEY, device TEXT NOT NULL REFERENCES devices(name) ON DELETE CASCADE,
            created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER
        ) STRICT;
        """
    )


@migrations()
def m003_models(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE datasets (
            name TEXT PRIMARY KEY, blob TEXT, path TEXT,  -- an uploaded .npz (sha256) or a TOML on the server's disk
            task TEXT NOT NULL, summary TEXT NOT NULL,    -- JSON: splits and their sizes, inputs, classes
            created_at INTEGER NOT NULL, CHECK ((blob IS NULL) <> (path IS NULL))
        ) STRICT;
        CREATE TABLE models (
            name TEXT PRIMARY KEY, blob TEXT NOT NULL,    -- the ONNX file (sha256)
            dataset TEXT REFERENCES datasets(name),
            bytes INTEGER NOT NULL, weight_bytes INTEGER NOT NULL, parameters INTEGER NOT NULL, macs INTEGER,
            inputs TEXT NOT NULL, outputs TEXT NOT NULL,  -- JSON [{name, shape, dtype}]
            note TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE artifacts (
            digest TEXT PRIMARY KEY, model TEXT NOT NULL REFERENCES models(name), profile TEXT NOT NULL,
            recipe TEXT NOT NULL, bytes INTEGER NOT NULL, report TEXT NOT NULL, job TEXT, created_at INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('compress')),
            model TEXT NOT NULL REFERENCES models(name), recipe TEXT NOT NULL, profile TEXT NOT NULL, dataset TEXT,
            options TEXT NOT NULL DEFAULT '{}',
            state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
            progress REAL NOT NULL DEFAULT 0, step TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '',
            attempts INTEGER NOT NULL DEFAULT 0, lease_until INTEGER, worker TEXT,
            cancel_requested INTEGER NOT NULL DEFAULT 0, artifact TEXT REFERENCES artifacts(digest),
            created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER, actor TEXT
        ) STRICT;
        CREATE INDEX jobs_state ON jobs(state, created_at);
        """
    )


@migrations()
def m004_rollouts(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE releases (
            id TEXT PRIMARY KEY, model TEXT NOT NULL REFERENCES models(name),
            counter INTEGER NOT NULL UNIQUE,              -- grows by one; devices refuse to go below what they ran
            note TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL, actor TEXT
        ) STRICT;
        CREATE TABLE release_artifacts (
            release TEXT NOT NULL REFERENCES releases(id) ON DELETE CASCADE, profile TEXT NOT NULL,
            digest TEXT NOT NULL REFERENCES artifacts(digest),
            statement TEXT NOT NULL,                      -- signed by the release key, Metadata[Targets] JSON
            PRIMARY KEY (release, profile)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE content_keys (                       -- AES-256 key the chunks of an artifact are encrypted with
            digest TEXT PRIMARY KEY REFERENCES artifacts(digest), key BLOB NOT NULL, created_at INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE rollouts (
            id TEXT PRIMARY KEY, release TEXT NOT NULL REFERENCES releases(id),
            state TEXT NOT NULL CHECK (state IN
                ('draft', 'signed', 'canary', 'ramp', 'soak', 'done', 'paused', 'aborted', 'rolling_back')),
            resume_state TEXT,                            -- where `resume` goes on
            policy TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL,
            stage_since INTEGER NOT NULL, finished_at INTEGER, actor TEXT
        ) STRICT;
        CREATE TABLE rollout_devices (
            rollout TEXT NOT NULL REFERENCES rollouts(id) ON DELETE CASCADE,
            device TEXT NOT NULL REFERENCES devices(name) ON DELETE CASCADE, digest TEXT NOT NULL,
            stage TEXT NOT NULL CHECK (stage IN ('canary', 'ramp')),
            state TEXT NOT NULL CHECK (state IN
                ('waiting', 'wanted', 'fetching', 'trial', 'committed', 'failed', 'skipped')),
            reason TEXT NOT NULL DEFAULT '', want_counter INTEGER, updated_at INTEGER NOT NULL,
            previous_rollout TEXT, previous_release TEXT, previous_digest TEXT,  -- what `abort` gives back
            PRIMARY KEY (rollout, device)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE rollout_statements (                 -- a rollout with limits signs its own statements
            rollout TEXT NOT NULL REFERENCES rollouts(id) ON DELETE CASCADE, digest TEXT NOT NULL,
            statement TEXT NOT NULL, PRIMARY KEY (rollout, digest)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE wants (                              -- the desired state of each device, as last decided
            device TEXT PRIMARY KEY REFERENCES devices(name) ON DELETE CASCADE, counter INTEGER NOT NULL,
            rollout TEXT, release TEXT, digest TEXT, payload BLOB NOT NULL, expires_at INTEGER NOT NULL,
            public_key TEXT NOT NULL                      -- the device's key that the content key was sealed to
        ) STRICT;
        CREATE TABLE published (                          -- artifacts whose chunks a broker may hold, retained
            digest TEXT PRIMARY KEY, chunks INTEGER NOT NULL
        ) STRICT;
        """
    )


@migrations()
def m005_telemetry(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE batches (    -- which batches of an epoch are stored: a batch counts once
            device TEXT NOT NULL, epoch TEXT NOT NULL,
            number INTEGER NOT NULL,                   -- every batch up to this one is stored, or gone for ever
            beyond TEXT NOT NULL DEFAULT '[]',         -- JSON: numbers stored after a gap, ascending
            updated_at INTEGER NOT NULL, PRIMARY KEY (device, epoch)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE latest (
            device TEXT PRIMARY KEY, at INTEGER NOT NULL, received_at INTEGER NOT NULL, sample TEXT NOT NULL
        ) STRICT;
        CREATE TABLE samples (    -- hot rows; one per device and interval; absent = NULL
            id INTEGER PRIMARY KEY, device TEXT NOT NULL, at INTEGER NOT NULL, interval_ms INTEGER NOT NULL,
            artifact TEXT, inferences INTEGER NOT NULL, errors INTEGER NOT NULL, latency_us BLOB,
            rss_bytes INTEGER, mem_used_bytes INTEGER, mem_total_bytes INTEGER, cpu_percent REAL, temp_c REAL,
            throttled INTEGER, power_mw REAL, power_method TEXT, power_scope TEXT, energy_mj REAL,
            energy_method TEXT, energy_scope TEXT, battery_percent REAL, agent_cpu_percent REAL,
            disk_free_bytes INTEGER
        ) STRICT;
        CREATE INDEX samples_device ON samples(device, at);
        CREATE TABLE minutes (    -- 1-minute rollup per device and artifact; histograms merged
            device TEXT NOT NULL, minute INTEGER NOT NULL, artifact TEXT NOT NULL DEFAULT '',
            inferences INTEGER NOT NULL, errors INTEGER NOT NULL, latency_us BLOB, samples INTEGER NOT NULL,
            rss_bytes_max INTEGER, mem_used_bytes_max INTEGER, cpu_percent_sum REAL, cpu_count INTEGER NOT NULL,
            temp_c_max REAL, throttled INTEGER, power_mw_sum REAL, power_count INTEGER NOT NULL, power_method TEXT,
            energy_mj_sum REAL, energy_count INTEGER NOT NULL, energy_method TEXT,
            PRIMARY KEY (device, minute, artifact)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE quarantine ( -- batches that could not be read, with the reason; never lost, never in the way
            id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, at INTEGER NOT NULL,
            reason TEXT NOT NULL, payload BLOB NOT NULL
        ) STRICT;
        """
    )


@migrations()
def m006_pushes(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE pushes (     -- one click: compress what is missing, release, roll out
            id TEXT PRIMARY KEY, model TEXT NOT NULL REFERENCES models(name), recipe TEXT NOT NULL, dataset TEXT,
            devices TEXT NOT NULL,                        -- JSON: names
            policy TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('compressing', 'releasing', 'rolling_out', 'done', 'failed')),
            jobs TEXT NOT NULL,                           -- JSON: profile -> id of the job that makes what was missing
            artifacts TEXT NOT NULL,                      -- JSON: profile -> digest, as far as known
            release TEXT REFERENCES releases(id), rollout TEXT REFERENCES rollouts(id),
            message TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL, finished_at INTEGER, actor TEXT
        ) STRICT;
        CREATE INDEX pushes_state ON pushes(state);
        """
    )


@migrations()
def m007_profiles(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE profiles (   -- this installation's own, and its overrides of shipped ones (same id)
            id TEXT PRIMARY KEY, toml TEXT NOT NULL,      -- as written; what it inherits is not in it
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, actor TEXT
        ) STRICT;
        """
    )


@migrations()
def m008_profiling(db: Database) -> None:
    db.executescript(PROFILING)


@migrations()
def m009_searches(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE searches (   -- a study: which recipe meets a budget on a profile
            id TEXT PRIMARY KEY, model TEXT NOT NULL REFERENCES models(name), profile TEXT NOT NULL, dataset TEXT,
            budget TEXT NOT NULL, options TEXT NOT NULL DEFAULT '{}',
            state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
            step TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '',
            identity TEXT,                                -- JSON: what its trials are bound to
            pinned TEXT,                                  -- JSON: the profile with the calibration it began with
            attempts INTEGER NOT NULL DEFAULT 0,          -- crashes since a trial was last finished
            cancel_requested INTEGER NOT NULL DEFAULT 0,
            spent_ms INTEGER NOT NULL DEFAULT 0,          -- that somebody worked on it; grows while there is a seat
            counted_at INTEGER,                           -- until when `spent_ms` counts; NULL: nobody works on it
            result TEXT,                                  -- JSON, when it is done
            chosen TEXT REFERENCES artifacts(digest),     -- the best within the budget
            reason TEXT NOT NULL DEFAULT '', finding TEXT,
            created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER, actor TEXT
        ) STRICT;
        CREATE INDEX searches_state ON searches(state, created_at);
        CREATE TABLE search_seats (   -- a worker process that takes part, by a lease it renews
            search TEXT NOT NULL REFERENCES searches(id) ON DELETE CASCADE, worker TEXT NOT NULL,
            lease_until INTEGER NOT NULL, PRIMARY KEY (search, worker)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE search_trials (  -- numbered from 0 without gaps; held by the lease of its worker's seat
            search TEXT NOT NULL REFERENCES searches(id) ON DELETE CASCADE, number INTEGER NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed')),
            trial TEXT NOT NULL,                          -- JSON of edgepress_compression.search.trial.Trial
            artifact TEXT,                                -- SHA-256 of its file, while that is kept
            worker TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 1,
            started_at INTEGER NOT NULL, finished_at INTEGER, PRIMARY KEY (search, number)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE search_measurements (  -- candidates on the search's device; states in search_measurements.py
            search TEXT NOT NULL REFERENCES searches(id) ON DELETE CASCADE, digest TEXT NOT NULL,
            device TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('asked', 'rolling_out', 'profiling', 'done', 'failed')),
            away INTEGER NOT NULL DEFAULT 0,              -- failed because the device went away
            rollout TEXT, job TEXT,                       -- the rollout that brought it, and the profiling job
            figures TEXT,                                 -- JSON, when it is done
            message TEXT NOT NULL DEFAULT '', asked_at INTEGER NOT NULL, changed_at INTEGER NOT NULL,
            PRIMARY KEY (search, digest)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE search_devices (       -- what a search's device ran before, and gets back
            search TEXT PRIMARY KEY REFERENCES searches(id) ON DELETE CASCADE, device TEXT NOT NULL,
            before TEXT,                                  -- digest; NULL: nothing
            settled INTEGER NOT NULL DEFAULT 0            -- it has been given back, or there was nothing to give
        ) STRICT;
        """
    )


@migrations()
def m010_findings(db: Database) -> None:
    db.executescript(FINDINGS)


@migrations()
def m011_trust(db: Database) -> None:
    db.executescript(TRUST)


@migrations()
def m012_enrolment(db: Database) -> None:
    db.executescript(ENROLMENT)


@migrations()
def m013_rollouts(db: Database) -> None:
    db.executescript(ROLLOUTS)


@migrations()
def m014_audit(db: Database) -> None:
    db.executescript(AUDIT)


@migrations()
def m015_delivery(db: Database) -> None:
    db.executescript(DELIVERY)


@migrations()
def m016_brokers(db: Database) -> None:
    db.executescript(BROKER)


@migrations()
def m017_timeline(db: Database) -> None:
    db.executescript(TIMELINE)


@migrations()
def m018_series(db: Database) -> None:
    from edgepress_server.store.series.convert import (
        convert_minutes,  # it stands on the store, which is made here
    )

    db.executescript(SERIES)
    convert_minutes(db.conn)
    db.executescript(SERIES_GONE)


@migrations()
def m019_model_stats(db: Database) -> None:
    db.executescript(MODEL_STATS)


@migrations()
def m020_alerts(db: Database) -> None:
    db.executescript(ALERTS)


@migrations()
def m021_activity(db: Database) -> None:
    db.executescript(ACTIVITY)
