-- Version 3 of a segment. Only sealed segments have it: a file that is written once, and is a third
-- as large. What most readers need is the view `entries`, which has the rows and the columns that
-- the table of this name has in version 2.
CREATE TABLE program (version TEXT NOT NULL);
INSERT INTO program VALUES ('');

-- These tables are as in version 2.
CREATE TABLE segment (
    first_id       INTEGER NOT NULL,
    first_delivery INTEGER NOT NULL,
    created_at     INTEGER NOT NULL
);
CREATE TABLE deliveries (
    id            INTEGER PRIMARY KEY,
    received_at   INTEGER NOT NULL,
    input         TEXT    NOT NULL,
    peer          TEXT    NOT NULL,
    bytes         INTEGER NOT NULL,
    decoded_bytes INTEGER NOT NULL,
    received      INTEGER NOT NULL,
    stored        INTEGER NOT NULL,
    duplicates    INTEGER NOT NULL,
    malformed     INTEGER NOT NULL,
    valid         INTEGER NOT NULL,
    invalid       INTEGER NOT NULL,
    unsigned      INTEGER NOT NULL,
    no_key        INTEGER NOT NULL,
    status        INTEGER NOT NULL,
    duration_us   INTEGER NOT NULL
);
CREATE TABLE keys (
    id         INTEGER PRIMARY KEY,
    thumbprint TEXT NOT NULL UNIQUE,
    kid        TEXT NOT NULL,
    public     BLOB NOT NULL
);
CREATE TABLE extensions (
    entry INTEGER NOT NULL,
    name  TEXT NOT NULL,
    type  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (entry, name)
) WITHOUT ROWID;
CREATE TABLE pieces (
    entry  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    bytes  BLOB    NOT NULL,
    PRIMARY KEY (entry, number)
);
CREATE TABLE spellings (
    entry       INTEGER NOT NULL,
    fingerprint BLOB    NOT NULL,
    delivery    INTEGER NOT NULL,
    line        BLOB    NOT NULL,
    PRIMARY KEY (entry, fingerprint)
);

-- The lines, in the place of the table `raw`: at most 256 in a block. Each ends with a line feed,
-- and the block is one Zstandard frame (RFC 8878) with a checksum.
CREATE TABLE blocks (
    first_id INTEGER PRIMARY KEY, -- of its lines
    last_id  INTEGER NOT NULL,
    lines    BLOB    NOT NULL
);

-- Values that many entries have. They are text, or an integer where the sender sent one.
CREATE TABLE words (
    id    INTEGER PRIMARY KEY,
    value NOT NULL
);

-- Groups of values that entries have together.
CREATE TABLE combinations (
    id INTEGER PRIMARY KEY,
    input, format, kind, reason, "key", covers, cef_version, event_vendor, event_product,
    event_version, event_class_id, severity, org_id, portal_id, kong_initiated, success, action,
    granted, act, status
);

-- The entries. Columns from `verdict` to `user_agent` are numbers of words. An empty blob in `rt` says
-- that it is the number in `event_time`; in `event_ts`, that it is `time` as YYYY-MM-DDTHH:MM:SSZ.
CREATE TABLE packed (
    id             INTEGER PRIMARY KEY,
    time           INTEGER NOT NULL,
    event_time     INTEGER,          -- NULL: it is `time`
    received_at    INTEGER,          -- NULL: it is that of the delivery
    delivery       INTEGER NOT NULL,
    delivery_count INTEGER,          -- NULL: 1
    combination    INTEGER NOT NULL,
    verdict        INTEGER,          -- NULL: valid
    warnings       INTEGER,
    name           INTEGER,
    src            INTEGER,
    principal_id   INTEGER,
    principal_name INTEGER,
    actor_id       INTEGER,
    request        INTEGER,
    query          INTEGER,
    user_agent     INTEGER,
    event_ts,
    rt,
    trace_id,
    fingerprint    BLOB NOT NULL,
    signed         BLOB,
    line_bytes     INTEGER,
    line_sha256    BLOB
);

-- The columns after `line_sha256` are numbers of words and of combinations, for fast searches.
CREATE VIEW entries AS SELECT
    packed.id,
    coalesce(packed.received_at, deliveries.received_at) AS received_at,
    packed.time,
    coalesce(packed.event_time, packed.time) AS event_time,
    packed.fingerprint,
    packed.delivery,
    combinations.input,
    combinations.format,
    combinations.kind,
    CASE WHEN packed.verdict IS NULL THEN 'valid' ELSE coalesce(verdict_words.value, 'malformed') END AS verdict,
    combinations.reason,
    combinations."key",
    combinations.covers,
    warnings_words.value AS warnings,
    coalesce(packed.delivery_count, 1) AS delivery_count,
    CASE WHEN packed.event_ts IS x'' THEN strftime('%Y-%m-%dT%H:%M:%SZ', packed.time / 1000, 'unixepoch')
         ELSE packed.event_ts END AS event_ts,
    combinations.cef_version,
    combinations.event_vendor,
    combinations.event_product,
    combinations.event_version,
    combinations.event_class_id,
    name_words.value AS name,
    combinations.severity,
    CASE WHEN packed.rt IS x'' THEN coalesce(packed.event_time, packed.time) ELSE packed.rt END AS rt,
    src_words.value AS src,
    combinations.org_id,
    combinations.portal_id,
    principal_id_words.value AS principal_id,
    principal_name_words.value AS principal_name,
    actor_id_words.value AS actor_id,
    combinations.kong_initiated,
    combinations.success,
    combinations.action,
    combinations.granted,
    combinations.act,
    combinations.status,
    request_words.value AS request,
    query_words.value AS query,
    packed.trace_id,
    user_agent_words.value AS user_agent,
    packed.signed,
    packed.line_bytes,
    packed.line_sha256,
    packed.combination,
    packed.verdict AS verdict_word,
    packed.warnings AS warnings_word,
    packed.name AS name_word,
    packed.src AS src_word,
    packed.principal_id AS principal_id_word,
    packed.principal_name AS principal_name_word,
    packed.actor_id AS actor_id_word,
    packed.request AS request_word,
    packed.query AS query_word,
    packed.user_agent AS user_agent_word
FROM packed
LEFT JOIN combinations ON combinations.id = packed.combination
LEFT JOIN deliveries ON deliveries.id = packed.delivery
LEFT JOIN words AS verdict_words ON verdict_words.id = packed.verdict
LEFT JOIN words AS warnings_words ON warnings_words.id = packed.warnings
LEFT JOIN words AS name_words ON name_words.id = packed.name
LEFT JOIN words AS src_words ON src_words.id = packed.src
LEFT JOIN words AS principal_id_words ON principal_id_words.id = packed.principal_id
LEFT JOIN words AS principal_name_words ON principal_name_words.id = packed.principal_name
LEFT JOIN words AS actor_id_words ON actor_id_words.id = packed.actor_id
LEFT JOIN words AS request_words ON request_words.id = packed.request
LEFT JOIN words AS query_words ON query_words.id = packed.query
LEFT JOIN words AS user_agent_words ON user_agent_words.id = packed.user_agent;
