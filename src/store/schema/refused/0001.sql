CREATE TABLE program (version TEXT NOT NULL);
INSERT INTO program VALUES ('');

CREATE TABLE refused (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    time   INTEGER NOT NULL,
    peer   TEXT    NOT NULL,
    status INTEGER,          -- of the answer; none if there was no request
    reason TEXT    NOT NULL,
    scheme TEXT              -- of the Authorization
);
