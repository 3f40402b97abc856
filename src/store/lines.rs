//! Entries as little more than their lines: all that a file of raw lines needs, several times as fast as
//! whole records.

use rusqlite::types::ValueRef;
use rusqlite::{Row, params_from_iter};

use super::filter::Sql;
use super::query::{Query, as_integer};
use super::records::{Budget, Later, length};
use super::row;
use super::sqlite::Database;
use super::whole::LINE;
use crate::entry::record::Origin;
use crate::entry::{Fields, Millis, Record, Value};

/// The fields that are read; others are as if the entry had none.
const FIELDS: [&str; 2] = ["event_product", "org_id"];

/// The records from `start` to `end` that match, as many as are read at once, and the id after them.
/// Of those that are in `later`, or whose line is too long, everything is known; of the others the id,
/// when they were received, kind, verdict, [`FIELDS`] and the line.
pub(super) fn read(
    segment: &Database,
    query: &Query,
    start: u64,
    end: u64,
    mut later: Later,
) -> rusqlite::Result<(Vec<Record>, u64)> {
    let mut sql = Sql::default();
    sql.push("SELECT id, CASE WHEN ").add(query.condition(segment.columns()));
    sql.push(" THEN CASE WHEN reason IS 'line_too_long' THEN 0 ELSE coalesce(");
    sql.push(LINE).push(", x'') END END,");
    sql.push(" received_at, kind, verdict, ").push(&FIELDS.join(", "));
    sql.push(" FROM entries WHERE id >= ").bind(as_integer(start));
    sql.push(" AND id <= ").bind(as_integer(end)).push(" ORDER BY id");
    let mut statement = segment.prepare_cached(&sql.text)?;
    let mut rows = statement.query(params_from_iter(&sql.parameters))?;
    let (mut records, mut budget, mut next_id) = (Vec::new(), Budget::new(), start);
    while let Some(row) = rows.next()? {
        let id: u64 = row.get(0)?;
        if later.ends_before(id) {
            break;
        }
        match row.get_ref(1)? {
            _ if later.is_changed(id) => records.extend(later.record(segment, query, id)?),
            ValueRef::Null => {}
            ValueRef::Integer(_) => {
                if !budget.take(length(segment, id)?) {
                    break;
                }
                records.extend(later.record(segment, query, id)?);
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
        verdict: row::required_word(row.get_ref(4)?)?,
        reason: None,
        kid: None,
        warnings: Vec::new(),
        fields,
        raw: line.to_vec(),
        whole: None,
    })
}
