-- Grants end by time twice where something is left in between; and a project's phases end what is granted for them.
ALTER TABLE grants ADD COLUMN over_at BIGINT GENERATED ALWAYS AS (json_extract(body, '$.until') + COALESCE(json_extract(body, '$.terms.grace'), 0)) VIRTUAL;
ALTER TABLE grants ADD COLUMN phase TEXT GENERATED ALWAYS AS (json_extract(body, '$.terms.phase')) VIRTUAL;
ALTER TABLE invitations ADD COLUMN phase TEXT GENERATED ALWAYS AS (json_extract(body, '$.phase')) VIRTUAL;
CREATE INDEX grants_by_over ON grants (over_at) WHERE state = 'grace';
