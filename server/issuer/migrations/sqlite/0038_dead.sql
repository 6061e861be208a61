-- Gates ask again and again what is dead among what can still be in use. Who had a token is marked when their device or grant ends or is held back, and not any more once they
-- get another: so what is asked goes through those marked alone, and not through all that ever ended.
ALTER TABLE token_holders ADD COLUMN dead BIGINT NOT NULL DEFAULT 0;
UPDATE token_holders SET dead = 1
    WHERE EXISTS (SELECT 1 FROM devices WHERE devices.id = token_holders.device AND devices.state <> 'approved')
    OR EXISTS (SELECT 1 FROM grants WHERE grants.id = token_holders.grant_id AND grants.state NOT IN ('active', 'grace'));
CREATE INDEX token_holders_dead ON token_holders (resource, until) WHERE dead <> 0;
DROP INDEX grants_not_active;
DROP INDEX devices_amiss;
CREATE INDEX devices_software ON devices (id) WHERE software <> 0 AND state = 'approved';
