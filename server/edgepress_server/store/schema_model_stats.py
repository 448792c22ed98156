"""Tables of what models see and say: histograms of inputs and answers, sampled inputs, and who may sample."""

SCHEMA = """
CREATE TABLE model_stats (     -- of one hour; device '' = all devices that ran the artifact
    device TEXT NOT NULL, artifact TEXT NOT NULL, hour INTEGER NOT NULL,   -- Unix ms at which it begins
    totals BLOB NOT NULL,      -- msgpack of store.model_stats.ModelTotals: counts that add up
    PRIMARY KEY (device, artifact, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_stats_hour ON model_stats(hour);

CREATE TABLE sampling_policies (  -- whose inputs may be sampled; subject: 'fleet', 'group/NAME', 'device/NAME'
    subject TEXT PRIMARY KEY, per_hour INTEGER NOT NULL, low_confidence_percent INTEGER NOT NULL,
    updated_at INTEGER NOT NULL, actor TEXT
) STRICT;

CREATE TABLE sampled_inputs (
    id TEXT PRIMARY KEY, device TEXT NOT NULL, received_at INTEGER NOT NULL, at INTEGER NOT NULL,
    artifact TEXT NOT NULL, why TEXT NOT NULL, name TEXT NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL,
    label INTEGER, confidence REAL, bytes INTEGER NOT NULL,
    data BLOB NOT NULL         -- little endian, zlib, as it came
) STRICT;
CREATE INDEX sampled_inputs_device ON sampled_inputs(device, received_at);
CREATE INDEX sampled_inputs_received ON sampled_inputs(received_at, bytes);  -- adds up without a look at data
"""
