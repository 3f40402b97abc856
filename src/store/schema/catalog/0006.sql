-- The columns of `entries` in version 2 of a segment.
ALTER TABLE entries ADD COLUMN signed BLOB;
ALTER TABLE entries ADD COLUMN line_bytes INTEGER;
ALTER TABLE entries ADD COLUMN line_sha256 BLOB;
CREATE INDEX entries_signed ON entries (event_time, signed) WHERE signed IS NOT NULL;

-- Lines with the signed identity of an entry that was there already.
CREATE TABLE spellings (
    entry       INTEGER NOT NULL, -- the one that is shown
    fingerprint BLOB    NOT NULL, -- of the line; empty: all those after the first 16
    delivery    INTEGER NOT NULL, -- the one it first came in: its segment has the line
    count       INTEGER NOT NULL, -- how often it came
    hidden      INTEGER,          -- the entry that it was stored as before a key verified it
    PRIMARY KEY (entry, fingerprint)
);
CREATE UNIQUE INDEX spellings_hidden ON spellings (hidden) WHERE hidden IS NOT NULL;
