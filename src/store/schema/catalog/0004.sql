-- Segments that retention or `store prune` removed, written down before their files go.
CREATE TABLE removals (
    id         INTEGER PRIMARY KEY,
    removed_at INTEGER NOT NULL,
    reason     TEXT    NOT NULL, -- retention, prune
    first_id   INTEGER NOT NULL,
    last_id    INTEGER NOT NULL,
    file       TEXT    NOT NULL,
    bytes      INTEGER,          -- of a sealed file
    sha256     TEXT
);

-- Ids that no segment has and that were not removed: entries that were lost, or ids that were never
-- given out because it was not certain that they were free.
CREATE TABLE gaps (
    first_id INTEGER PRIMARY KEY,
    last_id  INTEGER NOT NULL,
    found_at INTEGER NOT NULL,
    reason   TEXT    NOT NULL
);

-- What `store repair` did.
CREATE TABLE repairs (
    id           INTEGER PRIMARY KEY,
    repaired_at  INTEGER NOT NULL,
    catalog_lost INTEGER NOT NULL, -- 1: the catalog was made anew, so the cursors of outputs are gone
    report       TEXT    NOT NULL  -- what was found and done, a line each
);

-- 1: the catalog that had the output's cursor is lost, and it waits to be reset.
ALTER TABLE outputs ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
