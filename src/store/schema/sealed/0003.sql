-- How many entries each combination has of the values that the overview counts by, whatever their
-- time. A name of more than 256 bytes is NULL. Segments that were sealed before this lack the table.
DROP TABLE IF EXISTS classes;
CREATE TABLE classes (
    kind    TEXT,
    verdict TEXT NOT NULL,
    reason, warnings, name, severity, success, granted, kong_initiated, status,
    entries INTEGER NOT NULL
);
INSERT INTO classes
    SELECT kind, verdict, reason, warnings,
           CASE WHEN octet_length(name) <= 256 THEN name END,
           severity, success, granted, kong_initiated, status, count(*)
    FROM entries GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
