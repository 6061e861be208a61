-- What is dead is looked for from the device, the grant and the token that are, not from the tokens that are not.
CREATE INDEX tokens_by_device ON tokens (device, resource, expires_at);
CREATE INDEX tokens_by_grant ON tokens (grant_id, resource, expires_at);
CREATE INDEX tokens_revoked ON tokens (resource, expires_at) WHERE revoked <> 0;
CREATE INDEX devices_by_state ON devices (state);
CREATE INDEX grants_by_state ON grants (state);
