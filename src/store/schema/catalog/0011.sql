-- In which archive a segment is: its URL, without credentials. Empty in records of earlier versions: the
-- archiver takes such a record for that of its archive once the manifest there lists the segment.
ALTER TABLE archived ADD COLUMN place TEXT NOT NULL DEFAULT '';

-- A segment is recorded once, after its files were read back: `archived_at` says when.
ALTER TABLE archived DROP COLUMN read_back_at;
