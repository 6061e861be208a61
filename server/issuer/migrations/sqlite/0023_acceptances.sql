-- What was accepted of briefings: evidence, by the hash that the ledger has. `signed` is the device's word; `text` is what its holder had read, which
-- names people, and goes when one of them is erased.
CREATE TABLE acceptances (
    hash BLOB PRIMARY KEY NOT NULL,
    grant_id TEXT NOT NULL,
    device TEXT NOT NULL,
    collaborator TEXT NOT NULL,
    at BIGINT NOT NULL,
    briefing BLOB NOT NULL,
    signed TEXT NOT NULL,
    text TEXT
);
CREATE INDEX acceptances_by_grant ON acceptances (grant_id, at);
CREATE INDEX acceptances_by_collaborator ON acceptances (collaborator);
