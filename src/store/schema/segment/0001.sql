CREATE TABLE program (version TEXT NOT NULL);
INSERT INTO program VALUES ('');

-- One row: the ids that the first entry and the first delivery have, or will have.
CREATE TABLE segment (
    first_id       INTEGER NOT NULL,
    first_delivery INTEGER NOT NULL,
    created_at     INTEGER NOT NULL
);

-- Every delivery that was answered with 200.
CREATE TABLE deliveries (
    id            INTEGER PRIMARY KEY,
    received_at   INTEGER NOT NULL,
    input         TEXT    NOT NULL,
    peer          TEXT    NOT NULL,
    bytes         INTEGER NOT NULL, -- of the body as sent
    decoded_bytes INTEGER NOT NULL,
    received      INTEGER NOT NULL, -- lines that are not blank
    stored        INTEGER NOT NULL,
    duplicates    INTEGER NOT NULL,
    malformed     INTEGER NOT NULL,
    valid         INTEGER NOT NULL,
    invalid       INTEGER NOT NULL,
    unsigned      INTEGER NOT NULL,
    no_key        INTEGER NOT NULL,
    status        INTEGER NOT NULL,
    duration_us   INTEGER NOT NULL  -- from the end of the headers to this row
);

-- The keys that verified an entry here.
CREATE TABLE keys (
    id         INTEGER PRIMARY KEY,
    thumbprint TEXT NOT NULL UNIQUE,
    kid        TEXT NOT NULL,
    public     BLOB NOT NULL -- 32 bytes
);

CREATE TABLE entries (
    id             INTEGER PRIMARY KEY,
    received_at    INTEGER NOT NULL,
    time           INTEGER NOT NULL, -- orders the entries: event_time, else the best there is
    event_time     INTEGER NOT NULL, -- what the entry itself says, 0 if it says nothing
    fingerprint    BLOB    NOT NULL, -- the first 16 bytes of the SHA-256 of the line
    delivery       INTEGER NOT NULL, -- the one it first came in
    input          TEXT    NOT NULL,
    format         TEXT    NOT NULL,
    kind           TEXT,
    verdict        TEXT    NOT NULL,
    reason         TEXT,
    key            INTEGER,          -- the one that verified it
    covers         TEXT,             -- what the signature covers: entry, object, line
    warnings       TEXT,             -- words, a space between them
    delivery_count INTEGER NOT NULL,
    event_ts, cef_version, event_vendor, event_product, event_version, event_class_id, name,
    severity, rt, src, org_id, portal_id, principal_id, principal_name, actor_id, kong_initiated,
    success, action, granted, act, status, request, query, trace_id, user_agent
);
CREATE UNIQUE INDEX entries_identity ON entries (event_time, fingerprint);

-- The lines as received: a table of its own, so that scans of the other stay narrow.
CREATE TABLE raw (
    id   INTEGER PRIMARY KEY,
    line BLOB NOT NULL
);

-- The fields that have no column.
CREATE TABLE extensions (
    entry INTEGER NOT NULL,
    name  TEXT NOT NULL,
    type  TEXT NOT NULL, -- text, boolean, json
    value TEXT NOT NULL,
    PRIMARY KEY (entry, name)
) WITHOUT ROWID;
