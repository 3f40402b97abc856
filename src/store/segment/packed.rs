//! Packs a segment: writes version 7 of it, which is a third as large.
//!
//! Most values of an entry are those of many other entries. They are written once, as words or as
//! combinations, and the entry has their numbers. The lines go into blocks. Nothing is left out: the
//! view `entries` gives every column back.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::mem::take;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, Statement};

use crate::entry::Millis;
use crate::entry::fields::KNOWN;
use crate::store::schema::{Columns, SEGMENT_WITH_ORIGINS};
use crate::store::segment::blocks::{BlockWriter, with_raw};
use crate::store::segment::condition::Sql;
use crate::store::segment::leaves::{self, Backfill, EntryLeaves};
use crate::store::segment::row::{
    Entries, FIRST, Ids, VerifyingKey, as_integer, expressions, key_id,
};
use crate::store::sqlite::{Database, PROGRAM};
use crate::store::tiles::Tiles;

/// The version of a packed segment.
pub(in crate::store) const VERSION: usize = 7;

/// The versions that packed segments have or had. Each has what `schema/packed` adds to the one before.
pub(in crate::store) const VERSIONS: [usize; 3] = [3, 5, VERSION];

/// The columns of `packed` that are numbers of words.
pub(in crate::store) const WORDS: [&str; 10] = [
    "verdict",
    "warnings",
    "name",
    "src",
    "principal_id",
    "principal_name",
    "actor_id",
    "request",
    "query",
    "user_agent",
];

/// The columns of `combinations`.
pub(in crate::store) const COMBINED: [&str; 20] = [
    "input",
    "format",
    "kind",
    "reason",
    "key",
    "covers",
    "cef_version",
    "event_vendor",
    "event_product",
    "event_version",
    "event_class_id",
    "severity",
    "org_id",
    "portal_id",
    "kong_initiated",
    "success",
    "action",
    "granted",
    "act",
    "status",
];

/// The columns that an entry has for itself.
const OWN: [&str; 7] =
    ["event_ts", "rt", "trace_id", "fingerprint", "signed", "line_bytes", "line_sha256"];

/// What a search reads of the entries, in the place of the view `entries`. SQLite takes several times as
/// long to compile a statement over the whole view as to run it.
pub(in crate::store) const SEARCHED: &str = "(SELECT id, time, delivery, trace_id, combination,
    coalesce(received_at, (SELECT received_at FROM deliveries
                           WHERE deliveries.id = packed.delivery)) AS received_at,
    CASE WHEN verdict IS NULL THEN 'valid'
         ELSE coalesce((SELECT value FROM words WHERE words.id = packed.verdict), 'malformed')
         END AS verdict,
    (SELECT value FROM words WHERE words.id = packed.warnings) AS warnings,
    (SELECT \"key\" FROM combinations WHERE combinations.id = packed.combination) AS \"key\",
    CASE WHEN event_ts IS x'' THEN strftime('%Y-%m-%dT%H:%M:%SZ', time / 1000, 'unixepoch')
         ELSE event_ts END AS event_ts,
    CASE WHEN rt IS x'' THEN coalesce(event_time, time) ELSE rt END AS rt,
    verdict AS verdict_word, warnings AS warnings_word, name AS name_word, src AS src_word,
    principal_id AS principal_id_word, principal_name AS principal_name_word,
    actor_id AS actor_id_word, request AS request_word, query AS query_word,
    user_agent AS user_agent_word
    FROM packed) AS entries";

/// The value that stands for the time in `rt` and `event_ts`.
const SAME: ValueRef<'static> = ValueRef::Blob(&[]);

/// A time in milliseconds as `event_ts` has it in most entries.
fn written(time: i64) -> String {
    let mut text = Millis::saturating(time).to_string();
    text.truncate("YYYY-MM-DDTHH:MM:SS".len());
    text + "Z"
}

/// The number of columns of `entries`.
const WIDTH: usize = FIRST.len() + KNOWN.len();

/// The tables that are copied as they are. Earlier versions lack some, and some columns.
const COPIED: [&str; 4] = ["segment", "deliveries", "pieces", "spellings"];

/// Writes a packed segment.
pub(in crate::store) struct Packer<'a> {
    to: &'a Connection,
    words: Numbers,
    combinations: Numbers,
    /// When each delivery was received.
    received_at: HashMap<i64, i64>,
    leaves: EntryLeaves,
    /// The id and the leaf from which those of the segment are.
    first: (i64, i64),
    /// Whether the entries are read again and compared.
    compares: bool,
    /// The entries and extensions that were not compared yet: ids of entries, and hashes of the rows.
    added: Vec<(u64, u64)>,
    added_extensions: Vec<(u64, u64)>,
    places: Places,
}

/// What may be changed of an entry while it is packed.
pub(in crate::store) struct Amendable {
    pub(in crate::store) id: u64,
    pub(in crate::store) delivery_count: u64,
    /// Whether it keeps its signed identity.
    pub(in crate::store) is_shown: bool,
}

impl<'a> Packer<'a> {
    /// Makes the tables of an empty file, and fills those that are as in the segment `from`.
    /// `compares` is whether [`check`](Packer::check) reads each entry again. `tiles` are the files of the
    /// log, if they can be read. `backfills` are the leaves that entries got later.
    pub(in crate::store) fn new(
        from: &Database,
        to: &'a Connection,
        compares: bool,
        (tiles, backfills): (Option<&Tiles>, &[Backfill]),
    ) -> rusqlite::Result<Packer<'a>> {
        to.execute_batch(include_str!("../schema/packed/0003.sql"))?;
        to.execute_batch(include_str!("../schema/packed/0005.sql"))?;
        to.execute_batch(include_str!("../schema/packed/0007.sql"))?;
        to.execute("UPDATE program SET version = ?1", [PROGRAM])?;
        to.pragma_update(None, "application_id", super::SCHEMA.application_id)?;
        to.pragma_update(None, "user_version", VERSION as i64)?;
        for table in COPIED {
            copy_table(from, to, table)?;
        }
        if from.version() < SEGMENT_WITH_ORIGINS {
            to.execute("UPDATE deliveries SET stored_at = received_at", [])?;
        }
        leaves::copy(from, to, tiles, backfills)?;
        let first = to
            .prepare("SELECT first_id, first_leaf FROM segment")?
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0))))?
            .next();
        let received_at = to
            .prepare("SELECT id, received_at FROM deliveries")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Packer {
            to,
            words: Numbers::new("words", 1),
            combinations: Numbers::new("combinations", COMBINED.len()),
            received_at,
            leaves: EntryLeaves::read(from)?.with(backfills),
            first: first.transpose()?.unwrap_or_default(),
            compares,
            added: Vec::new(),
            added_extensions: Vec::new(),
            places: Places::new(),
        })
    }

    /// Adds entries, with their extensions. Those for which `amend` returns `false` are left out.
    pub(in crate::store) fn add(
        &mut self,
        from: &impl Entries,
        ids: &Ids<'_>,
        mut amend: impl FnMut(&mut Amendable) -> bool,
    ) -> rusqlite::Result<()> {
        let keys = self.add_keys(from.keys()?)?;
        let mut left_out = Vec::new();
        from.each(&Sql::from(&expressions(from.columns())), &Sql::from("1"), ids, |row| {
            let mut amendable = Amendable {
                id: row.get(0)?,
                delivery_count: row.get(self.places.delivery_count)?,
                is_shown: true,
            };
            match amend(&mut amendable) {
                true => self.entry(row, &amendable, &keys),
                false => {
                    left_out.push(amendable.id);
                    Ok(())
                }
            }
        })?;
        left_out.sort_unstable();
        let mut insert =
            self.to.prepare_cached("INSERT INTO extensions VALUES (?1, ?2, ?3, ?4)")?;
        from.each_extension(ids, |row| {
            let entry = row.get(0)?;
            if left_out.binary_search(&entry).is_ok() {
                return Ok(());
            }
            if self.compares {
                let values = [row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?];
                self.added_extensions.push((entry, hash(&values, DefaultHasher::new())));
            }
            insert_row(&mut insert, row, 4)
        })
    }

    /// Adds keys. Returns their numbers here by their numbers there.
    fn add_keys(&self, keys: Vec<VerifyingKey>) -> rusqlite::Result<HashMap<i64, i64>> {
        keys.into_iter()
            .map(|key| Ok((key.id, key_id(self.to, &key.thumbprint, &key.kid, &key.public)?)))
            .collect()
    }

    fn entry(
        &mut self,
        row: &Row<'_>,
        entry: &Amendable,
        keys: &HashMap<i64, i64>,
    ) -> rusqlite::Result<()> {
        let places = &self.places;
        let mut values = [ValueRef::Null; WIDTH];
        for (at, value) in values.iter_mut().enumerate() {
            *value = row.get_ref(at)?;
        }
        values[places.delivery_count] = ValueRef::Integer(as_integer(entry.delivery_count));
        if !entry.is_shown {
            values[places.signed] = ValueRef::Null;
        }
        if let ValueRef::Integer(key) = values[places.key] {
            values[places.key] =
                keys.get(&key).map_or(ValueRef::Null, |key| ValueRef::Integer(*key));
        }
        if self.compares {
            self.added.push((entry.id, hash(&values, DefaultHasher::new())));
        }

        let [time, event_time, received_at, delivery] =
            [places.time, places.event_time, places.received_at, places.delivery]
                .map(|at| values[at].as_i64());
        let (time, received_at, delivery) = (time?, received_at?, delivery?);
        let event_time = event_time?;
        let combined: [ValueRef<'_>; COMBINED.len()] = places.combined.map(|at| values[at]);
        let first: [Option<i64>; 7] = [
            Some(as_integer(entry.id)),
            Some(time),
            (event_time != time).then_some(event_time),
            (self.received_at.get(&delivery) != Some(&received_at)).then_some(received_at),
            Some(delivery),
            (entry.delivery_count != 1).then(|| as_integer(entry.delivery_count)),
            Some(self.combinations.of(self.to, &combined)?),
        ];
        let mut words = [None; WORDS.len()];
        for (word, from) in words.iter_mut().zip(places.words) {
            *word = match values[from] {
                ValueRef::Null => None,
                ValueRef::Text(b"valid") if from == places.verdict => None,
                value => Some(self.words.of(self.to, &[value])?),
            };
        }
        let mut insert = self.to.prepare_cached(&places.insert)?;
        let mut at = 0;
        for value in first.into_iter().chain(words) {
            at += 1;
            insert.raw_bind_parameter(at, value)?;
        }
        let written = written(time);
        for from in places.own {
            at += 1;
            let value = match values[from] {
                ValueRef::Integer(rt) if from == places.rt && rt == event_time => SAME,
                ValueRef::Text(text) if from == places.event_ts && text == written.as_bytes() => {
                    SAME
                }
                value => value,
            };
            insert.raw_bind_parameter(at, ToSqlOutput::Borrowed(value))?;
        }
        let leaf = self
            .leaves
            .of(entry.id)
            .map(|leaf| as_integer(leaf) - self.first.1 - (as_integer(entry.id) - self.first.0));
        insert.raw_bind_parameter(at + 1, leaf)?;
        insert.raw_execute().map(drop)
    }

    /// Reads the entries that were added since the last time, and their extensions, and compares them
    /// with what was given.
    pub(in crate::store) fn check(&mut self) -> rusqlite::Result<()> {
        let (added, extensions) = (take(&mut self.added), take(&mut self.added_extensions));
        let ids = added.iter().map(|(id, _)| *id);
        let (Some(first), Some(last)) = (ids.clone().min(), ids.max()) else { return Ok(()) };
        let sql = |values: &str, from: &str, id: &str| {
            format!("SELECT {values} FROM {from} WHERE {id} BETWEEN {first} AND {last}")
        };
        self.compare(added, &sql(&expressions(Columns::PACKED), "entries", "id"))?;
        self.compare(extensions, &sql("entry, name, type, value", "extensions", "entry"))
    }

    /// Compares ids and hashes of rows with those that `sql` selects.
    fn compare(&self, mut given: Vec<(u64, u64)>, sql: &str) -> rusqlite::Result<()> {
        let mut statement = self.to.prepare(sql)?;
        let columns = statement.column_count();
        let mut found: Vec<(u64, u64)> = statement
            .query_map([], |row| {
                let values: Vec<_> =
                    (0..columns).map(|at| row.get_ref(at)).collect::<Result<_, _>>()?;
                Ok((row.get(0)?, hash(&values, DefaultHasher::new())))
            })?
            .collect::<Result<_, _>>()?;
        given.sort_unstable();
        found.sort_unstable();
        let same = given.iter().zip(&found).take_while(|(given, found)| given == found).count();
        let Some((id, _)) = given.get(same).into_iter().chain(found.get(same)).min() else {
            return Ok(());
        };
        let why = format!("the entry {id} is not read as it was written");
        Err(rusqlite::Error::UserFunctionError(why.into()))
    }

    /// Writes the lines of the segment, which begins with the id `first_id`.
    pub(in crate::store) fn lines(&self, from: &Database, first_id: u64) -> rusqlite::Result<()> {
        let mut blocks = BlockWriter::new(self.to, first_id)?;
        let mut lines =
            from.prepare(&with_raw(from.columns(), "SELECT id, line FROM raw ORDER BY id"))?;
        let mut rows = lines.query([])?;
        let mut next = first_id;
        while let Some(row) = rows.next()? {
            // Ids are dense. The copy is compared with its source, so a gap would be noticed.
            if row.get::<_, u64>(0)? != next {
                break;
            }
            blocks.add(row.get_ref(1)?.as_bytes()?)?;
            next += 1;
        }
        blocks.finish()
    }

    /// Makes the indexes and the summaries.
    pub(in crate::store) fn finish(self) -> rusqlite::Result<()> {
        self.to.execute_batch(include_str!("../schema/packed/0003-indexes.sql"))
    }
}

/// Where the columns are in the rows that [`expressions`] selects.
struct Places {
    received_at: usize,
    time: usize,
    event_time: usize,
    delivery: usize,
    delivery_count: usize,
    key: usize,
    verdict: usize,
    signed: usize,
    rt: usize,
    event_ts: usize,
    words: [usize; WORDS.len()],
    combined: [usize; COMBINED.len()],
    own: [usize; OWN.len()],
    insert: String,
}

impl Places {
    fn new() -> Places {
        let names: Vec<&str> =
            FIRST.into_iter().chain(KNOWN.iter().map(|(name, _)| *name)).collect();
        let at = |wanted: &str| names.iter().position(|name| *name == wanted).unwrap_or(usize::MAX);
        let columns: Vec<&str> = [
            "id",
            "time",
            "event_time",
            "received_at",
            "delivery",
            "delivery_count",
            "combination",
        ]
        .into_iter()
        .chain(WORDS)
        .chain(OWN)
        .chain(["leaf"])
        .collect();
        Places {
            received_at: at("received_at"),
            time: at("time"),
            event_time: at("event_time"),
            delivery: at("delivery"),
            delivery_count: at("delivery_count"),
            key: at("key"),
            verdict: at("verdict"),
            signed: at("signed"),
            rt: at("rt"),
            event_ts: at("event_ts"),
            words: WORDS.map(at),
            combined: COMBINED.map(at),
            own: OWN.map(at),
            insert: format!(
                "INSERT INTO packed ({}) VALUES ({})",
                columns.join(", "),
                vec!["?"; columns.len()].join(", ")
            ),
        }
    }
}

/// The numbers of the rows of a table. A row is written when it is first seen.
///
/// Values are known by a hash of 128 bits with a random key, so that many long ones take little memory.
struct Numbers {
    insert: String,
    known: HashMap<[u64; 2], i64>,
    hashers: [RandomState; 2],
}

impl Numbers {
    fn new(table: &str, columns: usize) -> Numbers {
        Numbers {
            insert: format!("INSERT INTO {table} VALUES (?{})", ", ?".repeat(columns)),
            known: HashMap::new(),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    fn of(&mut self, to: &Connection, values: &[ValueRef<'_>]) -> rusqlite::Result<i64> {
        let hash = self.hashers.each_ref().map(|hasher| hash(values, hasher.build_hasher()));
        if let Some(number) = self.known.get(&hash) {
            return Ok(*number);
        }
        let number = self.known.len() as i64 + 1;
        let mut insert = to.prepare_cached(&self.insert)?;
        insert.raw_bind_parameter(1, number)?;
        for (at, value) in (2..).zip(values) {
            insert.raw_bind_parameter(at, ToSqlOutput::Borrowed(*value))?;
        }
        insert.raw_execute()?;
        self.known.insert(hash, number);
        Ok(number)
    }
}

fn hash(values: &[ValueRef<'_>], mut hasher: DefaultHasher) -> u64 {
    for value in values {
        match value {
            ValueRef::Null => 0_u8.hash(&mut hasher),
            ValueRef::Integer(number) => (1_u8, number).hash(&mut hasher),
            ValueRef::Real(number) => (2_u8, number.to_bits()).hash(&mut hasher),
            ValueRef::Text(text) => (3_u8, text).hash(&mut hasher),
            ValueRef::Blob(bytes) => (4_u8, bytes).hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Copies a table, if the segment has it.
fn copy_table(from: &Connection, to: &Connection, table: &str) -> rusqlite::Result<()> {
    if !from.table_exists(None, table)? {
        return Ok(());
    }
    let mut read = from.prepare(&format!("SELECT * FROM {table}"))?;
    let columns = read.column_count();
    // An earlier version has fewer columns.
    let names = read.column_names().collect::<Vec<_>>().join(", ");
    let marks = vec!["?"; columns].join(", ");
    let mut write = to.prepare(&format!("INSERT INTO {table} ({names}) VALUES ({marks})"))?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        insert_row(&mut write, row, columns)?;
    }
    Ok(())
}

fn insert_row(insert: &mut Statement<'_>, row: &Row<'_>, columns: usize) -> rusqlite::Result<()> {
    for at in 0..columns {
        insert.raw_bind_parameter(at + 1, ToSqlOutput::Borrowed(row.get_ref(at)?))?;
    }
    insert.raw_execute().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{CheckedLine, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::segment::SCHEMA;
    use crate::store::segment::row::{self, EntryMetadata};
    use crate::store::sqlite;

    #[test]
    fn an_entry_that_is_read_otherwise_than_it_was_written_is_noticed() {
        let temporary = tempfile::tempdir().unwrap();
        let from = sqlite::open(&temporary.path().join("x.db"), &SCHEMA).unwrap();
        for id in 1..=3 {
            let line = format!("{{\"name\":\"n{id}\",\"status\":200,\"rt\":5,\"x\":\"{id}\"}}");
            let received_at = Millis::saturating(100);
            let entry = CheckedLine::new(line.as_bytes(), &KeySet::default(), 100).read(
                line.into(),
                &ExpectedIds::default(),
                received_at,
            );
            let stored =
                EntryMetadata { id, received_at, delivery: 1, input: "default", delivery_count: 1 };
            assert!(row::insert(&from, &entry, &stored).unwrap());
        }
        for (damage, found) in [
            ("SELECT 1", None),
            ("UPDATE words SET value = 'x' WHERE value = 'n2'", Some(2)),
            ("UPDATE combinations SET status = 201", Some(1)),
            ("UPDATE packed SET delivery_count = 2 WHERE id = 3", Some(3)),
            ("UPDATE packed SET event_time = 6 WHERE id = 1", Some(1)),
            ("DELETE FROM packed WHERE id = 3", Some(3)),
            ("UPDATE extensions SET value = 'y' WHERE entry = 2", Some(2)),
            ("DELETE FROM extensions WHERE entry = 1", Some(1)),
            ("INSERT INTO extensions VALUES (3, 'y', 'text', '')", Some(3)),
        ] {
            let to = Connection::open_in_memory().unwrap();
            let mut packer = Packer::new(&from, &to, true, (None, &[])).unwrap();
            packer.add(&from, &Ids::Range(1..=3), |_| true).unwrap();
            let _ = to.execute_batch(damage);
            let error = packer.check().err().map(|error| error.to_string());
            let expected = found.map(|id| format!("the entry {id} is not read as it was written"));
            assert_eq!(error, expected, "{damage}");
        }
    }
}
