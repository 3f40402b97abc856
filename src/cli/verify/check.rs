//! Checks a block of lines on all threads, and returns the output and the counts.

use std::io::Write;

use bytes::Bytes;
use rayon::prelude::*;

use super::super::input::blocks::{Block, Line, MAX_KEPT};
use super::super::input::member::{NoLine, line_in};
use super::super::print::PrintFormat;
use super::super::terminal::sanitise;
use super::tally::Tally;
use crate::entry::layout::MAX_LINE;
use crate::entry::record::{Origin, WholeLine, beginning};
use crate::entry::{Fields, Millis, Record, VerdictName, Warning};
use crate::ingest::{CheckedLine, ExpectedIds};
use crate::signature::{FailureBudget, KeySet, Seed, Verdict};

/// The number of lines per task, which are verified in one batch. More lines would cost less each,
/// but the threads would not finish a block at about the same time.
const CHUNK: usize = 256;

/// The settings of a check.
pub(super) struct Check {
    pub(super) keys: KeySet,
    pub(super) expected: ExpectedIds,
    pub(super) output: PrintFormat,
    pub(super) allow_unsigned: bool,
    /// Whether valid signatures are also verified with ring.
    pub(super) strict: bool,
    /// The member or column with the line.
    pub(super) field: Option<String>,
    /// The current time, to complete times without a year.
    pub(super) now: Millis,
    pub(super) seed: Seed,
}

/// Lines of a file.
pub(super) struct Lines {
    /// The name of the file as given.
    pub(super) file: String,
    pub(super) block: Block,
    /// Whether the lines are JSON objects that contain the lines to check.
    pub(super) wrapped: bool,
}

impl Check {
    /// Checks the lines. Returns the output in order, and the counts.
    pub(super) fn lines(&self, lines: &Lines) -> (Vec<Vec<u8>>, Tally) {
        let chunks = lines.block.lines.par_chunks(CHUNK).map(|chunk| {
            let (mut out, mut tally) = (Vec::new(), Tally::default());
            self.chunk(lines, chunk, &mut out, &mut tally);
            (out, tally)
        });
        let chunks: Vec<_> = chunks.collect();
        let mut all = Tally::default();
        chunks.iter().for_each(|(_, tally)| all.merge(tally));
        (chunks.into_iter().map(|(out, _)| out).filter(|out| !out.is_empty()).collect(), all)
    }

    /// Checks lines in one batch.
    fn chunk(&self, lines: &Lines, chunk: &[Line], out: &mut Vec<u8>, tally: &mut Tally) {
        // Without a field, only records of Vidimus are wrapped.
        let field = self.field.as_deref().unwrap_or("raw");
        let unwrapped: Vec<Result<Bytes, NoLine>> = chunk
            .iter()
            .map(|line| match lines.wrapped {
                true => line_in(lines.block.text(line), field).map(Bytes::from),
                false => Ok(lines.block.line(line)),
            })
            .collect();
        let texts = unwrapped.iter().flatten().map(AsRef::as_ref);
        let budget = FailureBudget::unlimited();
        let checked = CheckedLine::all(texts, &self.keys, MAX_LINE, &budget, &self.seed);
        let mut checked = checked.into_iter();
        for (line, unwrapped) in chunk.iter().zip(unwrapped) {
            let source = || format!("{}:{}", lines.file, line.number);
            match unwrapped.map(|raw| checked.next().map(|checked| (raw, checked))) {
                Ok(Some((raw, checked))) => self.line(source, raw, &checked, out, tally),
                Ok(None) => {}
                Err(why) => {
                    tally.count_malformed(why.as_str());
                    self.write_missing_line(source(), why, lines.block.line(line), out);
                }
            }
        }
    }

    fn line(
        &self,
        source: impl Fn() -> String,
        raw: Bytes,
        checked: &CheckedLine,
        out: &mut Vec<u8>,
        tally: &mut Tally,
    ) {
        let verdict = checked.verdict();
        let fine = self.is_acceptable(verdict);
        tally.count(verdict, fine);
        let is_odd = self.strict && checked.is_odd(&raw);
        // Skip reading the fields if they are not needed.
        let anybody = self.expected.org_ids.is_empty() && self.expected.portal_ids.is_empty();
        if self.output == PrintFormat::Text && anybody && !is_odd {
            if !fine {
                self.write_text(source(), verdict, &[], out);
            }
            return;
        }
        let mut entry = checked.read(raw, &self.expected, self.now);
        if is_odd {
            Warning::OddSignature.note(&mut entry.warnings);
        }
        entry.warnings.iter().for_each(|warning| tally.count_warning(*warning));
        match self.output {
            PrintFormat::Jsonl => {
                let time = entry.own_time(self.now);
                let origin = Origin::File { source: source() };
                let is_cut = entry.raw.len() >= MAX_KEPT;
                let mut record = entry.into_record(origin, time);
                if is_cut {
                    // The rest was not read.
                    record.whole = Some(WholeLine { bytes: None, sha256: None });
                }
                write_record(&record, out);
            }
            PrintFormat::Text => {
                // The others were not asked for.
                let listed = [Warning::ForeignOrg, Warning::ForeignPortal, Warning::OddSignature];
                let is_listed = |one: &&Warning| listed.contains(one);
                let warnings: Vec<_> = entry.warnings.iter().filter(is_listed).copied().collect();
                if !fine || !warnings.is_empty() {
                    self.write_text(source(), verdict, &warnings, out);
                }
            }
        }
    }

    /// Whether a verdict is acceptable.
    fn is_acceptable(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Valid(_) => true,
            Verdict::Unsigned => self.allow_unsigned,
            Verdict::Invalid(_) | Verdict::NoKey | Verdict::Malformed(_) => false,
        }
    }

    fn write_text(&self, source: String, verdict: &Verdict, notes: &[Warning], out: &mut Vec<u8>) {
        let mut text = format!("{source} {}", verdict.name());
        let notes = notes.iter().map(|warning| warning.as_str());
        verdict.reason().into_iter().chain(notes).for_each(|word| {
            text.push(' ');
            text.push_str(word);
        });
        write_line(&text, out);
    }

    fn write_missing_line(&self, source: String, why: NoLine, raw: Bytes, out: &mut Vec<u8>) {
        match self.output {
            PrintFormat::Text => {
                write_line(&format!("{source} {} {why}", VerdictName::Malformed), out)
            }
            PrintFormat::Jsonl => write_record(
                &Record {
                    origin: Origin::File { source },
                    time: None,
                    format: None,
                    kind: None,
                    verdict: VerdictName::Malformed,
                    reason: Some(why.to_string()),
                    kid: None,
                    warnings: Vec::new(),
                    fields: Fields::default(),
                    raw: beginning(&raw, MAX_LINE).to_vec(),
                    whole: (raw.len() > MAX_LINE)
                        .then_some(WholeLine { bytes: None, sha256: None }),
                },
                out,
            ),
        }
    }
}

fn write_line(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(sanitise(text).as_bytes());
    out.push(b'\n');
}

fn write_record(record: &Record, out: &mut Vec<u8>) {
    // This cannot fail: the writer is memory, and all keys of a record are strings.
    let _ = serde_json::to_writer(&mut *out, record);
    let _ = out.write_all(b"\n");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::input::blocks::Blocks;
    use super::*;
    use crate::entry::Format;
    use crate::konnect::sign::{Signer, place};

    fn check(field: Option<&str>, output: PrintFormat, key: &Signer) -> Check {
        Check {
            keys: KeySet::new([Arc::new(key.key().clone())]),
            expected: ExpectedIds::default(),
            output,
            allow_unsigned: false,
            strict: false,
            field: field.map(str::to_owned),
            now: Millis::saturating(1_750_280_466_889),
            seed: Seed::new([7; 32]),
        }
    }

    fn run(check: &Check, text: &str, wrapped: bool) -> (String, Tally) {
        let mut blocks = Blocks::new(text.as_bytes());
        let block = blocks.next().unwrap().unwrap();
        let (out, tally) = check.lines(&Lines { file: "f".into(), block, wrapped });
        (String::from_utf8(out.concat()).unwrap(), tally)
    }

    fn signer() -> Signer {
        Signer::generate(Some("k".into())).unwrap().0
    }

    /// A signed line.
    fn signed(signer: &Signer, text: &str) -> String {
        place(Format::Cef, text, Some(&signer.signature(text)))
    }

    const TEXT: &str = "Apr 14 05:39:08 h CEF:0|a|b|c|d|Ingress|5|org_id=o x=\x1b";

    #[test]
    fn text_lists_entries_that_are_not_valid_and_is_sanitised() {
        let signer = signer();
        let valid = signed(&signer, TEXT);
        let lines =
            format!("{valid}\n\nhello\n{TEXT}\n{}\n", valid.replace("org_id=o", "org_id=p"));
        let mut check = check(None, PrintFormat::Text, &signer);
        let (out, tally) = run(&check, &lines, false);
        assert_eq!(
            out,
            "f:3 malformed unknown_format\nf:4 unsigned\nf:5 invalid no_matching_key\n"
        );
        assert!(tally.is_negative());
        check.allow_unsigned = true;
        assert!(!run(&check, &lines, false).0.contains("unsigned"));
        check.expected.org_ids.push("other".into());
        let (out, _) = run(&check, &lines, false);
        assert!(out.starts_with("f:1 valid foreign_org\nf:3 malformed"), "{out}");
        let hostile = Lines {
            file: "\x1b[2J".into(),
            block: Blocks::new(&b"x"[..]).next().unwrap().unwrap(),
            wrapped: false,
        };
        let out = check.lines(&hostile).0.concat();
        assert_eq!(String::from_utf8(out).unwrap(), "\u{fffd}[2J:1 malformed unknown_format\n");
    }

    #[test]
    fn jsonl_has_a_record_for_each_line() {
        let signer = signer();
        let check = check(None, PrintFormat::Jsonl, &signer);
        let lines = format!("{}\n{{\"a\":1}}\n\nhello\n", signed(&signer, TEXT));
        let (out, tally) = run(&check, &lines, false);
        let records: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0]["source"], "f:1");
        assert_eq!(records[0]["verdict"], "valid");
        assert_eq!(records[0]["kid"], "k");
        assert_eq!(records[0]["fields"]["org_id"], "o");
        assert_eq!(records[0]["time"], "2025-04-14T05:39:08.000Z");
        assert_eq!(records[0]["raw"], signed(&signer, TEXT));
        assert_eq!(records[1]["time"], serde_json::Value::Null);
        assert_eq!(records[2]["source"], "f:4");
        assert_eq!(records[2]["kind"], serde_json::Value::Null);
        assert!(records.iter().all(|record| record.get("id").is_none()));
        assert!(tally.is_negative());
    }

    #[test]
    fn a_wrapped_line_is_checked_like_a_plain_one() {
        let signer = signer();
        let wrapped = serde_json::json!({"_raw": signed(&signer, TEXT)}).to_string();
        let check = check(Some("_raw"), PrintFormat::Text, &signer);
        let (out, tally) = run(&check, &wrapped, true);
        assert_eq!(out, "");
        assert!(!tally.is_negative());
        let (out, tally) = run(&check, "{\"raw\":\"x\"}\nx\n", true);
        assert_eq!(out, "f:1 malformed field_not_found\nf:2 malformed wrapper_not_json\n");
        assert!(tally.is_negative());
    }
}
