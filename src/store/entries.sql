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
