-- Lists of devices and of people have keys in no order. In blocks of 16384 numbers, as leaf hashes are, they grow within one block. Whoever looks for one
-- looks into each block.
-- What is dropped here leaves nothing behind: it tells of people.
PRAGMA secure_delete = ON;
DROP INDEX events_by_device;
CREATE INDEX events_by_device ON events (sequence >> 14, device, sequence) WHERE sequence IS NOT NULL AND device IS NOT NULL;
CREATE TABLE event_collaborators_in_blocks (
    block BIGINT NOT NULL CHECK (block = sequence >> 14),
    collaborator TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (block, collaborator, sequence)
) WITHOUT ROWID;
INSERT INTO event_collaborators_in_blocks (block, collaborator, sequence)
    SELECT sequence >> 14, collaborator, sequence FROM event_collaborators ORDER BY 1, 2, 3;
DROP TABLE event_collaborators;
ALTER TABLE event_collaborators_in_blocks RENAME TO event_collaborators;
