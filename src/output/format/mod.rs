//! The formats in which an output writes an entry. Each is one line with a line end.
//!
//! `raw` is the line as received. `json` is what `vidimus query -o jsonl` prints. `ecs` is the
//! Elastic Common Schema. `ocsf` is the Open Cybersecurity Schema Framework. `sentinel` is a record of
//! the table for Microsoft Sentinel.

mod ecs;
mod mapping;
mod ocsf;
mod sentinel;
#[cfg(test)]
mod tests;

use crate::entry::words::words;
use crate::entry::{Record, VerdictName};
use crate::output::settings::NotValid;

words! {
    pub(crate) enum OutputFormat {
        /// The line as received.
        Raw = "raw",
        /// The JSON of the entry.
        Json = "json",
        /// The Elastic Common Schema.
        Ecs = "ecs",
        /// The Open Cybersecurity Schema Framework.
        Ocsf = "ocsf",
        /// A record of the table for Microsoft Sentinel.
        Sentinel = "sentinel",
    }
}

impl OutputFormat {
    /// Appends the entry to `line`. It contains no line end.
    pub(crate) fn write(self, record: &Record, line: &mut Vec<u8>) {
        match self {
            OutputFormat::Raw if !record.raw.contains(&b'\n') => {
                line.extend_from_slice(&record.raw)
            }
            // Somebody edited the store by hand.
            OutputFormat::Raw => line.extend(record.raw.iter().filter(|byte| **byte != b'\n')),
            // Every key is a string, so this cannot fail. JSON escapes line ends.
            OutputFormat::Json => drop(serde_json::to_writer(line, record)),
            OutputFormat::Ecs => ecs::write(record, line),
            OutputFormat::Ocsf => ocsf::write(record, line),
            OutputFormat::Sentinel => sentinel::write(record, line),
        }
    }

    /// Appends the entry and a line end. If verdicts are to be marked, a raw line has its verdict
    /// before it.
    pub(crate) fn write_line(self, record: &Record, not_valid: NotValid, line: &mut Vec<u8>) {
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
