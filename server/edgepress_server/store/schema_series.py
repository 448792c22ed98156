"""Tables of m018: telemetry as series, in place of samples and minutes."""

SCHEMA = """
    CREATE TABLE texts (      -- digests and methods that samples name; 0 is the empty text, 1 stands for any other
        code INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE
    ) STRICT;
    INSERT INTO texts (code, text) VALUES (1, '(other)');
    CREATE TABLE series (     -- a device, or a group of devices whose telemetry is added up as it comes
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('device', 'fleet', 'profile', 'artifact', 'label')),
        name TEXT NOT NULL, UNIQUE (kind, name)
    ) STRICT;
    CREATE TABLE hot (        -- samples as they came: table.HotRow
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
        rows INTEGER NOT NULL, mask INTEGER NOT NULL, width INTEGER NOT NULL, cells BLOB NOT NULL,
        heads BLOB NOT NULL, wide INTEGER NOT NULL, counts BLOB NOT NULL
    ) STRICT;
    CREATE INDEX hot_series ON hot(series, last_at);
    CREATE TABLE open_minutes ( -- of devices: a cache of their hot rows; of groups: the only place until sealed
        series INTEGER NOT NULL, minute INTEGER NOT NULL, artifact INTEGER NOT NULL,
        cells BLOB NOT NULL,      -- int64 [4, metrics]: sums, least, most, counts
        histograms BLOB NOT NULL, -- msgpack: {index of the histogram: protocol.Histogram}
        PRIMARY KEY (series, minute, artifact)
    ) STRICT;
    CREATE TABLE blocks (     -- sealed rows of one series: block.py, sealed.py
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL, tier INTEGER NOT NULL CHECK (tier IN (0, 1, 2)),
        first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, rows INTEGER NOT NULL, block BLOB NOT NULL
    ) STRICT;
    CREATE INDEX blocks_series ON blocks(series, tier, last_at);
    CREATE INDEX blocks_age ON blocks(tier, last_at);
    CREATE TABLE methods (    -- how a device measured power and energy last: codes of "method|scope", 0 = not yet
        series INTEGER PRIMARY KEY, power INTEGER NOT NULL, energy INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE clocks (     -- devices whose clock is wrong, while it is
        device TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL, since_at INTEGER NOT NULL, seen_at INTEGER NOT NULL
    ) STRICT;
"""

GONE = """
    DROP TABLE samples;
    DROP TABLE minutes;
"""
