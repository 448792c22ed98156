"""Tables of delivery: deltas between artifacts, and the rules under which devices may fetch."""

SCHEMA = """
-- Content keys are drawn for deltas, too, which are no artifacts of their own.
CREATE TABLE content_keys_new (
    digest TEXT PRIMARY KEY, key BLOB NOT NULL, created_at INTEGER NOT NULL
) STRICT;
INSERT INTO content_keys_new SELECT digest, key, created_at FROM content_keys;
DROP TABLE content_keys;
ALTER TABLE content_keys_new RENAME TO content_keys;

ALTER TABLE wants ADD COLUMN delta TEXT;  -- digest of the delta that the want offers
ALTER TABLE wants ADD COLUMN outdated INTEGER NOT NULL DEFAULT 0;  -- 1: sign it again, its rules have changed

CREATE TABLE deltas (      -- the change from one artifact's model to another's, made once for every pair
    base TEXT NOT NULL REFERENCES artifacts(digest) ON DELETE CASCADE,
    full TEXT NOT NULL REFERENCES artifacts(digest) ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN ('wanted', 'ready', 'useless', 'failed')),
    digest TEXT UNIQUE, bytes INTEGER, onnx_sha256 TEXT, onnx_bytes INTEGER,
    message TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL, made_at INTEGER, PRIMARY KEY (base, full)
) STRICT, WITHOUT ROWID;
CREATE TABLE delta_statements (  -- signed by the release key for one release; its counter is in it
    release TEXT NOT NULL REFERENCES releases(id) ON DELETE CASCADE, digest TEXT NOT NULL,
    statement TEXT NOT NULL, PRIMARY KEY (release, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX wants_delta ON wants(delta) WHERE delta IS NOT NULL;

CREATE TABLE delivery_rules (    -- how devices may fetch; subject: 'fleet', or 'device/NAME'
    subject TEXT PRIMARY KEY, rules TEXT NOT NULL, updated_at INTEGER NOT NULL, actor TEXT
) STRICT;
"""
