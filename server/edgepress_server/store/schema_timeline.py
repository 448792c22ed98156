"""The history of a rollout's devices, which the file itself keeps: whatever moves a device is in it."""

SCHEMA = """
CREATE TABLE rollout_timeline (  -- by how many the devices in a state changed within a second
    rollout TEXT NOT NULL REFERENCES rollouts(id) ON DELETE CASCADE, at_s INTEGER NOT NULL,
    state TEXT NOT NULL, change INTEGER NOT NULL, PRIMARY KEY (rollout, at_s, state)
) STRICT, WITHOUT ROWID;
INSERT INTO rollout_timeline SELECT rollout, updated_at / 1000, state, count(*) FROM rollout_devices
    GROUP BY rollout, updated_at / 1000, state;
CREATE TRIGGER rollout_timeline_joined AFTER INSERT ON rollout_devices BEGIN
    INSERT INTO rollout_timeline VALUES (NEW.rollout, NEW.updated_at / 1000, NEW.state, 1)
        ON CONFLICT DO UPDATE SET change = change + 1;
END;
CREATE TRIGGER rollout_timeline_moved AFTER UPDATE OF state ON rollout_devices
WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO rollout_timeline VALUES (NEW.rollout, NEW.updated_at / 1000, OLD.state, -1)
        ON CONFLICT DO UPDATE SET change = change - 1;
    INSERT INTO rollout_timeline VALUES (NEW.rollout, NEW.updated_at / 1000, NEW.state, 1)
        ON CONFLICT DO UPDATE SET change = change + 1;
END;
"""
