"""Tables of enrolment: certificates of devices, renewed credentials not yet shown, who made a code."""

SCHEMA = """
ALTER TABLE devices ADD COLUMN credentials_at INTEGER;  -- when what it shows to the broker was made
ALTER TABLE devices ADD COLUMN next_secret TEXT;        -- renewed; takes over when the device has shown it
ALTER TABLE devices ADD COLUMN cloned_at INTEGER;       -- two boards were last seen with this identity
UPDATE devices SET credentials_at = enrolled_at;

ALTER TABLE enrolment_codes ADD COLUMN actor TEXT;      -- who made it
CREATE INDEX enrolment_codes_device ON enrolment_codes(device);

CREATE TABLE device_certificates (
    serial TEXT PRIMARY KEY,                            -- hexadecimal
    device TEXT NOT NULL REFERENCES devices(name) ON DELETE CASCADE, pem TEXT NOT NULL,
    -- next: renewed, not shown yet; current: good; revoked: on the revocation list until it expires
    state TEXT NOT NULL CHECK (state IN ('next', 'current', 'revoked')),
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, revoked_at INTEGER
) STRICT;
CREATE INDEX device_certificates_device ON device_certificates(device, state);
CREATE INDEX device_certificates_revoked ON device_certificates(expires_at) WHERE state = 'revoked';
"""
