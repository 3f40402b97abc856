-- Version 7 of a segment is version 5 with the leaves of its entries in the log, as in version 6. The
-- records of the leaves are in the files of the log.
ALTER TABLE segment ADD COLUMN first_leaf INTEGER; -- NULL: no entry has a leaf here
ALTER TABLE segment ADD COLUMN next_leaf  INTEGER NOT NULL DEFAULT 0; -- the leaf after those of this segment

-- How much further the leaf is from `first_leaf` than the id is from `first_id`: the number of leaves
-- between that are not of entries here. NULL: the entry has no leaf.
ALTER TABLE packed ADD COLUMN leaf INTEGER;

-- The salts of leaves that follow one another, 16 bytes for each.
CREATE TABLE salts (
    first INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    salts BLOB    NOT NULL
);

-- Leaves that the files of the log did not have when this file was written. Mostly there are none.
CREATE TABLE leaves (
    first   INTEGER PRIMARY KEY,
    count   INTEGER NOT NULL,
    records BLOB    NOT NULL
);

-- The view of version 3, with `leaf`.
DROP VIEW entries;
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
    packed.leaf + packed.id + (SELECT first_leaf - first_id FROM segment) AS leaf,
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
