-- Each of these is looked up by its key alone, so the row stands where the key does: one page for a token's row, a proof's and a certificate's instead of two.
CREATE TABLE tokens_by_jti (
    jti TEXT PRIMARY KEY NOT NULL,
    device TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO tokens_by_jti (jti, device, grant_id, resource, expires_at, revoked)
    SELECT jti, device, grant_id, resource, expires_at, revoked FROM tokens ORDER BY jti;
DROP TABLE tokens;
ALTER TABLE tokens_by_jti RENAME TO tokens;
CREATE INDEX tokens_by_end ON tokens (expires_at);
-- A grant's tokens are found here as well: they are those of its device, which never becomes another.
CREATE INDEX tokens_by_device ON tokens (device, expires_at, resource);
CREATE INDEX tokens_revoked ON tokens (resource, expires_at) WHERE revoked <> 0;
CREATE INDEX tokens_revoked_of ON tokens (device, expires_at) WHERE revoked <> 0;

CREATE TABLE proofs_by_id (
    id BLOB PRIMARY KEY NOT NULL,
    remember_until BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO proofs_by_id (id, remember_until) SELECT id, remember_until FROM proofs_seen ORDER BY id;
DROP TABLE proofs_seen;
ALTER TABLE proofs_by_id RENAME TO proofs_seen;
CREATE INDEX proofs_seen_by_end ON proofs_seen (remember_until);

CREATE TABLE certificates_by_hash (
    hash BLOB PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO certificates_by_hash (hash, holder, not_before, not_after)
    SELECT hash, holder, not_before, not_after FROM certificates ORDER BY hash;
DROP TABLE certificates;
ALTER TABLE certificates_by_hash RENAME TO certificates;
CREATE INDEX certificates_by_end ON certificates (not_after);
CREATE INDEX certificates_by_holder ON certificates (holder);
