-- How many tokens a device has is asked for each that is issued: those that live, and those that were revoked and are still named to gates.
DROP INDEX tokens_by_device;
CREATE INDEX tokens_by_device ON tokens (device, expires_at, resource);
CREATE INDEX tokens_revoked_of ON tokens (device, expires_at) WHERE revoked <> 0;
