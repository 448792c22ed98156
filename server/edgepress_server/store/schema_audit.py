"""Tables of the audit log, and what tokens may be limited to."""

SCHEMA = """
CREATE TABLE audit (       -- who did what; each row holds the hash of the one before it
    number INTEGER PRIMARY KEY CHECK (number >= 1),  -- 1, 2, 3, ... without gaps
    at INTEGER NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, actor TEXT, source TEXT NOT NULL,
    data TEXT NOT NULL, hash TEXT NOT NULL           -- see store/audit.py
) STRICT;
CREATE INDEX audit_actor ON audit(actor, number);
CREATE INDEX audit_action ON audit(action, number);
CREATE INDEX audit_subject ON audit(subject, number);
CREATE TRIGGER audit_next BEFORE INSERT ON audit  -- also what keeps INSERT OR REPLACE from replacing
    WHEN NEW.number <> 1 + coalesce((SELECT max(number) FROM audit), 0)
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;

-- NULL: what its person may do, and for ever
ALTER TABLE tokens ADD COLUMN role TEXT CHECK (role IN ('viewer', 'operator', 'admin'));
ALTER TABLE tokens ADD COLUMN expires_at INTEGER;
"""
