-- Every version of the policy that was in force, in order; the newest is.
CREATE TABLE policies (
    number BIGINT PRIMARY KEY NOT NULL,
    hash BLOB NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL
);
