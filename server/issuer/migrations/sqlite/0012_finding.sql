-- Records are found by whose they are and where they belong: read from the record itself, so that nothing can be out of step, whoever wrote it.
ALTER TABLE grants ADD COLUMN collaborator TEXT GENERATED ALWAYS AS (json_extract(body, '$.collaborator')) VIRTUAL;
ALTER TABLE grants ADD COLUMN project TEXT GENERATED ALWAYS AS (json_extract(body, '$.project')) VIRTUAL;
ALTER TABLE grants ADD COLUMN role TEXT GENERATED ALWAYS AS (json_extract(body, '$.role')) VIRTUAL;
ALTER TABLE grants ADD COLUMN ends_at BIGINT GENERATED ALWAYS AS (json_extract(body, '$.until')) VIRTUAL;
CREATE INDEX grants_by_collaborator ON grants (collaborator, id);
CREATE INDEX grants_by_project ON grants (project, id);
ALTER TABLE invitations ADD COLUMN collaborator TEXT GENERATED ALWAYS AS (json_extract(body, '$.collaborator')) VIRTUAL;
ALTER TABLE invitations ADD COLUMN project TEXT GENERATED ALWAYS AS (json_extract(body, '$.project')) VIRTUAL;
ALTER TABLE invitations ADD COLUMN role TEXT GENERATED ALWAYS AS (json_extract(body, '$.role')) VIRTUAL;
ALTER TABLE invitations ADD COLUMN ends_at BIGINT GENERATED ALWAYS AS (json_extract(body, '$.expires_at')) VIRTUAL;
CREATE INDEX invitations_by_collaborator ON invitations (collaborator, id);
CREATE INDEX invitations_by_project ON invitations (project, id);
CREATE INDEX invitations_by_grant ON invitations (grant_id);
ALTER TABLE devices ADD COLUMN collaborator TEXT GENERATED ALWAYS AS (json_extract(body, '$.collaborator')) VIRTUAL;
CREATE INDEX devices_by_collaborator ON devices (collaborator, id);
