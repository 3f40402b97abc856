-- The leaf of an entry in the log. NULL: it was stored before the log began.
ALTER TABLE entries ADD COLUMN leaf INTEGER;

-- The leaf that the first of this segment has, or will have. Leaves, as ids, only rise. NULL: no entry
-- of it has a leaf here.
ALTER TABLE segment ADD COLUMN first_leaf INTEGER;

-- Leaves that follow one another. Those of entries are in the transaction of their delivery.
CREATE TABLE leaves (
    first   INTEGER PRIMARY KEY,
    count   INTEGER NOT NULL,
    records BLOB    NOT NULL, -- each after its length in two bytes, as in an entry bundle of C2SP tlog-tiles
    salts   BLOB    NOT NULL  -- 16 bytes for each; empty if the leaves are not of entries
);
