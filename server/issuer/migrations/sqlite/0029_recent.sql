-- The writer has the proofs of the last minutes in memory, and the tokens that live of each device. These tables are what it reads at its start; they grow at their ends.
CREATE TABLE proofs_in_order (
    n INTEGER PRIMARY KEY NOT NULL,
    id BLOB NOT NULL,
    remember_until BIGINT NOT NULL
);
INSERT INTO proofs_in_order (id, remember_until) SELECT id, remember_until FROM proofs_seen ORDER BY remember_until;
DROP TABLE proofs_seen;
ALTER TABLE proofs_in_order RENAME TO proofs_seen;
DROP INDEX tokens_by_end;
CREATE INDEX tokens_by_end ON tokens (expires_at, device);
DROP INDEX tokens_by_device;
-- Who had a token for what, and until when one can be in use at most: it is written about once an hour, and not with each token.
CREATE TABLE token_holders (
    device TEXT NOT NULL,
    resource TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (device, resource, grant_id)
) WITHOUT ROWID;
INSERT INTO token_holders (device, resource, grant_id, until)
    SELECT device, resource, grant_id, MAX(expires_at) FROM tokens GROUP BY device, resource, grant_id;
CREATE INDEX token_holders_by_end ON token_holders (until);
