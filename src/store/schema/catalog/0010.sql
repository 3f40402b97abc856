-- The store, among others that read the same journal or use the same archive. One row.
CREATE TABLE store (
    id      TEXT    NOT NULL, -- 16 random bytes in hexadecimal
    is_part INTEGER NOT NULL  -- 1: a part that was brought back from the archive; it takes no entries
);
INSERT INTO store VALUES (lower(hex(randomblob(16))), 0);

-- When the deliveries of a segment were stored. Before there was this, when they were received.
ALTER TABLE segments ADD COLUMN min_stored_at INTEGER;
ALTER TABLE segments ADD COLUMN max_stored_at INTEGER;
UPDATE segments SET min_stored_at = min_received_at, max_stored_at = max_received_at;

-- Where a body stood in a journal; NULL if it came directly.
ALTER TABLE quarantine ADD COLUMN epoch    INTEGER;
ALTER TABLE quarantine ADD COLUMN number   INTEGER;
ALTER TABLE quarantine ADD COLUMN position INTEGER;
CREATE UNIQUE INDEX quarantine_origin ON quarantine (epoch, number, position) WHERE epoch IS NOT NULL;
ALTER TABLE dropped ADD COLUMN epoch    INTEGER;
ALTER TABLE dropped ADD COLUMN number   INTEGER;
ALTER TABLE dropped ADD COLUMN position INTEGER;
CREATE UNIQUE INDEX dropped_origin ON dropped (epoch, number, position) WHERE epoch IS NOT NULL;

-- The numbers of the objects of each epoch from which a closed segment has deliveries.
CREATE TABLE segment_epochs (
    first_id   INTEGER NOT NULL, -- of the segment
    epoch      INTEGER NOT NULL,
    min_number INTEGER NOT NULL,
    max_number INTEGER NOT NULL,
    PRIMARY KEY (epoch, first_id)
) WITHOUT ROWID;

-- How far the closed segments have read each epoch. It outlasts the segments.
CREATE TABLE journal_cursors (
    epoch     INTEGER PRIMARY KEY,
    number    INTEGER NOT NULL, -- the highest from which a delivery is stored
    positions TEXT    NOT NULL  -- those that are stored, as ranges: 0-17 19
);

-- Epochs that have ended.
CREATE TABLE journal_ends (
    epoch    INTEGER PRIMARY KEY,
    number   INTEGER NOT NULL, -- of the seal
    found_at INTEGER NOT NULL
);

-- Objects that `vidimus journal skip` gave up.
CREATE TABLE journal_skips (
    epoch      INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    skipped_at INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    file       TEXT,             -- the copy of the object; NULL if there was none to keep
    bytes      INTEGER,          -- of the object
    sha256     TEXT,
    PRIMARY KEY (epoch, number)
) WITHOUT ROWID;

-- What is in the archive, by segment. It outlasts the segments.
CREATE TABLE archived (
    first_id     INTEGER PRIMARY KEY,
    last_id      INTEGER NOT NULL,
    file         TEXT    NOT NULL, -- the sealed file that was read
    sha256       TEXT    NOT NULL, -- of that file
    change       INTEGER NOT NULL, -- the number of the last change that is in the archive
    manifest     INTEGER NOT NULL, -- the number of the delta that lists its files
    archived_at  INTEGER NOT NULL,
    read_back_at INTEGER           -- when its files were read in the archive; NULL: not yet
);
