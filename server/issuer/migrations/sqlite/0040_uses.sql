-- What gates let through under each grant, as they counted it: no decision, so no event. Rows go when their grant has been over for long.
CREATE TABLE uses (
    grant_id TEXT NOT NULL,
    location TEXT NOT NULL,
    action TEXT NOT NULL,
    count BIGINT NOT NULL,
    last BIGINT NOT NULL,
    PRIMARY KEY (grant_id, location, action)
) WITHOUT ROWID;
CREATE INDEX uses_by_last ON uses (last);
-- The last report of each gate, so that one that comes again is not counted again, and since when it reports.
CREATE TABLE gate_reports (
    gate TEXT PRIMARY KEY NOT NULL,
    run BLOB NOT NULL,
    number BIGINT NOT NULL,
    since BIGINT NOT NULL,
    dropped BIGINT NOT NULL
);
