-- What is written with a decision goes to the end of its table: events in the order in which they came, and what tells of people by the event's row.
-- What is dropped here leaves nothing behind: some of it tells of people.
PRAGMA secure_delete = ON;
CREATE TABLE events_in_order (
    id INTEGER PRIMARY KEY NOT NULL,
    leaf_hash BLOB NOT NULL,
    sequence BIGINT,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    leaf BLOB NOT NULL,
    device TEXT,
    project TEXT
);
INSERT INTO events_in_order (id, leaf_hash, sequence, kind, at, leaf, device, project)
    SELECT rowid, leaf_hash, sequence, kind, at, leaf, device, project FROM events ORDER BY rowid;
CREATE TABLE personal_fields_in_order (
    event INTEGER NOT NULL REFERENCES events_in_order (id),
    name TEXT NOT NULL,
    salt BLOB NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (event, name)
) WITHOUT ROWID;
INSERT INTO personal_fields_in_order (event, name, salt, value)
    SELECT e.rowid, p.name, p.salt, p.value FROM events AS e CROSS JOIN personal_fields AS p ON p.leaf_hash = e.leaf_hash ORDER BY e.rowid, p.name;
DROP TABLE personal_fields;
DROP TABLE events;
ALTER TABLE events_in_order RENAME TO events;
ALTER TABLE personal_fields_in_order RENAME TO personal_fields;
CREATE UNIQUE INDEX events_by_number ON events (sequence);
CREATE INDEX events_by_time ON events (at, sequence) WHERE sequence IS NOT NULL;
-- Most events are of this one kind.
CREATE INDEX events_by_kind ON events (kind, sequence) WHERE sequence IS NOT NULL AND kind <> 'token_issued';
CREATE INDEX events_by_device ON events (device, sequence) WHERE sequence IS NOT NULL AND device IS NOT NULL;
CREATE INDEX events_by_project ON events (project, sequence) WHERE sequence IS NOT NULL AND project IS NOT NULL;
CREATE INDEX events_of_beginnings ON events (sequence) WHERE kind = 'ledger_begun';
-- By hash within blocks of 16384 numbers, so that it grows within one block. Whoever looks for a hash looks into each block, the newest first.
CREATE INDEX events_by_hash ON events (sequence >> 14, leaf_hash) WHERE sequence IS NOT NULL;
CREATE INDEX personal_fields_by_person ON personal_fields (name, value) WHERE name = 'by' OR name = 'on_behalf_of' OR name = 'owner';
