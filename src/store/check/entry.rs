//! One entry: as it is recorded, and as it is found when its line is read again.

use std::collections::HashMap;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use rusqlite::{Connection, Row};

use super::keys::Trusted;
use crate::entry::record::{Origin, WholeLine};
use crate::entry::{Format, Millis, Record, VerdictName, Warning};
use crate::ingest::{CheckedLine, Entry, ExpectedIds, Fingerprint};
use crate::signature::KeySet;
use crate::signature::verdict::NO_KEYS;
use crate::store::newest::hidden;
use crate::store::records::{Budget, length};
use crate::store::row;
use crate::store::sqlite::Database;
use crate::store::whole::{self, Found};

/// An entry as it is recorded.
pub(super) struct Recorded {
    record: Record,
    event_time: i64,
    fingerprint: Vec<u8>,
    covers: Option<String>,
    thumbprint: Option<String>,
    signed: Option<Vec<u8>>,
    /// The line where the entry stood first, if it changed since.
    first_line: Option<Vec<u8>>,
    /// Whether another entry is shown in its place.
    hidden: bool,
    /// What was found of a line that is too long, when it was read to its end.
    found: Option<Found>,
}

/// Entries of a segment as they are now.
pub(super) struct Slice {
    pub(super) entries: Vec<Recorded>,
    /// The id after them.
    pub(super) next: u64,
}

/// What the catalog has of entries that changed; nothing of those that are hidden. And the first that
/// it was not asked about.
pub(super) type Later = (HashMap<u64, Option<Recorded>>, Option<u64>);

impl Slice {
    /// Reads what the catalog has of the entries `first` to `last`.
    pub(super) fn later(catalog: &Database, first: u64, last: u64) -> rusqlite::Result<Later> {
        let (mut later, mut budget) = (HashMap::new(), Budget::new());
        for id in hidden(catalog, &(first..=last))? {
            if !budget.take(length(catalog, id)?) {
                return Ok((later, Some(id)));
            }
            let mut now = None;
            recorded(catalog, id, id, |one| {
                now = Some(one);
                Ok(false)
            })?;
            later.insert(id, now);
        }
        Ok((later, None))
    }

    /// Reads the entries `first` to `last` of a segment, as many as are read at once.
    pub(super) fn read(
        segment: &Database,
        first: u64,
        last: u64,
        (mut later, end): Later,
    ) -> rusqlite::Result<Slice> {
        let (mut entries, mut budget) = (Vec::new(), Budget::new());
        let mut next = last.saturating_add(1);
        recorded(segment, first, last, |one| {
            let id = one.id();
            if end == Some(id) || !budget.take(one.record.raw.len() as u64) {
                next = id;
                return Ok(false);
            }
            let is_in_pieces = one.record.whole.is_some();
            let found = is_in_pieces.then(|| whole::read(segment, id, &one.record.raw));
            let found = found.transpose()?;
            entries.push(match later.remove(&id) {
                Some(Some(now)) => Recorded { first_line: Some(one.record.raw), found, ..now },
                Some(None) => Recorded { hidden: true, found, ..one },
                None => Recorded { found, ..one },
            });
            Ok(true)
        })?;
        Ok(Slice { entries, next })
    }
}

/// Reads the entries `first` to `last` one by one, until `each` has enough.
fn recorded(
    connection: &Database,
    first: u64,
    last: u64,
    mut each: impl FnMut(Recorded) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let select = row::select(connection.columns());
    let sql = format!("{select} WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([first, last])?;
    while let Some(row) = rows.next()? {
        if !each(Recorded::from(connection, row)?)? {
            break;
        }
    }
    Ok(())
}

impl Recorded {
    fn from(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Recorded> {
        let key: Option<i64> = row.get("key")?;
        let thumbprint = match key {
            Some(key) => connection
                .prepare_cached("SELECT thumbprint FROM keys WHERE id = ?1")?
                .query_row([key], |row| row.get(0))
                .map(Some)?,
            None => None,
        };
        Ok(Recorded {
            record: row::record(connection, row)?,
            event_time: row.get("event_time")?,
            fingerprint: row.get("fingerprint")?,
            covers: row.get("covers")?,
            thumbprint,
            signed: row.get("signed")?,
            first_line: None,
            hidden: false,
            found: None,
        })
    }

    /// Its id.
    pub(super) fn id(&self) -> u64 {
        self.record.id().unwrap_or_default()
    }

    /// What is different when the line is read again with the keys that may verify it.
    pub(super) fn differences(&self, trusted: &Trusted) -> Vec<String> {
        let Origin::Stored { input, received_at, .. } = &self.record.origin else {
            return Vec::new();
        };
        if self.hidden {
            return self.other_line().into_iter().collect();
        }
        let mut found = self.read(trusted.of(input, *received_at), *received_at);
        if self.record.verdict == VerdictName::Valid && found.verdict.proof().is_none() {
            found = self.read(trusted.any(*received_at), *received_at);
        }
        self.compare(&found)
    }

    fn read(&self, keys: Option<&KeySet>, received_at: Millis) -> Entry {
        let none = KeySet::default();
        let line = Bytes::copy_from_slice(&self.record.raw);
        // How long a line may be is the operator's choice; one that was too long stays so.
        let max_line = match self.record.reason.as_deref() {
            Some("line_too_long") => line.len().saturating_sub(1),
            _ => usize::MAX,
        };
        let examined = CheckedLine::new(&line, keys.unwrap_or(&none), max_line);
        examined.read(line, &ExpectedIds::default(), received_at)
    }

    /// Says so if the line is not the one that was received.
    fn other_line(&self) -> Option<String> {
        let found = match &self.found {
            Some(found) => Fingerprint::cut(&found.sha256),
            None => Fingerprint::of(&self.record.raw),
        };
        (found.0.as_slice() != self.fingerprint)
            .then(|| "its line is not the one that its fingerprint is of".into())
    }

    fn compare(&self, found: &Entry) -> Vec<String> {
        let record = &self.record;
        let mut differences = Vec::new();
        let mut compare = |what: &str, recorded: String, found: String| {
            if recorded != found {
                differences.push(format!("recorded {what}{recorded}, found {found}"));
            }
        };
        let name = found.verdict.name();
        let now = verdict(name, found.verdict.reason());
        let then = match record.reason.as_deref() {
            // No key has failed it.
            Some("not_tried") if now != WITHOUT_KEY => "invalid (not_tried)".into(),
            reason => verdict(record.verdict, reason),
        };
        compare("", then, now);
        if self.first_line.as_ref().is_some_and(|line| *line != record.raw) {
            differences.push("its late verdict is of another line".into());
        }
        differences.extend(self.other_line());
        if let (Some(found), Some(whole)) = (&self.found, &record.whole) {
            differences.extend(pieces(found, whole));
        }
        let mut compare = |what: &str, recorded: String, found: String| {
            if recorded != found {
                differences.push(format!("recorded the {what} {recorded}, found {found}"));
            }
        };
        let proof = found.verdict.proof();
        if record.verdict == VerdictName::Valid && proof.is_some() {
            let thumbprint = proof.map(|proof| proof.key().thumbprint().to_string());
            compare("key", shown(self.thumbprint.clone()), shown(thumbprint));
            let covers = proof.map(|proof| proof.coverage().as_str().to_owned());
            compare("coverage", shown(self.covers.clone()), shown(covers));
            // Version 1 has none.
            if self.signed.is_some() {
                let recorded = self.signed.as_deref().map(|signed| HEXLOWER.encode(signed));
                let found = found.signed.map(|signed| signed.to_string());
                compare("signed identity", shown(recorded), shown(found));
            }
        }
        compare("format", Format::word(record.format).into(), Format::word(found.format).into());
        compare(
            "kind",
            shown(record.kind.map(|kind| kind.to_string())),
            shown(found.kind.map(|kind| kind.to_string())),
        );
        compare("time", shown(record.time.map(|t| t.to_string())), found.time.to_string());
        let event_time = found.event_time.map_or(0, Millis::get);
        compare("time of the event", self.event_time.to_string(), event_time.to_string());
        compare("warnings", own(&record.warnings), own(&found.warnings));
        if record.fields != found.fields {
            let json = |fields| serde_json::to_string(fields).unwrap_or_default();
            compare("fields", json(&record.fields), json(&found.fields));
        }
        differences
    }
}

/// What the pieces of a line that is too long have other than is recorded.
fn pieces(found: &Found, whole: &WholeLine) -> Vec<String> {
    let mut differences = Vec::new();
    if whole.bytes != Some(found.bytes) {
        let recorded = whole.bytes.unwrap_or_default();
        differences.push(format!(
            "recorded a line of {recorded} bytes, found {} bytes in pieces",
            found.bytes
        ));
    }
    if whole.sha256.is_some_and(|sha256| sha256 != found.sha256) {
        differences.push("the pieces of its line have another SHA-256 than is recorded".into());
    }
    if !found.begins {
        differences.push("its line does not begin as the pieces of it do".into());
    }
    differences
}

/// What is recorded without a key that verifies the entry.
const WITHOUT_KEY: &str = "no_key or invalid (no_matching_key)";

/// A verdict and its reason. Without a key that verifies it an entry may be recorded either way:
/// there may have been no key when it was received, or it was not tried.
fn verdict(name: VerdictName, reason: Option<&str>) -> String {
    match (name, reason) {
        (VerdictName::NoKey, Some(NO_KEYS))
        | (VerdictName::Invalid, Some("no_matching_key" | "not_tried")) => WITHOUT_KEY.into(),
        (name, Some(reason)) => format!("{name} ({reason})"),
        (name, None) => name.to_string(),
    }
}

fn shown(value: Option<String>) -> String {
    value.unwrap_or_else(|| "none".into())
}

/// The warnings that the line alone gives: whose entries an input expects is not known here, nor what
/// else came.
fn own(warnings: &[Warning]) -> String {
    let others = [Warning::ForeignOrg, Warning::ForeignPortal, Warning::SignatureMoved];
    let own = warnings.iter().filter(|warning| !others.contains(warning));
    format!("[{}]", Warning::join(&own.copied().collect::<Vec<_>>(), " "))
}
