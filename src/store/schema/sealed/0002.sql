-- Few entries have a warning; those that do are looked for and counted. Segments that were sealed
-- before this lack the index.
CREATE INDEX IF NOT EXISTS entries_warnings ON entries (warnings, time, id) WHERE warnings IS NOT NULL;
