//! Reads only the lines of entries and a few fields. That is enough for a file of raw lines, and
//! several times as fast as reading whole records.

use std::ops::RangeInclusive;

use rusqlite::types::ValueRef;
use rusqlite::{Row, params_from_iter};

use crate::entry::record::Origin;
use crate::entry::{Fields, Millis, Record, Value};
use crate::store::read::query::Query;
use crate::store::read::records::{Budget, Overlaid};
use crate::store::segment::condition::{Sql, line};
use crate::store::segment::row::{self, Ids};
use crate::store::sqlite::Database;

/// The fields that are read. Others are missing.
const FIELDS: [&str; 2] = ["event_product", "org_id"];

/// The records of the first of these entries that match, within the budget, and the id after them.
/// Overlaid entries and entries with long lines are complete. The others have only their id, time of
/// receipt, kind, verdict, [`FIELDS`] and line.
pub(in crate::store) fn read(
    segment: &Database,
    query: &Query,
    ids: RangeInclusive<u64>,
    overlaid: Overlaid,
) -> rusqlite::Result<(Vec<Record>, u64)> {
    let mut sql = Sql::default();
    sql.push("SELECT id, CASE WHEN ").add(query.condition(segment.columns()));
    sql.push(" THEN CASE WHEN reason IS 'line_too_long' THEN 0 ELSE coalesce(");
    sql.push(line(segment.columns())).push(", x'') END END,");
    sql.push(" received_at, kind, verdict, ").push(&FIELDS.join(", "));
    sql.push(" FROM entries WHERE ");
    Ids::Range(ids.clone()).among("id", &mut sql);
    sql.push(" ORDER BY id");
    let mut statement = segment.prepare_cached(&sql.text)?;
    let mut rows = statement.query(params_from_iter(&sql.parameters))?;
    let (mut records, mut whole) = (Vec::new(), Vec::new());
    let (mut budget, mut next_id) = (Budget::new(), *ids.start());
    while let Some(row) = rows.next()? {
        let id: u64 = row.get(0)?;
        if overlaid.ends_before(id) {
            break;
        }
        match row.get_ref(1)? {
            _ if overlaid.contains(id) => whole.push(id),
            ValueRef::Null => {}
            ValueRef::Integer(_) => {
                if budget.split(segment, &[id])?.0.is_empty() {
                    break;
                }
                whole.push(id);
            }
            line => {
                let line = line.as_bytes()?;
                if !budget.take(line.len() as u64) {
                    break;
                }
                records.push(record(row, id, line)?);
            }
        }
        next_id = id.saturating_add(1);
    }
    if !whole.is_empty() {
        records.extend(overlaid.records(segment, query, &whole)?.into_values());
        records.sort_unstable_by_key(Record::id);
    }
    Ok((records, next_id))
}

fn record(row: &Row<'_>, id: u64, line: &[u8]) -> rusqlite::Result<Record> {
    let mut fields = Fields::default();
    for (at, name) in (5..).zip(FIELDS) {
        if let Some(text) = row.get_ref(at)?.as_str_or_null()? {
            fields.restore(name, Value::Text(text.to_owned()));
        }
    }
    Ok(Record {
        origin: Origin::Stored {
            id,
            input: String::new(),
            received_at: Millis::saturating(row.get(2)?),
            delivery_count: 0,
        },
        time: None,
        format: None,
        kind: row::word(row.get_ref(3)?)?,
        verdict: row::verdict(row.get_ref(4)?)?,
        reason: None,
        kid: None,
        warnings: Vec::new(),
        fields,
        raw: line.to_vec(),
        whole: None,
    })
}
