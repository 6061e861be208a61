-- Records are JSON in `body`; a column of its own has what conditions and lookups need.
CREATE TABLE invitations (
    id TEXT PRIMARY KEY NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    ek_hash BLOB,
    grant_id TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE grants (
    id TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL,
    device TEXT,
    body TEXT NOT NULL
);
CREATE INDEX grants_by_device ON grants (device);
CREATE TABLE devices (
    id TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL,
    software BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE certificates (
    hash BLOB PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL
);
CREATE TABLE challenges (
    id TEXT PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE tokens (
    jti TEXT PRIMARY KEY NOT NULL,
    device TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked BIGINT NOT NULL
);
CREATE INDEX tokens_by_end ON tokens (expires_at);
CREATE TABLE proofs_seen (
    id BLOB PRIMARY KEY NOT NULL,
    remember_until BIGINT NOT NULL
);
CREATE INDEX proofs_seen_by_end ON proofs_seen (remember_until);
CREATE TABLE gates (
    name TEXT PRIMARY KEY NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE keys (
    kid TEXT PRIMARY KEY NOT NULL,
    purpose TEXT NOT NULL,
    active_from BIGINT NOT NULL,
    retire_at BIGINT,
    body TEXT NOT NULL
);
-- Rows commit without a number: `sequence` is given afterwards, by one integrator.
CREATE TABLE events (
    leaf_hash BLOB PRIMARY KEY NOT NULL,
    sequence BIGINT UNIQUE,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    leaf BLOB NOT NULL
);
CREATE INDEX events_by_time ON events (at);
CREATE TABLE personal_fields (
    leaf_hash BLOB NOT NULL REFERENCES events (leaf_hash),
    name TEXT NOT NULL,
    salt BLOB NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (leaf_hash, name)
);
