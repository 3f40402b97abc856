//! How an entry is written: one line, with its line end, in the format that is asked for.
//!
//! `raw` is the line as received; `json` the shape that `vidimus query -o jsonl` prints; `ecs` the
//! Elastic Common Schema; `ocsf` the Open Cybersecurity Schema Framework.

mod ecs;
mod mapping;
mod ocsf;
#[cfg(test)]
mod tests;

use crate::entry::words::words;
use crate::entry::{Record, VerdictName};
use crate::output::settings::NotValid;

words! {
    /// The formats of outputs.
    pub enum OutputFormat {
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

impl OutputFormat {
    /// Appends the entry to `line`, without a line end. There is none within it either.
    pub fn write(self, record: &Record, line: &mut Vec<u8>) {
        match self {
            OutputFormat::Raw if !record.raw.contains(&b'\n') => {
                line.extend_from_slice(&record.raw)
            }
            // Somebody edited the store by hand.
            OutputFormat::Raw => line.extend(record.raw.iter().filter(|byte| **byte != b'\n')),
            // Every key is text, so this cannot fail, and JSON escapes line ends.
            OutputFormat::Json => drop(serde_json::to_writer(line, record)),
            OutputFormat::Ecs => ecs::write(record, line),
            OutputFormat::Ocsf => ocsf::write(record, line),
        }
    }

    /// Appends the entry and a line end, with its verdict before it where that is to be marked and
    /// the format does not tell it.
    pub fn write_line(self, record: &Record, not_valid: NotValid, line: &mut Vec<u8>) {
        let is_valid = record.verdict == VerdictName::Valid;
        if self == OutputFormat::Raw && not_valid == NotValid::Mark && !is_valid {
            line.extend_from_slice(b"[vidimus verdict=");
            line.extend_from_slice(record.verdict.as_str().as_bytes());
            line.extend_from_slice(b"] ");
        }
        self.write(record, line);
        line.push(b'\n');
    }
}
