CREATE TABLE program (version TEXT NOT NULL);
INSERT INTO program VALUES ('');

-- The segments. Of those after `sealed` a live one has only the columns up to `created_at`.
CREATE TABLE segments (
    first_id        INTEGER PRIMARY KEY,
    first_delivery  INTEGER NOT NULL,
    state           TEXT    NOT NULL, -- live, closed, sealed, dropped
    file            TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    last_id         INTEGER,
    last_delivery   INTEGER,
    min_event_time  INTEGER,          -- of the entries that have one
    max_event_time  INTEGER,
    without_time    INTEGER,          -- how many entries have none
    min_time        INTEGER,
    max_time        INTEGER,
    min_received_at INTEGER,
    max_received_at INTEGER,
    awaiting_key    INTEGER,          -- entries that a new key may make valid
    bytes           INTEGER,
    sha256          TEXT              -- of a sealed file
);

-- Keys, where and when they were seen.
CREATE TABLE sightings (
    source     TEXT    NOT NULL,
    thumbprint TEXT    NOT NULL,
    kid        TEXT    NOT NULL,
    public     BLOB    NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (source, thumbprint)
) WITHOUT ROWID;

CREATE TABLE sources (
    source       TEXT PRIMARY KEY,
    attempted_at INTEGER NOT NULL,
    succeeded_at INTEGER,
    error        TEXT
) WITHOUT ROWID;

-- Which sources an input takes its keys from.
CREATE TABLE inputs (
    input  TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (input, source)
) WITHOUT ROWID;

-- Deliveries of entries whose segment was closed already.
CREATE TABLE redeliveries (
    entry INTEGER PRIMARY KEY,
    count INTEGER NOT NULL
);

-- Verdicts that changed after the entry was stored. What the entry is now stands in the
-- tables below, which are those of a segment, until a new file of its segment is written.
CREATE TABLE changes (
    change     INTEGER PRIMARY KEY AUTOINCREMENT,
    entry      INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
);
CREATE INDEX changes_entry ON changes (entry);

CREATE TABLE quarantine (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at      INTEGER NOT NULL,
    input            TEXT    NOT NULL,
    peer             TEXT    NOT NULL,
    status           INTEGER NOT NULL, -- of the answer
    reason           TEXT    NOT NULL,
    content_encoding TEXT,
    body             BLOB    NOT NULL
);

CREATE TABLE refused (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    time   INTEGER NOT NULL,
    peer   TEXT    NOT NULL,
    status INTEGER,          -- of the answer; none if there was no request
    reason TEXT    NOT NULL,
    scheme TEXT              -- of the Authorization
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
