"""What the broker holds, and which mark on it vouches for that."""

SCHEMA = """
-- An artifact whose chunks were put on the broker. mark: the mark that was published after all of them were
-- acknowledged; NULL: not yet. cleared: the mark after they were taken off again; the row then waits until a
-- broker shows that mark, for one that comes back with an old state has the chunks again.
ALTER TABLE published ADD COLUMN mark INTEGER;
ALTER TABLE published ADD COLUMN cleared INTEGER;
CREATE TABLE retained (    -- wants and roots: the version that a mark vouches for
    topic TEXT PRIMARY KEY, version INTEGER NOT NULL, mark INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
