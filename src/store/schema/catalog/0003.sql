ALTER TABLE outputs ADD COLUMN dead_letters INTEGER NOT NULL DEFAULT 0; -- refused by the other end
ALTER TABLE outputs ADD COLUMN rate         REAL    NOT NULL DEFAULT 0; -- lines a second
ALTER TABLE outputs ADD COLUMN failures     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outputs ADD COLUMN configured   INTEGER NOT NULL DEFAULT 1; -- 0: it is past
