//! Compares an entry as recorded with the result of reading its line again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::keys::Trusted;
use crate::entry::record::{Origin, WholeLine};
use crate::entry::{Fields, Format, Kind, Malformed, Millis, Record, VerdictName, Warning};
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
    more: More,
    /// The line in the segment, if the overlay has a changed version.
    first_line: Option<Vec<u8>>,
    /// Whether another entry is shown instead.
    hidden: bool,
    /// The result of reading the pieces of a long line.
    found: Option<LineDigest>,
}

/// What is recorded of an entry and is not part of its record.
struct More {
    event_time: i64,
    fingerprint: Vec<u8>,
    covers: Option<String>,
    thumbprint: Option<String>,
    /// The columns with words that no version wrote, which are read as if they were not there.
    unknown_words: Vec<String>,
    signed: Option<Vec<u8>>,
}

/// Entries of a segment in their current versions.
pub(super) struct Part {
    pub(super) entries: Vec<Recorded>,
    /// The id after them.
    pub(super) next: u64,
}

/// The overlaid entries among some ids.
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

impl Part {
    /// Reads the first of these entries of a segment, as many as the budget allows.
    pub(super) fn read(
        segment: &Database,
        ids: RangeInclusive<u64>,
        Overlaid { mut now, end }: Overlaid,
    ) -> rusqlite::Result<Part> {
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
        Ok(Part { entries, next: left.first().copied().unwrap_or(next) })
    }
}

/// Reads these entries.
fn recorded(entries: &impl Entries, ids: &[u64]) -> rusqlite::Result<Vec<Recorded>> {
    let values = format!(
        "event_time, fingerprint, covers,
         (SELECT thumbprint FROM keys WHERE keys.id = entries.key),
         verdict, coalesce(warnings, ''), coalesce(kind, ''), format, {}",
        entries.columns().expression("signed")
    );
    let read =
        entries.records_with(&values, &Sql::from("1"), &Ids::of(ids), |record, row, at| {
            let words = ["verdict", "warnings", "kind", "format"].into_iter().zip(words(record));
            let mut unknown_words = Vec::new();
            for (at, (column, read)) in (at + 4..).zip(words) {
                let recorded = row.get_ref(at)?.as_str()?;
                if recorded != read {
                    unknown_words.push(format!("its column {column} has {recorded:?}"));
                }
            }
            Ok(More {
                event_time: row.get(at)?,
                fingerprint: row.get(at + 1)?,
                covers: row.get(at + 2)?,
                thumbprint: row.get(at + 3)?,
                unknown_words,
                signed: row.get(at + 8)?,
            })
        })?;
    let of =
        |(record, more)| Recorded { record, more, first_line: None, hidden: false, found: None };
    Ok(read.into_iter().map(of).collect())
}

/// The words of a record as its columns have them.
fn words(record: &Record) -> [Cow<'static, str>; 4] {
    let Record { verdict, warnings, kind, format, .. } = record;
    [
        verdict.as_str().into(),
        Warning::join(warnings, " ").into(),
        kind.map_or("", Kind::as_str).into(),
        Format::word(*format).into(),
    ]
}

/// What was found of an entry.
pub(super) struct Found {
    pub(super) id: u64,
    /// The differences from the record.
    pub(super) differences: Vec<String>,
    /// Whether its signature is odd, if that was looked for.
    pub(super) is_odd: bool,
}

/// Reads the lines of entries again with the keys that may verify them. `strict` is whether to look
/// for odd signatures.
pub(super) fn check(
    entries: Vec<Recorded>,
    trusted: &Trusted,
    seed: &Seed,
    strict: bool,
) -> Vec<Found> {
    let none = KeySet::default();
    let verify = |which: &[usize], any: bool| {
        let lines: Vec<(&[u8], &KeySet)> = which
            .iter()
            .filter_map(|at| entries.get(*at))
            .map(|one| {
                let received_at = one.received_at();
                let keys = match any {
                    true => trusted.any(received_at),
                    false => trusted.of(one.input(), received_at),
                };
                (&one.record.raw[..], keys.unwrap_or(&none))
            })
            .collect();
        CheckedLine::each(&lines, usize::MAX, seed)
    };
    let mut checked: Vec<Option<CheckedLine>> =
        entries.iter().map(Recorded::without_keys).collect();
    let open = entries.iter().zip(&checked).enumerate();
    let open = open.filter(|(_, (one, checked))| !one.hidden && checked.is_none());
    let open: Vec<usize> = open.map(|(at, _)| at).collect();
    let mut enter = |which: &[usize], found: Vec<CheckedLine>| {
        for (at, found) in which.iter().zip(found) {
            checked[*at] = Some(found);
        }
    };
    let found = verify(&open, false);
    let is_valid = |at: &usize| entries[*at].record.verdict == VerdictName::Valid;
    let failed = open.iter().zip(&found).filter(|(_, found)| found.verdict().proof().is_none());
    let failed: Vec<usize> = failed.map(|(at, _)| *at).filter(is_valid).collect();
    enter(&open, found);
    if !failed.is_empty() {
        enter(&failed, verify(&failed, true));
    }
    entries.into_iter().zip(checked).map(|(one, checked)| one.found(checked, strict)).collect()
}

impl Recorded {
    pub(super) fn id(&self) -> u64 {
        self.record.id().unwrap_or_default()
    }

    /// The check of a line that needs no keys: one that was pulled, or was too long. That stays too
    /// long: the operator sets the longest line.
    fn without_keys(&self) -> Option<CheckedLine> {
        let line = &self.record.raw;
        if self.record.format == Some(Format::Pulled) && !self.hidden {
            return Some(CheckedLine::pulled(line, line.len()));
        }
        let is_too_long = self.record.reason.as_deref() == Some(Malformed::TooLong.as_str());
        (is_too_long && !self.hidden)
            .then(|| CheckedLine::new(line, &KeySet::default(), line.len().saturating_sub(1)))
    }

    /// Compares the record with the line, which was checked again. `None` if the entry is not shown.
    fn found(mut self, checked: Option<CheckedLine>, strict: bool) -> Found {
        let id = self.id();
        let Some(checked) = checked else {
            let fingerprint = Fingerprint::of(&self.record.raw);
            let differences = self.other_line(fingerprint).into_iter().collect();
            return Found { id, differences, is_odd: false };
        };
        let is_doubtful = strict || self.record.verdict == VerdictName::Invalid;
        let is_odd = is_doubtful && checked.is_odd(&self.record.raw);
        let line = Bytes::from(std::mem::take(&mut self.record.raw));
        let found = checked.read(line, &ExpectedIds::default(), self.received_at());
        Found { id, differences: self.compare(&found, is_odd), is_odd: strict && is_odd }
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

    /// The difference if the line, which has this fingerprint, does not match the recorded one.
    fn other_line(&self, fingerprint: Fingerprint) -> Option<String> {
        let found =
            self.found.as_ref().map_or(fingerprint, |found| Fingerprint::cut(&found.sha256));
        (found.0.as_slice() != self.more.fingerprint)
            .then(|| "its line does not match its fingerprint".into())
    }

    /// The differences from what was found. `is_odd` is whether the signature is odd.
    fn compare(&self, found: &Entry, is_odd: bool) -> Vec<String> {
        let Recorded { record, more, .. } = self;
        let mut differences = Differences(more.unknown_words.clone());
        let name = found.verdict.name();
        if (record.verdict, record.reason.as_deref()) != (name, found.verdict.reason()) {
            let now = verdict(name, found.verdict.reason());
            let then = match record.reason.as_deref() {
                // No key was tried.
                Some("not_tried") if now != WITHOUT_KEY => "invalid (not_tried)".into(),
                reason => verdict(record.verdict, reason),
            };
            // Earlier versions refused odd signatures.
            let was_refused =
                is_odd && record.verdict == VerdictName::Invalid && then == WITHOUT_KEY;
            if then != now && !was_refused {
                differences.0.push(format!("recorded {then}, found {now}"));
            }
        }
        if self.first_line.as_ref().is_some_and(|line| *line != found.raw) {
            differences.0.push("its late verdict belongs to another line".into());
        }
        differences.0.extend(self.other_line(found.fingerprint));
        if let (Some(found), Some(whole)) = (&self.found, &record.whole) {
            differences.0.extend(pieces(found, whole));
        }
        if record.verdict == VerdictName::Valid
            && let Some(proof) = found.verdict.proof()
        {
            let thumbprint = Some(proof.key().thumbprint().to_string());
            differences.compare("key", more.thumbprint.as_ref(), thumbprint.as_ref(), shown);
            let covers = Some(proof.coverage().as_str());
            differences.compare("coverage", more.covers.as_deref(), covers, shown);
            // Version 1 of a segment has no signed identity.
            if more.signed.is_some() {
                let signed = found.signed.as_ref().map(|signed| &signed.0[..]);
                let hex = |signed: Option<&[u8]>| shown(signed.map(|one| HEXLOWER.encode(one)));
                differences.compare("signed identity", more.signed.as_deref(), signed, hex);
            }
        }
        let word = |format| Format::word(format).to_owned();
        differences.compare("format", record.format, found.format, word);
        differences.compare("kind", record.kind, found.kind, shown);
        differences.compare("time", record.time, Some(found.time), shown);
        let event_time = found.event_time.map_or(0, Millis::get);
        let number = |time: i64| time.to_string();
        differences.compare("time of the event", more.event_time, event_time, number);
        let (recorded, now) = (own(&record.warnings), own(&found.warnings));
        differences.compare("warnings", &recorded, &now, |warnings: &Vec<Warning>| {
            format!("[{}]", Warning::join(warnings, " "))
        });
        let json = |fields: &Fields| serde_json::to_string(fields).unwrap_or_default();
        differences.compare("fields", &record.fields, &found.fields, json);
        differences.0
    }
}

/// Differences, as texts.
struct Differences(Vec<String>);

impl Differences {
    /// Notes a difference if the values are not equal.
    fn compare<T: PartialEq + Copy>(
        &mut self,
        what: &str,
        recorded: T,
        found: T,
        text: impl Fn(T) -> String,
    ) {
        if recorded != found {
            let (recorded, found) = (text(recorded), text(found));
            self.0.push(format!("recorded the {what} {recorded}, found {found}"));
        }
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

fn shown(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".into(), |value| value.to_string())
}

/// The warnings that the line alone gives. The others depend on the ids that an input expects, on when
/// it was received, or on other lines.
fn own(warnings: &[Warning]) -> Vec<Warning> {
    let others =
        [Warning::ForeignOrg, Warning::ForeignPortal, Warning::RetiredKey, Warning::SignatureMoved];
    warnings.iter().filter(|warning| !others.contains(warning)).copied().collect()
}
