"""Tables of rollouts by stages: waves, approvals, decisions in words, and groups of devices."""

SCHEMA = """
ALTER TABLE rollouts ADD COLUMN wave INTEGER NOT NULL DEFAULT 0;     -- the stage it is in: 0 canaries, 1.. waves
ALTER TABLE rollouts ADD COLUMN begun_at INTEGER;                    -- when that stage could first tell somebody
ALTER TABLE rollouts ADD COLUMN settled_at INTEGER;                  -- since when its devices are settled
ALTER TABLE rollouts ADD COLUMN gates_since INTEGER;                 -- figures before this moment do not count
ALTER TABLE rollouts ADD COLUMN overruled INTEGER;                   -- the stage whose gates a person overruled
ALTER TABLE rollouts ADD COLUMN waiting TEXT NOT NULL DEFAULT '';    -- what it waits for, in words
ALTER TABLE rollouts ADD COLUMN target TEXT;                         -- JSON; NULL: the devices were named
ALTER TABLE rollouts ADD COLUMN rollback INTEGER NOT NULL DEFAULT 0; -- 1: who committed goes back, too
ALTER TABLE rollouts ADD COLUMN rollback_of TEXT;                    -- the rollout that this one takes back
UPDATE rollouts SET begun_at = stage_since;
UPDATE rollouts SET wave = 1
    WHERE state IN ('ramp', 'soak', 'done') OR coalesce(resume_state, '') IN ('ramp', 'soak');
CREATE INDEX rollouts_rollback_of ON rollouts(rollback_of) WHERE rollback_of IS NOT NULL;
CREATE INDEX rollouts_state ON rollouts(state);

CREATE TABLE rollout_devices_new (
    rollout TEXT NOT NULL REFERENCES rollouts(id) ON DELETE CASCADE,
    device TEXT NOT NULL REFERENCES devices(name) ON DELETE CASCADE, digest TEXT NOT NULL,
    profile TEXT NOT NULL,                                           -- when it came in
    stage TEXT NOT NULL CHECK (stage IN ('canary', 'ramp')), wave INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('waiting', 'wanted', 'fetching', 'trial', 'committed', 'failed', 'skipped', 'unreached')),
    reason TEXT NOT NULL DEFAULT '', want_counter INTEGER, updated_at INTEGER NOT NULL,
    told_at INTEGER,                                                 -- when this rollout told it last
    previous_rollout TEXT, previous_release TEXT, previous_digest TEXT,  -- what `abort` gives back
    PRIMARY KEY (rollout, device)
) STRICT, WITHOUT ROWID;
INSERT INTO rollout_devices_new SELECT r.rollout, r.device, r.digest, d.profile, r.stage, r.stage = 'ramp', r.state,
    r.reason, r.want_counter, r.updated_at, CASE WHEN r.want_counter IS NOT NULL THEN r.updated_at END,
    r.previous_rollout, r.previous_release, r.previous_digest
    FROM rollout_devices r JOIN devices d ON d.name = r.device;
DROP TABLE rollout_devices;
ALTER TABLE rollout_devices_new RENAME TO rollout_devices;
CREATE INDEX rollout_devices_device ON rollout_devices(device);
CREATE INDEX rollout_devices_digest ON rollout_devices(digest, state);
CREATE INDEX rollout_devices_state ON rollout_devices(rollout, state);
CREATE INDEX rollout_devices_under_way ON rollout_devices(rollout, digest)  -- what the broker has to hold
    WHERE state IN ('waiting', 'wanted', 'fetching');

DROP TABLE rollout_statements;                    -- limits travel in the want, which the director signs

CREATE TABLE rollout_approvals (                  -- a person's word that a stage may begin
    rollout TEXT NOT NULL REFERENCES rollouts(id) ON DELETE CASCADE, wave INTEGER NOT NULL,
    at INTEGER NOT NULL, actor TEXT, PRIMARY KEY (rollout, wave)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollout_decisions (                  -- why a rollout did what it did
    id INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL REFERENCES rollouts(id) ON DELETE CASCADE,
    at INTEGER NOT NULL, wave INTEGER NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL, actor TEXT
) STRICT;
CREATE INDEX rollout_decisions_rollout ON rollout_decisions(rollout, id);

CREATE TABLE groups (                             -- named queries over devices, evaluated when they are used
    name TEXT PRIMARY KEY, query TEXT NOT NULL, note TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, actor TEXT
) STRICT;
"""
