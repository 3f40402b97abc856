-- The signed identity of a valid entry: the first 16 bytes of the SHA-256 of what is signed and the
-- 64 bytes of the signature. Lines that differ only outside of what is signed have the same one.
ALTER TABLE entries ADD COLUMN signed BLOB;
CREATE UNIQUE INDEX entries_signed ON entries (event_time, signed) WHERE signed IS NOT NULL;

-- A line that is longer than the receiver parses: `raw` has its beginning, and `pieces` has it whole.
ALTER TABLE entries ADD COLUMN line_bytes INTEGER; -- of the whole line; NULL if `raw` has it whole
ALTER TABLE entries ADD COLUMN line_sha256 BLOB;   -- of the whole line
CREATE TABLE pieces (
    entry  INTEGER NOT NULL,
    number INTEGER NOT NULL, -- from 0
    bytes  BLOB    NOT NULL, -- 1 MiB, and what is left in the last one
    PRIMARY KEY (entry, number)
);

-- Lines with the signed identity of an entry that was there already, in this segment or an older one.
-- The first 16 of an entry are kept.
CREATE TABLE spellings (
    entry       INTEGER NOT NULL, -- the one that is shown
    fingerprint BLOB    NOT NULL, -- of this line
    delivery    INTEGER NOT NULL, -- the one it first came in
    line        BLOB    NOT NULL,
    PRIMARY KEY (entry, fingerprint)
);
