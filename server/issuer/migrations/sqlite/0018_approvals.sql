-- What waits for somebody's approval, and what it has got of it. `given` counts, so that one of two who decide at once comes too late.
CREATE TABLE approvals (
    id TEXT PRIMARY KEY NOT NULL,
    given BIGINT NOT NULL,
    body TEXT NOT NULL
);
