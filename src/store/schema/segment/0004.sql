-- When a delivery was stored, by the clock of the store. In one segment and over all, it never
-- decreases from one delivery to the next. `received_at` is the receiver's claim if the delivery
-- came through a journal. In earlier versions, both are the same.
ALTER TABLE deliveries ADD COLUMN stored_at INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET stored_at = received_at;

-- Where a delivery stood in a journal: the epoch, the number of the object in it, and the position in
-- the object. NULL if it came directly. A delivery is stored once.
ALTER TABLE deliveries ADD COLUMN epoch    INTEGER;
ALTER TABLE deliveries ADD COLUMN number   INTEGER;
ALTER TABLE deliveries ADD COLUMN position INTEGER;
CREATE UNIQUE INDEX deliveries_origin ON deliveries (epoch, number, position) WHERE epoch IS NOT NULL;
