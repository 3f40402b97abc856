//! Lines from anywhere: their verdicts. Nothing is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use serde::Serialize;

use super::Json;
use crate::clock::now;
use crate::console::Console;
use crate::console::problem::Problem;
use crate::entry::lines::lines;
use crate::entry::record::Origin;
use crate::entry::{Record, VerdictName};
use crate::ingest::{CheckedLine, ExpectedIds};
use crate::signature::KeySet;

/// The most lines that are verified at once: half a second of one core.
pub const MAX_LINES: usize = 5000;

/// What was found.
#[derive(Serialize)]
pub struct VerifyAnswer {
    verdicts: BTreeMap<&'static str, u64>,
    entries: Vec<Record>,
}

/// `POST /api/v1/verify`
pub async fn verify(
    State(console): State<Arc<Console>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<VerifyAnswer>, Problem> {
    let body = body.map_err(|error| Problem::too_large(error.body_text()))?;
    let keys = console.ring.all();
    let records = console.read(move |_| Ok(records(&body, &keys))).await?;
    let entries = records?;
    let mut verdicts: BTreeMap<_, _> =
        VerdictName::ALL.iter().map(|name| (name.as_str(), 0)).collect();
    for entry in &entries {
        if let Some(count) = verdicts.get_mut(entry.verdict.as_str()) {
            *count += 1;
        }
    }
    Ok(Json(VerifyAnswer { verdicts, entries }))
}

/// The lines of `text` as records, or why there are too many.
pub fn records(text: &Bytes, keys: &KeySet) -> Result<Vec<Record>, Problem> {
    let now = now();
    let ranges: Vec<_> = lines(text).take(MAX_LINES + 1).collect();
    if ranges.len() > MAX_LINES {
        return Err(Problem::too_large(format!("more than {MAX_LINES} lines")));
    }
    let record = |(number, range): (usize, std::ops::Range<usize>)| {
        let line = text.slice(range);
        let entry =
            CheckedLine::new(&line, keys, line.len()).read(line, &ExpectedIds::default(), now);
        let (time, source) = (entry.own_time(now), format!("line:{}", number + 1));
        entry.into_record(Origin::File { source }, time)
    };
    Ok(ranges.into_iter().enumerate().map(record).collect())
}
