//! Turns a decoded body into entries.
//!
//! There are two steps, because a body may be large. [`Batch::new`] checks every line and keeps a
//! few bytes about each. [`Batch::entries`] then reads the fields, one line at a time, from the
//! payload that was verified.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use rayon::prelude::*;
use ring::digest;

use crate::entry::layout::MAX_LINE;
use crate::entry::lines;
use crate::entry::payload::ParsedPayload;
use crate::entry::record::{Origin, Record, WholeLine, beginning};
use crate::entry::time::{self, ParsedTime};
use crate::entry::{Fields, Format, Kind, Layout, Malformed, Millis, Warning};
use crate::signature::verdict::SignatureCheck;
use crate::signature::{
    self, FailureBudget, KeySet, MAX_FAILED_VERIFICATIONS, Payload, Pieces, Seed, Verdict,
};

/// The first 16 bytes of a SHA-256. It identifies a line as received, or what is signed in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of a line. It covers the signature too: otherwise a payload that was
    /// delivered first with a broken signature would displace the genuine entry.
    pub fn of(line: &[u8]) -> Fingerprint {
        Fingerprint::cut(digest::digest(&digest::SHA256, line).as_ref())
    }

    /// The signed identity: the fingerprint of the signed payload and its signature. Lines that
    /// differ only outside the signed payload have the same signed identity.
    pub fn of_signed(line: &str, payload: &Payload, signature: &[u8; 64]) -> Fingerprint {
        let Pieces { head, tail, .. } = payload.pieces(line);
        let mut context = digest::Context::new(&digest::SHA256);
        [head.as_bytes(), tail.as_bytes(), signature]
            .into_iter()
            .for_each(|part| context.update(part));
        Fingerprint::cut(context.finish().as_ref())
    }

    /// The fingerprint that belongs to a SHA-256.
    pub fn cut(sha256: &[u8]) -> Fingerprint {
        let mut fingerprint = Fingerprint([0; 16]);
        fingerprint.0.iter_mut().zip(sha256).for_each(|(to, from)| *to = *from);
        fingerprint
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The organizations and Dev Portals whose entries an input expects. An empty list accepts all.
#[derive(Clone, Debug, Default)]
pub struct ExpectedIds {
    /// Values of `org_id`. Other entries get the warning `foreign_org`.
    pub org_ids: Vec<String>,
    /// Values of `portal_id`. Other entries get the warning `foreign_portal`.
    pub portal_ids: Vec<String>,
}

/// A line that was checked and read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The line as received, without its line end.
    pub raw: Bytes,
    /// The fingerprint of the line.
    pub fingerprint: Fingerprint,
    /// The signed identity, if the entry is valid.
    pub signed: Option<Fingerprint>,
    /// The format. A malformed line has none.
    pub format: Option<Format>,
    /// The kind of event. A malformed line has none.
    pub kind: Option<Kind>,
    /// The verdict.
    pub verdict: Verdict,
    /// The warnings.
    pub warnings: Vec<Warning>,
    /// The time of the event, as far as the entry alone tells it.
    pub event_time: Option<Millis>,
    /// The time to sort by: the time of the event, or else the time in `event_ts` with the year
    /// guessed, or else `received_at`.
    pub time: Millis,
    /// The fields, read from the payload that was verified.
    pub fields: Fields,
    /// What is known of a line that is too long to be parsed.
    pub too_long: Option<TooLong>,
}

/// A line that is too long to be parsed.
#[derive(Clone, Copy, Debug)]
pub struct TooLong {
    /// The maximum number of bytes that are kept with the entry.
    most: usize,
    /// The SHA-256 of the line.
    pub sha256: [u8; 32],
}

impl Entry {
    /// The bytes that are kept with the entry: the line, or the beginning of a line that is too
    /// long.
    pub fn kept(&self) -> &[u8] {
        self.too_long.map_or(&self.raw, |too_long| beginning(&self.raw, too_long.most))
    }

    /// The length and hash of a line that is too long.
    pub fn whole(&self) -> Option<WholeLine> {
        let sha256 = Some(self.too_long?.sha256);
        Some(WholeLine { bytes: Some(self.raw.len() as u64), sha256 })
    }

    /// The time that the entry itself states. If it has no year, the newest year up to `now` is
    /// taken. This is for entries whose time of receipt is unknown.
    pub fn own_time(&self, now: Millis) -> Option<Millis> {
        self.event_time.or_else(|| match time::parse(self.fields.text("event_ts")?) {
            ParsedTime::NoYear(written) => time::guess_year(written, now),
            ParsedTime::Full(_) | ParsedTime::OutOfRange | ParsedTime::NotATime => None,
        })
    }

    /// The entry as a [`Record`], with its origin and the time to sort by.
    pub fn into_record(self, origin: Origin, time: Option<Millis>) -> Record {
        let (raw, whole) = (self.kept().to_vec(), self.whole());
        Record {
            origin,
            time,
            format: self.format,
            kind: self.kind,
            verdict: self.verdict.name(),
            reason: self.verdict.reason().map(str::to_owned),
            kid: self.verdict.proof().map(|proof| proof.key().kid().to_owned()),
            warnings: self.warnings,
            fields: self.fields,
            raw,
            whole,
        }
    }
}

/// A line that was checked but not read yet.
#[derive(Clone, Debug)]
pub struct CheckedLine {
    format: Option<Format>,
    verdict: Verdict,
    /// `None` if the line is malformed.
    payload: Option<Payload>,
    /// The signed identity, if the entry is valid.
    signed: Option<Fingerprint>,
    repeated_sig: bool,
    /// The maximum number of bytes to keep, if the line is too long.
    too_long: Option<usize>,
}

impl CheckedLine {
    /// Checks a line. A line longer than `max_line` bytes is malformed.
    pub fn new(line: &[u8], keys: &KeySet, max_line: usize) -> CheckedLine {
        let layout = Layout::of(line, max_line);
        let check = layout.as_ref().map_err(|why| *why);
        CheckedLine::of(check.and_then(|one| Ok((one, signature::check(one, keys)?))), max_line)
    }

    /// Checks lines like [`CheckedLine::new`], with the same results, within the budget of their
    /// delivery. Their signatures are verified in batches.
    pub fn all<'a>(
        lines: impl IntoIterator<Item = &'a [u8]>,
        keys: &KeySet,
        max_line: usize,
        budget: &FailureBudget,
        seed: &Seed,
    ) -> Vec<CheckedLine> {
        let layouts: Vec<_> = lines.into_iter().map(|line| Layout::of(line, max_line)).collect();
        let checks = signature::check_all(&layouts, keys, budget, seed);
        let checked = layouts.iter().zip(checks).map(|(layout, check)| {
            let layout = layout.as_ref().map_err(|why| *why);
            CheckedLine::of(layout.and_then(|layout| Ok((layout, check?))), max_line)
        });
        checked.collect()
    }

    /// Checks lines like [`CheckedLine::all`], each with its own keys. Lines with the same set, by
    /// its address, are verified in one batch. The number of failures has no limit.
    pub fn each(lines: &[(&[u8], &KeySet)], max_line: usize, seed: &Seed) -> Vec<CheckedLine> {
        let budget = FailureBudget::unlimited();
        let mut checked = Vec::with_capacity(lines.len());
        let mut left: Vec<_> = lines.iter().copied().enumerate().collect();
        while let Some((_, (_, keys))) = left.first().copied() {
            let (same, others): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(_, (_, other))| std::ptr::eq(*other, keys));
            let texts = same.iter().map(|(_, (line, _))| *line);
            let all = CheckedLine::all(texts, keys, max_line, &budget, seed);
            checked.extend(same.iter().map(|(at, _)| *at).zip(all));
            left = others;
        }
        checked.sort_unstable_by_key(|(at, _)| *at);
        checked.into_iter().map(|(_, checked)| checked).collect()
    }

    /// Checks a line that was pulled from Konnect's API. What its `signature` covers is not known, so
    /// it is unsigned.
    pub fn pulled(line: &[u8], max_line: usize) -> CheckedLine {
        let pulled = |layout: &Layout<'_>| match layout.format() {
            Format::Cef => Err(Malformed::OtherFormat),
            _ => Ok(Payload::unsigned(layout.line, Format::Pulled)),
        };
        let layout = Layout::of(line, max_line);
        match layout.as_ref().map_err(|why| *why).and_then(pulled) {
            Ok(payload) => CheckedLine {
                format: Some(Format::Pulled),
                verdict: Verdict::Unsigned,
                payload: Some(payload),
                signed: None,
                repeated_sig: false,
                too_long: None,
            },
            Err(why) => CheckedLine::of(Err(why), max_line),
        }
    }

    fn of(check: Result<(&Layout<'_>, SignatureCheck), Malformed>, max_line: usize) -> CheckedLine {
        match check {
            Ok((layout, SignatureCheck { verdict, payload, signature, repeated_sig })) => {
                let signature = signature.filter(|_| verdict.proof().is_some());
                let signed = signature
                    .map(|signature| Fingerprint::of_signed(layout.line, &payload, &signature));
                CheckedLine {
                    format: Some(layout.format()),
                    verdict,
                    payload: Some(payload),
                    signed,
                    repeated_sig,
                    too_long: None,
                }
            }
            Err(why) => CheckedLine {
                format: None,
                verdict: Verdict::Malformed(why),
                payload: None,
                signed: None,
                repeated_sig: false,
                too_long: (why == Malformed::TooLong).then_some(max_line.min(MAX_LINE)),
            },
        }
    }

    /// The verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The signed identity, if the entry is valid.
    pub fn signed(&self) -> Option<Fingerprint> {
        self.signed
    }

    /// Whether the line is valid and its signature is odd, as [`signature::is_odd`] says. `line` is
    /// the line that was checked. This costs a verification with ring.
    pub fn is_odd(&self, line: &[u8]) -> bool {
        let (Some(proof), Some(payload)) = (self.verdict.proof(), &self.payload) else {
            return false;
        };
        Layout::of(line, line.len())
            .is_ok_and(|layout| signature::is_odd(&layout, payload, proof.key()))
    }

    /// Reads the fields. `raw` is the line that was checked.
    pub fn read(&self, raw: Bytes, expected: &ExpectedIds, received_at: Millis) -> Entry {
        let payload = self.payload.as_ref();
        let read = payload.and_then(|payload| {
            let line = std::str::from_utf8(&raw).ok()?;
            Some(ParsedPayload::new(&payload.text(line), payload.format))
        });
        let (kind, time) =
            (read.as_ref().map(ParsedPayload::kind), read.as_ref().map(|r| r.time(received_at)));
        let event_time = read.as_ref().and_then(|read| read.event_time);
        let (fields, mut warnings) = read.map(|r| (r.fields, r.warnings)).unwrap_or_default();
        if self.repeated_sig {
            Warning::DuplicateField.note(&mut warnings);
        }
        if self.verdict.proof().is_some_and(signature::Proof::is_retired) {
            Warning::RetiredKey.note(&mut warnings);
        }
        let foreign = |name: &str, expected: &[String]| {
            !expected.is_empty()
                && fields.text(name).is_some_and(|id| expected.iter().all(|one| one != id))
        };
        if foreign("org_id", &expected.org_ids) {
            Warning::ForeignOrg.note(&mut warnings);
        }
        if foreign("portal_id", &expected.portal_ids) {
            Warning::ForeignPortal.note(&mut warnings);
        }
        let digest = digest::digest(&digest::SHA256, &raw);
        let too_long = |most| TooLong { most, sha256: sha256(&digest) };
        Entry {
            fingerprint: Fingerprint::cut(digest.as_ref()),
            signed: self.signed,
            format: self.format,
            kind,
            verdict: self.verdict.clone(),
            warnings,
            event_time,
            time: time.unwrap_or(received_at),
            fields,
            too_long: self.too_long.map(too_long),
            raw,
        }
    }
}

/// A SHA-256 as an array.
pub fn sha256(digest: &digest::Digest) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    sha256
}

/// The caps on the lines of a body.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// The longest line that is parsed, in bytes. A longer line is malformed.
    pub max_line: usize,
    /// The maximum number of lines in a body. A body with more is refused.
    pub max_lines: usize,
}

/// The body has too many lines.
#[derive(Debug, thiserror::Error)]
#[error("the body has more than {0} lines")]
pub struct TooManyLines(pub usize);

/// How many lines a body has. Their signatures are not checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Lines that are not blank.
    pub received: u64,
    /// Those of them that cannot be entries, by the rules of [`Batch`]. It also finds lines whose
    /// signed payload has another format ([`Malformed::OtherFormat`]), which only a key shows.
    pub malformed: u64,
}

impl LineCounts {
    /// Counts the lines of a body.
    ///
    /// # Errors
    /// When there are more than the caps allow.
    pub fn of(body: &[u8], caps: Caps) -> Result<LineCounts, TooManyLines> {
        let mut counts = LineCounts::default();
        for range in lines(body) {
            counts.received += 1;
            if counts.received > caps.max_lines as u64 {
                return Err(TooManyLines(caps.max_lines));
            }
            let is_entry =
                body.get(range).is_some_and(|line| Layout::of(line, caps.max_line).is_ok());
            counts.malformed += u64::from(!is_entry);
        }
        Ok(counts)
    }
}

/// The maximum number of lines whose signatures are verified in one batch. The more, the less each
/// costs, and the longer the other threads may wait for the last one.
const MOST: usize = 256;

/// A body is split among the threads if each gets this many lines.
const LEAST: usize = 128;

/// A decoded body with a verdict for each of its lines.
#[derive(Clone, Debug)]
pub struct Batch {
    body: Bytes,
    ranges: Vec<Range<usize>>,
    /// The check of each line.
    checked: Vec<CheckedLine>,
}

impl Batch {
    /// Checks every line of a body, on all threads of the current rayon pool. After
    /// [`MAX_FAILED_VERIFICATIONS`] failures no more signatures are tried.
    pub fn new(body: Bytes, keys: &KeySet, caps: Caps, seed: &Seed) -> Result<Batch, TooManyLines> {
        Batch::with_budget(body, keys, caps, &FailureBudget::new(MAX_FAILED_VERIFICATIONS), seed)
    }

    /// Checks every line of a body within `budget`.
    pub fn with_budget(
        body: Bytes,
        keys: &KeySet,
        caps: Caps,
        budget: &FailureBudget,
        seed: &Seed,
    ) -> Result<Batch, TooManyLines> {
        let ranges: Vec<_> = lines(&body).take(caps.max_lines.saturating_add(1)).collect();
        if ranges.len() > caps.max_lines {
            return Err(TooManyLines(caps.max_lines));
        }
        let threads = rayon::current_num_threads();
        let slices = ranges.len().div_ceil(MOST * threads).max(1);
        let part = ranges.len().div_ceil(slices * threads).max(LEAST);
        let check = |ranges: &[Range<usize>]| {
            let lines = ranges.iter().map(|range| &body[range.clone()]);
            CheckedLine::all(lines, keys, caps.max_line, budget, seed)
        };
        // Between slices the threads turn to other bodies, so that a large body does not keep small
        // ones waiting.
        let mut checked = Vec::with_capacity(ranges.len());
        for slice in ranges.chunks(part * threads) {
            checked.par_extend(slice.par_chunks(part).flat_map_iter(check));
        }
        Ok(Batch { body, ranges, checked })
    }

    /// A batch of lines that were pulled from Konnect's API.
    pub fn pulled(body: Bytes, caps: Caps) -> Result<Batch, TooManyLines> {
        let ranges: Vec<_> = lines(&body).take(caps.max_lines.saturating_add(1)).collect();
        if ranges.len() > caps.max_lines {
            return Err(TooManyLines(caps.max_lines));
        }
        let check = |range: &Range<usize>| CheckedLine::pulled(&body[range.clone()], caps.max_line);
        let checked = ranges.iter().map(check).collect();
        Ok(Batch { body, ranges, checked })
    }

    /// The number of lines that are not blank.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether the body has no lines.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The verdict of each line, in order.
    pub fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.checked.iter().map(CheckedLine::verdict)
    }

    /// Reads all lines, in order and lazily.
    pub fn entries<'a>(
        &'a self,
        expected: &'a ExpectedIds,
        received_at: Millis,
    ) -> impl Iterator<Item = Entry> + 'a {
        self.ranges.iter().zip(&self.checked).map(move |(range, checked)| {
            checked.read(self.body.slice(range.clone()), expected, received_at)
        })
    }
}

#[cfg(test)]
mod tests;
