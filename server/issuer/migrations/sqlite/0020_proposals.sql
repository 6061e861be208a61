-- Policies that wait for a second administrator, or waited.
CREATE TABLE proposals (
    id TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL
);
