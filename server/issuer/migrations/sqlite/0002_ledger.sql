-- The tree over the events. `ledger` has one row: every change to the tree goes through it, under the epoch of whoever holds the lease.
CREATE TABLE ledger (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    origin TEXT NOT NULL,
    size BIGINT NOT NULL,
    root BLOB NOT NULL,
    -- Goes up with each lease, so that whoever held it before changes nothing any more.
    epoch BIGINT NOT NULL,
    holder TEXT,
    lease_until BIGINT NOT NULL,
    -- The size up to which checkpoints are promised: it goes up before anything is signed.
    promised BIGINT NOT NULL
);
-- As C2SP tlog-tiles has them: up to 256 hashes of one level. A tile that is not full yet is replaced as it grows.
CREATE TABLE ledger_tiles (
    level BIGINT NOT NULL,
    tile BIGINT NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, tile)
);
-- One of each size, promised before it is signed; without a note in between.
CREATE TABLE checkpoints (
    origin TEXT NOT NULL,
    size BIGINT NOT NULL,
    root BLOB NOT NULL,
    at BIGINT NOT NULL,
    note TEXT,
    PRIMARY KEY (origin, size)
);
-- At most one row: what was promised and not signed when somebody pulled the plug.
CREATE INDEX checkpoints_unsealed ON checkpoints (origin, size) WHERE note IS NULL;
