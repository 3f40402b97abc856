-- What has a leaf in the log. It is noted after the leaf is committed, so a crash may repeat a leaf. One row.
CREATE TABLE logged (
    change     INTEGER NOT NULL, -- the last change that has one, or needs none
    removal    INTEGER NOT NULL, -- the last removal
    backfilled INTEGER NOT NULL  -- entries up to this id that were stored before the log began
);
INSERT INTO logged SELECT
    (SELECT coalesce(max(change), 0) FROM changes), (SELECT coalesce(max(id), 0) FROM removals), 0;

-- 1: it has a leaf, or was found before the log began.
ALTER TABLE gaps ADD COLUMN logged INTEGER NOT NULL DEFAULT 0;
UPDATE gaps SET logged = 1;

-- The SHA-256 of the last sealed file of a segment that has a leaf, or that the first leaf commits to.
ALTER TABLE segments ADD COLUMN logged_sha256 TEXT;
UPDATE segments SET logged_sha256 = sha256;

-- The leaves of entries that were stored before the log began, until they are in a new file of their
-- segment. Ids and leaves both follow one another.
CREATE TABLE backfills (
    first_id   INTEGER PRIMARY KEY,
    last_id    INTEGER NOT NULL,
    first_leaf INTEGER NOT NULL,
    salts      BLOB    NOT NULL -- 16 bytes for each
);

-- When `serve` ran, by its clock. A run has one row, and another one each time its clock was set or it
-- stood still.
CREATE TABLE uptime (
    number       INTEGER PRIMARY KEY,
    started_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    has_receiver INTEGER NOT NULL, -- 1: it received deliveries itself
    has_journal  INTEGER NOT NULL, -- 1: it read a journal, into which other receivers put deliveries
    is_clock_set INTEGER NOT NULL  -- 1: it goes on with the row before, and the clock was set
);

-- Ranges that were compared with Konnect. What was found is in the leaf.
CREATE TABLE reconciles (
    leaf   INTEGER PRIMARY KEY,
    region TEXT    NOT NULL, -- or the URL of the API
    portal TEXT,             -- the id of the Dev Portal; NULL: the organization
    since  INTEGER NOT NULL,
    until  INTEGER NOT NULL  -- the first millisecond after the range
);
