-- Lists go by what the leaf says: kind, time, device, project, and the collaborator beside it. Each index has numbered events alone, so that no
-- decision waits for one; they are filled as events get their numbers.
ALTER TABLE events ADD COLUMN device TEXT;
ALTER TABLE events ADD COLUMN project TEXT;
UPDATE events SET device = json_extract(CAST(leaf AS TEXT), '$.fields.device'), project = json_extract(CAST(leaf AS TEXT), '$.fields.project');
DROP INDEX events_by_time;
CREATE INDEX events_by_time ON events (at, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX events_by_kind ON events (kind, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX events_by_device ON events (device, sequence) WHERE sequence IS NOT NULL AND device IS NOT NULL;
CREATE INDEX events_by_project ON events (project, sequence) WHERE sequence IS NOT NULL AND project IS NOT NULL;
-- It names a person, and is erased with them.
CREATE TABLE event_collaborators (
    collaborator TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (collaborator, sequence)
) WITHOUT ROWID;
INSERT INTO event_collaborators (collaborator, sequence)
    SELECT p.value, e.sequence FROM personal_fields p JOIN events e ON e.leaf_hash = p.leaf_hash
    WHERE p.name = 'collaborator' AND e.sequence IS NOT NULL;
-- Others who are named, to be erased.
CREATE INDEX personal_fields_by_person ON personal_fields (name, value) WHERE name = 'by' OR name = 'owner';
