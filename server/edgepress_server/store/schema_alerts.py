"""The tables of migration m020: alert rules, what they say now, incidents, notices. Released: never edited again.

A subject is ``device:NAME``, ``profile:NAME``, ``artifact:DIGEST``, ``fleet:`` or ``server:``.
"""

from typing import Final

SCHEMA: Final = """
CREATE TABLE alert_rules (
    name TEXT PRIMARY KEY,
    rule TEXT NOT NULL,       -- JSON of edgepress_server.alerts.rule.Rule
    shipped TEXT,             -- JSON of the rule as it came with the server; NULL: made here
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, actor TEXT
) STRICT;
CREATE TABLE alert_incidents (
    id TEXT PRIMARY KEY, rule TEXT NOT NULL, scope TEXT NOT NULL,     -- scope: JSON, what its subjects share
    severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    title TEXT NOT NULL, runbook TEXT NOT NULL,           -- of the rule, when it opened
    state TEXT NOT NULL CHECK (state IN ('firing', 'resolved')),
    sentence TEXT NOT NULL, worst REAL,                   -- in words, and the value farthest beyond the limit
    subjects INTEGER NOT NULL, most_subjects INTEGER NOT NULL,        -- firing now, and the most at a time
    first_subject TEXT NOT NULL,
    model TEXT, profile TEXT, artifact TEXT, rollout TEXT,            -- what all, or most of them share
    opened_at INTEGER NOT NULL, since INTEGER NOT NULL, updated_at INTEGER NOT NULL, resolved_at INTEGER,
    acknowledged_by TEXT, acknowledged_at INTEGER, acknowledged_note TEXT NOT NULL DEFAULT '',
    reopened TEXT NOT NULL DEFAULT '[]',                  -- JSON: when it fired again after it had resolved
    flapping INTEGER NOT NULL DEFAULT 0, silenced INTEGER NOT NULL DEFAULT 0,
    told TEXT NOT NULL DEFAULT '',                        -- what people were told last: '' nothing, fired, resolved
    told_at INTEGER, told_subjects INTEGER NOT NULL DEFAULT 0,
    notices INTEGER NOT NULL DEFAULT 0                    -- number of the newest notice
) STRICT;
CREATE INDEX alert_incidents_state ON alert_incidents(state, opened_at);
CREATE INDEX alert_incidents_scope ON alert_incidents(rule, scope, opened_at);
CREATE TABLE alert_states (   -- of a rule about a subject, while it is not ok
    rule TEXT NOT NULL, subject TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'firing', 'resolving')),
    since INTEGER NOT NULL,   -- of this state
    began_at INTEGER NOT NULL,                            -- of the breach: first seen beyond the limit
    data_at INTEGER NOT NULL, -- when there was last a value
    value REAL, sentence TEXT NOT NULL, incident TEXT REFERENCES alert_incidents(id),
    PRIMARY KEY (rule, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_states_incident ON alert_states(incident);
CREATE TABLE alert_transitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, rule TEXT NOT NULL, subject TEXT NOT NULL,
    incident TEXT,
    what TEXT NOT NULL,       -- pending, fired, resolved, cleared (was pending), acknowledged, flapping, silenced ...
    value REAL, fire_at REAL, sentence TEXT NOT NULL, actor TEXT
) STRICT;
CREATE INDEX alert_transitions_incident ON alert_transitions(incident, id);
CREATE INDEX alert_transitions_rule ON alert_transitions(rule, id);
CREATE INDEX alert_transitions_subject ON alert_transitions(subject, id);
CREATE INDEX alert_transitions_at ON alert_transitions(at);
CREATE TABLE alert_channels (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('webhook', 'email', 'mqtt')),
    enabled INTEGER NOT NULL, least_severity TEXT NOT NULL,
    options TEXT NOT NULL,    -- JSON, without secrets
    secret TEXT,              -- signing key or password; never shown again
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, actor TEXT,
    sent_at INTEGER, failed_at INTEGER, failure TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE alert_notices (  -- the line to each channel
    id TEXT PRIMARY KEY,      -- incident, number and channel: the same after a crash, so receivers can tell
    incident TEXT NOT NULL REFERENCES alert_incidents(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    channel TEXT NOT NULL, what TEXT NOT NULL,            -- fired, more, repeated, resolved, flapping, calm
    payload TEXT NOT NULL,    -- JSON
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed', 'dropped')),
    attempts INTEGER NOT NULL DEFAULT 0, next_try_at INTEGER NOT NULL, answer TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL, ended_at INTEGER
) STRICT;
CREATE INDEX alert_notices_state ON alert_notices(state, next_try_at);
CREATE INDEX alert_notices_incident ON alert_notices(incident, number);
CREATE TABLE alert_silences (
    id TEXT PRIMARY KEY, rule TEXT NOT NULL DEFAULT '',   -- '' = every rule; * stands for any characters
    query TEXT NOT NULL DEFAULT '',                       -- which devices; '' = all, and what is no device
    starts_at INTEGER NOT NULL, ends_at INTEGER NOT NULL,
    repeats TEXT NOT NULL CHECK (repeats IN ('no', 'daily', 'weekly')), until INTEGER,  -- until: of repeated ones
    reason TEXT NOT NULL, created_by TEXT NOT NULL, created_at INTEGER NOT NULL,
    ended_by TEXT, ended_at INTEGER                       -- taken back before its time
) STRICT;
CREATE TABLE alert_boots (device TEXT PRIMARY KEY, boot TEXT NOT NULL) STRICT;  -- run of the agent last heard of
CREATE TABLE alert_restarts (device TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (device, at)) STRICT, WITHOUT ROWID;
CREATE INDEX alert_restarts_at ON alert_restarts(at);
"""
