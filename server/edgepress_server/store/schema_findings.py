"""The tables of migration m010: budgets, and what was found to miss them. Released: never edited again."""

from typing import Final

SCHEMA: Final = """
CREATE TABLE budgets (        -- what a model must keep on a profile, in the fleet; NULL: no limit
    model TEXT NOT NULL REFERENCES models(name), profile TEXT NOT NULL,
    latency_us REAL,          -- p95 of one inference
    memory_bytes INTEGER,     -- of the agent's process
    energy_mj REAL,           -- of one inference
    artifact_bytes INTEGER, max_drop REAL,                -- for searches; max_drop: a fraction 0..1
    prediction_error REAL,    -- |measured / predicted - 1| of the p50 that is still believed
    auto INTEGER NOT NULL,    -- 1: calibrate, search, release and roll out without asking
    window_s INTEGER NOT NULL, sustained_minutes INTEGER NOT NULL,
    profiling_s INTEGER NOT NULL,         -- that a device may measure itself for, before a search
    options TEXT NOT NULL DEFAULT '{}',                   -- JSON: options of the searches
    source TEXT,              -- id of the search that it comes from; NULL: set by hand
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, actor TEXT,
    PRIMARY KEY (model, profile)
) STRICT, WITHOUT ROWID;
CREATE TABLE findings (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('latency', 'memory', 'energy', 'prediction')),
    scope TEXT NOT NULL CHECK (scope IN ('profile', 'device')),
    model TEXT NOT NULL REFERENCES models(name), profile TEXT NOT NULL,
    digest TEXT NOT NULL,     -- the artifact that runs while it is missed
    rollout TEXT,             -- that brought it
    measured REAL NOT NULL, measured_limit REAL NOT NULL, -- us, bytes, mJ or a ratio, by kind
    figures TEXT NOT NULL,    -- JSON: what else was measured then: p95_us, rss_bytes, energy_mj
    predicted_us REAL,        -- p50 that was predicted for the artifact; NULL: none was
    devices TEXT NOT NULL,    -- JSON: names of those that miss it
    judged INTEGER NOT NULL, inferences INTEGER NOT NULL, since INTEGER NOT NULL,
    sentence TEXT NOT NULL,   -- what is wrong, for people
    state TEXT NOT NULL CHECK (state IN
        ('open', 'proposed', 'calibrating', 'searching', 'released', 'resolved', 'dismissed')),
    message TEXT NOT NULL DEFAULT '',                     -- what is being done, or waited for
    accepted_by TEXT,         -- a person, or NULL; what follows is theirs
    release_too INTEGER NOT NULL DEFAULT 0,  -- 1: release what the search finds without asking again
    jobs TEXT NOT NULL DEFAULT '[]',                      -- JSON: ids of profiling jobs
    search TEXT, chosen TEXT, release TEXT, new_rollout TEXT,
    attempts INTEGER NOT NULL DEFAULT 0, next_try_at INTEGER,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, ended_at INTEGER
) STRICT;
CREATE INDEX findings_state ON findings(state, created_at);
CREATE INDEX findings_rollout ON findings(new_rollout);
CREATE TABLE finding_steps (  -- its story: what happened when, in words
    finding TEXT NOT NULL REFERENCES findings(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    at INTEGER NOT NULL, what TEXT NOT NULL, sentence TEXT NOT NULL,
    about TEXT, about_id TEXT,                            -- "search" and its id, for example
    PRIMARY KEY (finding, number)
) STRICT, WITHOUT ROWID;
"""
