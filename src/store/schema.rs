//! The tables of a segment and of the catalog.
//!
//! Times are milliseconds since the Unix epoch. Words (format, kind, verdict, …) are stored as text,
//! so that a segment explains itself to anybody with the `sqlite3` shell.

use super::sqlite::Schema;

/// A segment. `application_id` is "Vidi" in ASCII.
pub(super) const SEGMENT: Schema = Schema {
    application_id: 0x5669_6469,
    migrations: &[concat!(
        "
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
        ",
        include_str!("entries.sql")
    )],
};

/// What sealing adds to a segment; it may have been sealed before.
pub(super) const SEALED: &str = "
    CREATE INDEX IF NOT EXISTS entries_time         ON entries (time, id);
    CREATE INDEX IF NOT EXISTS entries_received_at  ON entries (received_at);
    CREATE INDEX IF NOT EXISTS entries_principal_id ON entries (principal_id, time, id);
    CREATE INDEX IF NOT EXISTS entries_name         ON entries (name, time, id);
    CREATE INDEX IF NOT EXISTS entries_src          ON entries (src, time, id);
    CREATE INDEX IF NOT EXISTS entries_trace_id     ON entries (trace_id);
    -- Most entries are valid; those that are not are looked for.
    CREATE INDEX IF NOT EXISTS entries_not_valid    ON entries (verdict, time, id) WHERE verdict <> 'valid';

    -- How many entries each minute of `time` has, by what has few values. A condition over these
    -- columns alone is counted here.
    DROP TABLE IF EXISTS minutes;
    CREATE TABLE minutes (
        minute  INTEGER NOT NULL, -- minutes since the epoch
        kind    TEXT,
        verdict TEXT NOT NULL,
        severity, success, granted, kong_initiated, status,
        entries INTEGER NOT NULL
    );
    INSERT INTO minutes
        SELECT time / 60000, kind, verdict, severity, success, granted, kong_initiated, status,
               count(*)
        FROM entries GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1;

    -- How many entries have each value of the fields that are counted by. Long values are counted
    -- together.
    DROP TABLE IF EXISTS summary;
    CREATE TABLE summary (
        field   TEXT NOT NULL,
        sort    TEXT NOT NULL, -- value, long, missing
        value   TEXT,
        entries INTEGER NOT NULL
    );
    INSERT INTO summary
        SELECT 'kind', CASE WHEN kind IS NULL THEN 'missing' ELSE 'value' END, kind, sum(entries)
        FROM minutes GROUP BY kind;
    INSERT INTO summary SELECT 'verdict', 'value', verdict, sum(entries) FROM minutes GROUP BY verdict;
    INSERT INTO summary
        SELECT 'name',
               CASE WHEN name IS NULL THEN 'missing' WHEN length(name) > 256 THEN 'long' ELSE 'value' END,
               CASE WHEN length(name) <= 256 THEN name END, count(*)
        FROM entries GROUP BY 2, 3;
    INSERT INTO summary
        SELECT 'principal_id',
               CASE WHEN principal_id IS NULL THEN 'missing' WHEN length(principal_id) > 256 THEN 'long' ELSE 'value' END,
               CASE WHEN length(principal_id) <= 256 THEN principal_id END, count(*)
        FROM entries GROUP BY 2, 3;
    INSERT INTO summary
        SELECT 'src',
               CASE WHEN src IS NULL THEN 'missing' WHEN length(src) > 256 THEN 'long' ELSE 'value' END,
               CASE WHEN length(src) <= 256 THEN src END, count(*)
        FROM entries GROUP BY 2, 3;

    -- The fingerprints, as a binary fuse filter over their first eight bytes.
    DROP TABLE IF EXISTS filter;
    CREATE TABLE filter (descriptor BLOB NOT NULL, fingerprints BLOB NOT NULL);
";

/// The catalog. `application_id` is "Vidc" in ASCII.
pub(super) const CATALOG: Schema = Schema {
    application_id: 0x5669_6463,
    migrations: &[
        concat!(
            "
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
        ",
            include_str!("entries.sql")
        ),
        "
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
    ",
        "
        ALTER TABLE outputs ADD COLUMN dead_letters INTEGER NOT NULL DEFAULT 0; -- refused by the other end
        ALTER TABLE outputs ADD COLUMN rate         REAL    NOT NULL DEFAULT 0; -- lines a second
        ALTER TABLE outputs ADD COLUMN failures     INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE outputs ADD COLUMN configured   INTEGER NOT NULL DEFAULT 1; -- 0: it is past
    ",
    ],
};
