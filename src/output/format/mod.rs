//! How an entry is written: one line, with its line end, in the format that is asked for.
//!
//! `raw` is the line as received; `json` the shape that `vidimus query -o jsonl` prints; `ecs` the
//! Elastic Common Schema; `ocsf` the Open Cybersecurity Schema Framework.

mod ecs;
mod mapped;
#[cfg(test)]
mod mapped_tests;
mod ocsf;

use crate::entry::words::words;
use crate::entry::{Record, VerdictName};
use crate::output::settings::NotValid;

words! {
    /// The formats of outputs.
    pub enum Format {
        /// The line as received.
        Raw = "raw",
        /// The entry's JSON.
        Json = "json",
        /// The Elastic Common Schema.
        Ecs = "ecs",
        /// The Open Cybersecurity Schema Framework.
        Ocsf = "ocsf",
    }
}

impl Format {
    /// Appends the entry to `line`, without a line end. There is none within it either.
    pub fn write(self, record: &Record, line: &mut Vec<u8>) {
        match self {
            Format::Raw if !record.raw.contains(&b'\n') => line.extend_from_slice(&record.raw),
            // Somebody edited the store by hand.
            Format::Raw => line.extend(record.raw.iter().filter(|byte| **byte != b'\n')),
            // Every key is text, so this cannot fail, and JSON escapes line ends.
            Format::Json => drop(serde_json::to_writer(line, record)),
            Format::Ecs => ecs::write(record, line),
            Format::Ocsf => ocsf::write(record, line),
        }
    }

    /// Appends the entry and a line end, with its verdict before it where that is to be marked and
    /// the format does not tell it.
    pub fn write_line(self, record: &Record, not_valid: NotValid, line: &mut Vec<u8>) {
        let is_valid = record.verdict == VerdictName::Valid;
        if self == Format::Raw && not_valid == NotValid::Mark && !is_valid {
            line.extend_from_slice(b"[vidimus verdict=");
            line.extend_from_slice(record.verdict.as_str().as_bytes());
            line.extend_from_slice(b"] ");
        }
        self.write(record, line);
        line.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::record;

    fn check(
        format: Format,
        not_valid: NotValid,
        verdict: VerdictName,
        raw: &[u8],
        expected: &str,
    ) {
        let mut record = record(7, 0);
        (record.verdict, record.raw) = (verdict, raw.to_vec());
        let mut line = b"before ".to_vec();
        format.write_line(&record, not_valid, &mut line);
        assert_eq!(String::from_utf8_lossy(&line), format!("before {expected}\n"));
    }

    #[test]
    fn a_raw_line_is_as_received_and_marked_only_if_asked() {
        use NotValid::{Forward, Mark};
        check(Format::Raw, Forward, VerdictName::Invalid, b"a b", "a b");
        check(Format::Raw, Mark, VerdictName::Valid, b"a b", "a b");
        check(Format::Raw, Mark, VerdictName::NoKey, b"a b", "[vidimus verdict=no_key] a b");
        check(Format::Raw, Mark, VerdictName::Valid, b"a\nb", "ab");
    }

    #[test]
    fn json_is_the_entry_and_one_line() {
        let mut record = record(7, 0);
        record.raw = b"a\n\"b".to_vec();
        let mut line = Vec::new();
        Format::Json.write_line(&record, NotValid::Mark, &mut line);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&json["id"], &json["raw"]), (&7.into(), &"a\n\"b".into()));
    }
}
