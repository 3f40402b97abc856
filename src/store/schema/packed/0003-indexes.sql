-- What version 3 of a segment has besides its tables, made once they are filled.
CREATE INDEX packed_time         ON packed (time);
CREATE INDEX packed_principal_id ON packed (principal_id, time);
CREATE INDEX packed_name         ON packed (name, time);
CREATE INDEX packed_src          ON packed (src, time);
CREATE INDEX packed_not_valid    ON packed (verdict, time) WHERE verdict IS NOT NULL;
CREATE INDEX packed_warnings     ON packed (warnings, time) WHERE warnings IS NOT NULL;
-- The beginning is enough to tell the entries of a segment apart.
CREATE INDEX packed_trace_id     ON packed (substr(trace_id, 1, 8));
CREATE INDEX packed_fingerprint  ON packed (substr(fingerprint, 1, 4));
CREATE INDEX packed_signed       ON packed (substr(signed, 1, 4)) WHERE signed IS NOT NULL;

-- The view `minutes` is what the table of this name is in version 2: how many entries each minute has,
-- by what has few values.
CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY,
    kind, verdict, severity, success, granted, kong_initiated, status
);
CREATE TABLE outcomes_by_minute (
    minute  INTEGER NOT NULL, -- minutes since the epoch
    outcome INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (minute, outcome)
) WITHOUT ROWID;
CREATE VIEW minutes AS
    SELECT minute, kind, verdict, severity, success, granted, kong_initiated, status, entries
    FROM outcomes_by_minute JOIN outcomes ON outcomes.id = outcome;

-- The outcome of each combination and verdict that there is.
CREATE TEMP TABLE found AS
    SELECT combination, packed.verdict, dense_rank() OVER (
               ORDER BY kind, coalesce(packed.verdict, 0), severity, success, granted, kong_initiated, status
           ) AS outcome
    FROM (SELECT DISTINCT combination, verdict FROM packed) AS packed
    JOIN combinations ON combinations.id = combination;
CREATE INDEX temp.found_combination ON found (combination, verdict);
INSERT OR IGNORE INTO outcomes
    SELECT outcome, kind, CASE WHEN found.verdict IS NULL THEN 'valid'
                ELSE coalesce((SELECT value FROM words WHERE words.id = found.verdict), 'malformed') END,
           severity, success, granted, kong_initiated, status
    FROM found JOIN combinations ON combinations.id = combination;
INSERT INTO outcomes_by_minute
    SELECT minute, outcome, sum(entries)
    FROM (SELECT time / 60000 AS minute, combination, verdict, count(*) AS entries
          FROM packed GROUP BY 1, 2, 3) AS counted
    JOIN found ON found.combination = counted.combination AND found.verdict IS counted.verdict
    GROUP BY 1, 2 ORDER BY 1, 2;
DROP TABLE temp.found;

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
    SELECT field,
           CASE WHEN value IS NULL THEN 'missing' WHEN length(value) > 256 THEN 'long' ELSE 'value' END,
           CASE WHEN length(value) <= 256 THEN value END,
           sum(entries)
    FROM (SELECT 'name' AS field, name AS word, count(*) AS entries FROM packed GROUP BY name
          UNION ALL SELECT 'principal_id', principal_id, count(*) FROM packed GROUP BY principal_id
          UNION ALL SELECT 'src', src, count(*) FROM packed GROUP BY src)
    LEFT JOIN words ON words.id = word
    GROUP BY 1, 2, 3;

-- How many entries each combination has of the values that the overview counts by, whatever their
-- time. A name of more than 256 bytes is NULL.
CREATE TABLE classes (
    kind    TEXT,
    verdict TEXT NOT NULL,
    reason, warnings, name, severity, success, granted, kong_initiated, status,
    entries INTEGER NOT NULL
);
INSERT INTO classes
    SELECT kind,
           CASE WHEN counted.verdict IS NULL THEN 'valid'
                ELSE coalesce((SELECT value FROM words WHERE words.id = counted.verdict), 'malformed') END,
           reason,
           (SELECT value FROM words WHERE words.id = counted.warnings),
           (SELECT value FROM words WHERE words.id = counted.name AND octet_length(value) <= 256),
           severity, success, granted, kong_initiated, status, sum(entries)
    FROM (SELECT combination, verdict, warnings, name, count(*) AS entries
          FROM packed GROUP BY 1, 2, 3, 4) AS counted
    JOIN combinations ON combinations.id = combination
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;

CREATE TABLE filter (descriptor BLOB NOT NULL, fingerprints BLOB NOT NULL);
