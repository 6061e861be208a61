-- Whom events concern is told from here. One row says up to which number events were looked at, under the epoch of whoever holds the lease.
CREATE TABLE notifying (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    next BIGINT NOT NULL,
    -- Goes up with each lease, so that whoever held it before changes nothing any more.
    epoch BIGINT NOT NULL,
    holder TEXT,
    lease_until BIGINT NOT NULL
);
-- What a sink has not taken yet. A row goes when it was taken: it names people, who are erased from here too.
CREATE TABLE notifications (
    id TEXT NOT NULL,
    sink TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- In the order in which they were found: the number of the event, or that of the first event after.
    place BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    dead BIGINT NOT NULL,
    error TEXT,
    collaborator TEXT,
    payload TEXT NOT NULL,
    PRIMARY KEY (sink, id)
) WITHOUT ROWID;
CREATE INDEX notifications_due ON notifications (sink, due_at, place) WHERE dead = 0;
CREATE INDEX notifications_dead ON notifications (sink, place) WHERE dead <> 0;
-- Of which end it was said, and how long ahead: once for each end that a grant has.
CREATE TABLE ends_told (
    grant_id TEXT NOT NULL,
    ends_at BIGINT NOT NULL,
    ahead BIGINT NOT NULL,
    PRIMARY KEY (grant_id, ends_at, ahead)
) WITHOUT ROWID;
CREATE INDEX ends_told_by_end ON ends_told (ends_at);
