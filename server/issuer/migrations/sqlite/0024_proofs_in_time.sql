-- A proof says itself until when it must be remembered, so it is found by that too: in the order of time, beside those of its minute, and without a second
-- index for what is over.
CREATE TABLE proofs_in_time (
    remember_until BIGINT NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (remember_until, id)
) WITHOUT ROWID;
INSERT INTO proofs_in_time (remember_until, id) SELECT remember_until, id FROM proofs_seen ORDER BY 1, 2;
DROP TABLE proofs_seen;
ALTER TABLE proofs_in_time RENAME TO proofs_seen;
