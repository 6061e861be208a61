-- The grant whose place another takes, on a new device of the same person: of each, one successor lives at a time.
ALTER TABLE grants ADD COLUMN replaces TEXT GENERATED ALWAYS AS (json_extract(body, '$.replaces.grant')) VIRTUAL;
CREATE UNIQUE INDEX grants_replacing ON grants (replaces) WHERE replaces IS NOT NULL AND state NOT IN ('revoked', 'ended');
