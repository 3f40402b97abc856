-- Bodies that `store quarantine drop` removed, written down in the transaction that removes them.
CREATE TABLE dropped (
    id          INTEGER PRIMARY KEY, -- the number that it had in quarantine
    dropped_at  INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    input       TEXT    NOT NULL,
    peer        TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    bytes       INTEGER NOT NULL,
    sha256      TEXT    NOT NULL
);
