-- Segments that were written under earlier rules, until their entries are checked again.
CREATE TABLE older_rules (first_id INTEGER PRIMARY KEY);
INSERT INTO older_rules SELECT first_id FROM segments WHERE state <> 'dropped';
