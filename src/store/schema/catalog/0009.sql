-- How long a key verifies after it was last seen in its set, for entries received from a time on.
CREATE TABLE retirements (
    received_from INTEGER PRIMARY KEY,
    retire_after  INTEGER NOT NULL -- milliseconds
);
-- Before there was this table, eight days were the default.
INSERT INTO retirements SELECT 0, 691200000 WHERE EXISTS (SELECT 1 FROM segments);
