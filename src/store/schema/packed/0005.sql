-- Version 5 of a segment is version 3 with these columns. They are as in version 4.
ALTER TABLE deliveries ADD COLUMN stored_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN epoch     INTEGER;
ALTER TABLE deliveries ADD COLUMN number    INTEGER;
ALTER TABLE deliveries ADD COLUMN position  INTEGER;
CREATE UNIQUE INDEX deliveries_origin ON deliveries (epoch, number, position) WHERE epoch IS NOT NULL;
