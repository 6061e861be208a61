-- What people ask for, longer or more. `subject` is what it is about: of each, one request waits at a time.
CREATE TABLE requests (
    id TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL,
    subject TEXT NOT NULL,
    device TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE UNIQUE INDEX requests_waiting ON requests (subject) WHERE state = 'requested';
CREATE INDEX requests_by_device ON requests (device, id);
ALTER TABLE requests ADD COLUMN collaborator TEXT GENERATED ALWAYS AS (json_extract(body, '$.collaborator')) VIRTUAL;
ALTER TABLE requests ADD COLUMN project TEXT GENERATED ALWAYS AS (json_extract(body, '$.project')) VIRTUAL;
ALTER TABLE requests ADD COLUMN role TEXT GENERATED ALWAYS AS (json_extract(body, '$.role')) VIRTUAL;
ALTER TABLE requests ADD COLUMN ends_at BIGINT GENERATED ALWAYS AS (json_extract(body, '$.until')) VIRTUAL;
CREATE INDEX requests_by_collaborator ON requests (collaborator, id);
CREATE INDEX requests_by_project ON requests (project, id);
