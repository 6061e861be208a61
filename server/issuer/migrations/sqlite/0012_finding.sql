-- Records are found by whose they are and where they belong. All but a grant's end stand for good once they are written.
ALTER TABLE grants ADD COLUMN collaborator TEXT;
ALTER TABLE grants ADD COLUMN project TEXT;
ALTER TABLE grants ADD COLUMN role TEXT;
ALTER TABLE grants ADD COLUMN ends_at BIGINT;
UPDATE grants SET collaborator = json_extract(body, '$.collaborator'), project = json_extract(body, '$.project'),
    role = json_extract(body, '$.role'), ends_at = json_extract(body, '$.until');
CREATE INDEX grants_by_collaborator ON grants (collaborator, id);
CREATE INDEX grants_by_project ON grants (project, id);
ALTER TABLE invitations ADD COLUMN collaborator TEXT;
ALTER TABLE invitations ADD COLUMN project TEXT;
ALTER TABLE invitations ADD COLUMN role TEXT;
ALTER TABLE invitations ADD COLUMN ends_at BIGINT;
UPDATE invitations SET collaborator = json_extract(body, '$.collaborator'), project = json_extract(body, '$.project'),
    role = json_extract(body, '$.role'), ends_at = json_extract(body, '$.expires_at');
CREATE INDEX invitations_by_collaborator ON invitations (collaborator, id);
CREATE INDEX invitations_by_project ON invitations (project, id);
CREATE INDEX invitations_by_grant ON invitations (grant_id);
ALTER TABLE devices ADD COLUMN collaborator TEXT;
UPDATE devices SET collaborator = json_extract(body, '$.collaborator');
CREATE INDEX devices_by_collaborator ON devices (collaborator, id);
