-- Where each output stands: what was given out has lower ids, and changes up to `change`.
CREATE TABLE outputs (
    name      TEXT    PRIMARY KEY,
    next_id   INTEGER NOT NULL,
    change    INTEGER NOT NULL,
    state     TEXT    NOT NULL DEFAULT '', -- the output's own: of files their lengths
    written   INTEGER NOT NULL DEFAULT 0,  -- lines
    lost      INTEGER NOT NULL DEFAULT 0,  -- entries that retention gave up before
    epoch     INTEGER NOT NULL DEFAULT 0,  -- how often it was reset
    saved_at  INTEGER NOT NULL,
    error     TEXT,
    failed_at INTEGER
) WITHOUT ROWID;
