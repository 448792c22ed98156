"""Releases that wait for signatures from another machine, that were withdrawn, or that stand by."""

SCHEMA = """
ALTER TABLE releases ADD COLUMN state TEXT NOT NULL DEFAULT 'signed'
    CHECK (state IN ('awaiting_signature', 'signed', 'withdrawn'));
ALTER TABLE releases ADD COLUMN withdrawn_at INTEGER;
ALTER TABLE releases ADD COLUMN withdrawn_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE releases ADD COLUMN rollback INTEGER NOT NULL DEFAULT 0;  -- 1: goes back to artifacts of before, on purpose
ALTER TABLE releases ADD COLUMN standby_for TEXT;  -- a rollback signed beforehand, in case that release goes wrong
"""
