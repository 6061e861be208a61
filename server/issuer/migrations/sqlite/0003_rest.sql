-- The name of the master key that a private key is wrapped under; one for all keys of a store.
ALTER TABLE keys ADD COLUMN master TEXT NOT NULL DEFAULT '';
-- One row: the time up to which decisions were made, within seconds. A clock that is behind it was put back.
CREATE TABLE clock (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    floor BIGINT NOT NULL
);
INSERT INTO clock (id, floor) SELECT 1, COALESCE(MAX(at), 0) FROM events;
