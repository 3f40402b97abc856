CREATE INDEX IF NOT EXISTS entries_time         ON entries (time, id);
CREATE INDEX IF NOT EXISTS entries_received_at  ON entries (received_at);
CREATE INDEX IF NOT EXISTS entries_principal_id ON entries (principal_id, time, id);
CREATE INDEX IF NOT EXISTS entries_name         ON entries (name, time, id);
CREATE INDEX IF NOT EXISTS entries_src          ON entries (src, time, id);
CREATE INDEX IF NOT EXISTS entries_trace_id     ON entries (trace_id);
-- Most entries are valid; those that are not are looked for.
CREATE INDEX IF NOT EXISTS entries_not_valid    ON entries (verdict, time, id) WHERE verdict <> 'valid';

-- How many entries each minute of `time` has, by what has few values. A condition over these
-- columns alone is counted here.
DROP TABLE IF EXISTS minutes;
CREATE TABLE minutes (
    minute  INTEGER NOT NULL, -- minutes since the epoch
    kind    TEXT,
    verdict TEXT NOT NULL,
    severity, success, granted, kong_initiated, status,
    entries INTEGER NOT NULL
);
INSERT INTO minutes
    SELECT time / 60000, kind, verdict, severity, success, granted, kong_initiated, status,
           count(*)
    FROM entries GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1;

-- How many entries have each value of the fields that are counted by. Long values are counted
-- together.
DROP TABLE IF EXISTS summary;
CREATE TABLE summary (
    field   TEXT NOT NULL,
    sort    TEXT NOT NULL, -- value, long, missing
    value   TEXT,
    entries INTEGER NOT NULL
);
INSERT INTO summary
    SELECT 'kind', CASE WHEN kind IS NULL THEN 'missing' ELSE 'value' END, kind, sum(entries)
    FROM minutes GROUP BY kind;
INSERT INTO summary SELECT 'verdict', 'value', verdict, sum(entries) FROM minutes GROUP BY verdict;
INSERT INTO summary
    SELECT 'name',
           CASE WHEN name IS NULL THEN 'missing' WHEN length(name) > 256 THEN 'long' ELSE 'value' END,
           CASE WHEN length(name) <= 256 THEN name END, count(*)
    FROM entries GROUP BY 2, 3;
INSERT INTO summary
    SELECT 'principal_id',
           CASE WHEN principal_id IS NULL THEN 'missing' WHEN length(principal_id) > 256 THEN 'long' ELSE 'value' END,
           CASE WHEN length(principal_id) <= 256 THEN principal_id END, count(*)
    FROM entries GROUP BY 2, 3;
INSERT INTO summary
    SELECT 'src',
           CASE WHEN src IS NULL THEN 'missing' WHEN length(src) > 256 THEN 'long' ELSE 'value' END,
           CASE WHEN length(src) <= 256 THEN src END, count(*)
    FROM entries GROUP BY 2, 3;

-- The fingerprints, as a binary fuse filter over their first eight bytes.
DROP TABLE IF EXISTS filter;
CREATE TABLE filter (descriptor BLOB NOT NULL, fingerprints BLOB NOT NULL);
