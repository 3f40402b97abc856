//! Compares an entry as recorded with the result of reading its line again.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::keys::Trusted;
use crate::entry::record::{Origin, WholeLine};
use crate::entry::{Format, Millis, Record, VerdictName, Warning};
use crate::ingest::{CheckedLine, Entry, ExpectedIds, Fingerprint};
use crate::signature::verdict::NO_KEYS;
use crate::signature::{KeySet, Seed};
use crate::store::catalog::overlay::Overlay;
use crate::store::read::records::Budget;
use crate::store::segment::condition::Sql;
use crate::store::segment::long_lines::{self, LineDigest};
use crate::store::segment::row::{Entries, Ids};
use crate::store::sqlite::Database;

/// An entry as recorded.
pub(super) struct Recorded {
    record: Record,
    event_time: i64,
    fingerprint: Vec<u8>,
    covers: Option<String>,
    /// The words of the record in their columns, as text.
    words: [(&'static str, String); 4],
    thumbprint: Option<String>,
    signed: Option<Vec<u8>>,
    /// The line in the segment, if the overlay has a changed version.
    first_line: Option<Vec<u8>>,
    /// Whether another entry is shown instead.
    hidden: bool,
    /// The result of reading the pieces of a long line.
    found: Option<LineDigest>,
}

/// Entries of a segment in their current versions.
pub(super) struct Slice {
    pub(super) entries: Vec<Recorded>,
    /// The id after them.
    pub(super) next: u64,
}

/// The overlaid entries of a slice.
pub(super) struct Overlaid {
    /// Their current versions; `None` for hidden entries.
    now: HashMap<u64, Option<Recorded>>,
    /// The first that was not read.
    end: Option<u64>,
}

impl Overlaid {
    /// Reads the overlaid entries among these.
    pub(super) fn read(
        overlay: &Overlay<'_>,
        ids: RangeInclusive<u64>,
    ) -> rusqlite::Result<Overlaid> {
        let overlaid = overlay.overlaid(&Ids::Range(ids))?;
        let (read, left) = Budget::new().split(overlay, &overlaid)?;
        let mut found: HashMap<u64, Recorded> =
            recorded(overlay, read)?.into_iter().map(|one| (one.id(), one)).collect();
        let now = read.iter().map(|id| (*id, found.remove(id))).collect();
        Ok(Overlaid { now, end: left.first().copied() })
    }
}

impl Slice {
    /// Reads the first of these entries of a segment, as many as the budget allows.
    pub(super) fn read(
        segment: &Database,
        ids: RangeInclusive<u64>,
        Overlaid { mut now, end }: Overlaid,
    ) -> rusqlite::Result<Slice> {
        let next = end.unwrap_or(ids.end().saturating_add(1));
        let ids: Vec<u64> = (*ids.start()..next).collect();
        let (read, left) = Budget::new().split(segment, &ids)?;
        let mut entries = Vec::new();
        for one in recorded(segment, read)? {
            let is_in_pieces = one.record.whole.is_some();
            let found = match is_in_pieces {
                true => Some(long_lines::read(segment, one.id(), &one.record.raw)?),
                false => None,
            };
            entries.push(match now.remove(&one.id()) {
                Some(Some(now)) => Recorded { first_line: Some(one.record.raw), found, ..now },
                Some(None) => Recorded { hidden: true, found, ..one },
                None => Recorded { found, ..one },
            });
        }
        Ok(Slice { entries, next: left.first().copied().unwrap_or(next) })
    }
}

/// Reads these entries.
fn recorded(entries: &impl Entries, ids: &[u64]) -> rusqlite::Result<Vec<Recorded>> {
    let (all, ids) = (Sql::from("1"), Ids::List(ids));
    let mut records: HashMap<u64, Record> = entries
        .records(&all, &ids)?
        .into_iter()
        .filter_map(|record| Some((record.id()?, record)))
        .collect();
    let mut values = Sql::from(
        "id, event_time, fingerprint, covers,
         (SELECT thumbprint FROM keys WHERE keys.id = entries.key),
         verdict, coalesce(warnings, ''), coalesce(kind, ''), format, ",
    );
    values.push(&entries.columns().expression("signed"));
    let mut found = Vec::new();
    entries.each(&values, &all, &ids, |row| {
        let Some(record) = records.remove(&row.get(0)?) else { return Ok(()) };
        found.push(Recorded {
            record,
            event_time: row.get(1)?,
            fingerprint: row.get(2)?,
            covers: row.get(3)?,
            thumbprint: row.get(4)?,
            words: [
                ("verdict", row.get(5)?),
                ("warnings", row.get(6)?),
                ("kind", row.get(7)?),
                ("format", row.get(8)?),
            ],
            signed: row.get(9)?,
            first_line: None,
            hidden: false,
            found: None,
        });
        Ok(())
    })?;
    Ok(found)
}

/// What was found of an entry.
pub(super) struct Found {
    /// The differences from the record.
    pub(super) differences: Vec<String>,
    /// Whether its signature is odd, if that was looked for.
    pub(super) is_odd: bool,
}

/// Reads the lines of entries again with the keys that may verify them. `strict` is whether to look
/// for odd signatures.
pub(super) fn check(
    entries: &[Recorded],
    trusted: &Trusted,
    seed: &Seed,
    strict: bool,
) -> Vec<Found> {
    let of_input = |one: &Recorded| trusted.of(one.input(), one.received_at());
    let mut checked = verify(entries.iter().filter(|one| !one.hidden), of_input, seed);
    let failed = entries.iter().filter(|one| {
        let check = checked.get(&one.id());
        one.record.verdict == VerdictName::Valid
            && check.is_some_and(|check| check.verdict().proof().is_none())
    });
    checked.extend(verify(failed, |one| trusted.any(one.received_at()), seed));
    entries.iter().map(|one| one.found(checked.remove(&one.id()), strict)).collect()
}

/// Verifies the lines of entries, by their ids.
fn verify<'a, 'k>(
    entries: impl Iterator<Item = &'a Recorded>,
    keys: impl Fn(&Recorded) -> Option<&'k KeySet>,
    seed: &Seed,
) -> HashMap<u64, CheckedLine> {
    let none = KeySet::default();
    // The operator sets the longest line. A line that was too long stays too long.
    let (too_long, entries): (Vec<&Recorded>, Vec<&Recorded>) =
        entries.partition(|one| one.record.reason.as_deref() == Some("line_too_long"));
    let lines: Vec<(&[u8], &KeySet)> =
        entries.iter().map(|one| (&one.record.raw[..], keys(one).unwrap_or(&none))).collect();
    let checked = CheckedLine::each(&lines, usize::MAX, seed);
    let too_long = too_long.into_iter().map(|one| {
        let line = &one.record.raw;
        (one.id(), CheckedLine::new(line, &none, line.len().saturating_sub(1)))
    });
    entries.iter().map(|one| one.id()).zip(checked).chain(too_long).collect()
}

impl Recorded {
    pub(super) fn id(&self) -> u64 {
        self.record.id().unwrap_or_default()
    }

    /// Compares the record with the line, which was checked again. `None` if the entry is not shown.
    fn found(&self, checked: Option<CheckedLine>, strict: bool) -> Found {
        let Some(checked) = checked else {
            return Found { differences: self.other_line().into_iter().collect(), is_odd: false };
        };
        let is_doubtful = strict || self.record.verdict == VerdictName::Invalid;
        let is_odd = is_doubtful && checked.is_odd(&self.record.raw);
        let line = Bytes::copy_from_slice(&self.record.raw);
        let read = checked.read(line, &ExpectedIds::default(), self.received_at());
        let mut differences = self.unknown_words();
        differences.extend(self.compare(&read, is_odd));
        Found { differences, is_odd: strict && is_odd }
    }

    fn received_at(&self) -> Millis {
        match &self.record.origin {
            Origin::Stored { received_at, .. } => *received_at,
            Origin::File { .. } => Millis::MIN,
        }
    }

    fn input(&self) -> &str {
        match &self.record.origin {
            Origin::Stored { input, .. } => input,
            Origin::File { .. } => "",
        }
    }

    /// The columns with words that no version wrote, which are read as if they were not there.
    fn unknown_words(&self) -> Vec<String> {
        let Record { verdict, warnings, kind, format, .. } = &self.record;
        let read = [
            verdict.to_string(),
            Warning::join(warnings, " "),
            kind.map_or_else(String::new, |kind| kind.to_string()),
            Format::word(*format).to_owned(),
        ];
        let pairs = self.words.iter().zip(read).filter(|((_, recorded), read)| recorded != read);
        pairs
            .map(|((column, recorded), _)| format!("its column {column} has {recorded:?}"))
            .collect()
    }

    /// The difference if the line does not match its fingerprint.
    fn other_line(&self) -> Option<String> {
        let found = match &self.found {
            Some(found) => Fingerprint::cut(&found.sha256),
            None => Fingerprint::of(&self.record.raw),
        };
        (found.0.as_slice() != self.fingerprint)
            .then(|| "its line does not match its fingerprint".into())
    }

    /// The differences from what was found. `is_odd` is whether the signature is odd.
    fn compare(&self, found: &Entry, is_odd: bool) -> Vec<String> {
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
            // No key was tried.
            Some("not_tried") if now != WITHOUT_KEY => "invalid (not_tried)".into(),
            reason => verdict(record.verdict, reason),
        };
        // Earlier versions refused odd signatures.
        let was_refused = is_odd && record.verdict == VerdictName::Invalid && then == WITHOUT_KEY;
        if !was_refused {
            compare("", then, now);
        }
        if self.first_line.as_ref().is_some_and(|line| *line != record.raw) {
            differences.push("its late verdict belongs to another line".into());
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
            // Version 1 of a segment has no signed identity.
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

/// The differences between the pieces of a long line and its record.
fn pieces(found: &LineDigest, whole: &WholeLine) -> Vec<String> {
    let mut differences = Vec::new();
    if whole.bytes != Some(found.bytes) {
        let recorded = whole.bytes.unwrap_or_default();
        differences.push(format!(
            "recorded a line of {recorded} bytes, found {} bytes in pieces",
            found.bytes
        ));
    }
    if whole.sha256.is_some_and(|sha256| sha256 != found.sha256) {
        differences.push("the SHA-256 of the pieces of its line is not the recorded one".into());
    }
    if !found.begins {
        differences.push("its line and the pieces of it begin differently".into());
    }
    differences
}

/// The verdicts that are equivalent if no key verifies the entry.
const WITHOUT_KEY: &str = "no_key or invalid (no_matching_key)";

/// A verdict and its reason. If no key verifies an entry, several records are right: there may have
/// been no key when the entry was received, or its signature was not tried.
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

/// The warnings that the line alone gives. The others depend on the ids that an input expects, or on
/// other lines.
fn own(warnings: &[Warning]) -> String {
    let others = [Warning::ForeignOrg, Warning::ForeignPortal, Warning::SignatureMoved];
    let own = warnings.iter().filter(|warning| !others.contains(warning));
    format!("[{}]", Warning::join(&own.copied().collect::<Vec<_>>(), " "))
}
