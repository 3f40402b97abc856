//! Batches of entries, and the body of a request.
//!
//! Defined by: Konnect's deliveries (lines, joined by LF); RFC 8259 (arrays); `splunk` and `bulk`
//! name theirs. A raw line that is not UTF-8 cannot stand in JSON. It is `{"raw_base64":"…"}`
//! there, as in the JSON of an entry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::settings::{Body, HttpSettings};
use super::{bulk, splunk};
use crate::entry::{Record, VerdictName};
use crate::output::OutputFormat;

/// Encodes entries as the body of a request.
pub(super) struct BodyEncoder {
    settings: HttpSettings,
    format: OutputFormat,
}

/// An entry, and its part of the body.
pub(super) struct Entry {
    record: Record,
    body: Vec<u8>,
}

/// Identifies an entry in one state: its id and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryKey(Option<u64>, VerdictName);

impl EntryKey {
    pub(super) fn of(record: &Record) -> EntryKey {
        EntryKey(record.id(), record.verdict)
    }
}

impl Entry {
    pub(super) fn key(&self) -> EntryKey {
        EntryKey::of(&self.record)
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }
}

/// A batch of entries, in order.
#[derive(Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Batch {
    pub(super) fn push(&mut self, entry: Entry) {
        // With the separator.
        self.bytes = self.bytes.saturating_add(entry.body.len() + 1);
        self.entries.push(entry);
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The length of the body in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl BodyEncoder {
    pub(super) fn new(settings: &HttpSettings, format: OutputFormat) -> BodyEncoder {
        BodyEncoder { settings: settings.clone(), format }
    }

    /// Encodes one entry. `line` has its line end.
    pub(super) fn entry(&self, record: &Record, line: &[u8]) -> Entry {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let body = match self.settings.body {
            Body::Lines | Body::HecRaw => line.to_vec(),
            Body::Array | Body::LogsIngestion => self.element(line),
            Body::HecEvent => splunk::event(&self.settings, record, &self.element(line)),
            Body::Bulk => bulk::document(&self.settings, record, line),
        };
        Entry { record: record.clone(), body }
    }

    /// The body of a request with these entries.
    pub(super) fn join(&self, entries: &[Entry]) -> Vec<u8> {
        let bodies: Vec<&[u8]> = entries.iter().map(|entry| entry.body.as_slice()).collect();
        match self.settings.body {
            Body::Lines | Body::HecRaw | Body::HecEvent => bodies.join(&b'\n'),
            Body::Array | Body::LogsIngestion => {
                [b"[", bodies.join(&b',').as_slice(), b"]"].concat()
            }
            // Each part ends with a line end.
            Body::Bulk => bodies.concat(),
        }
    }

    /// How many bytes a body has more than its entries and a separator after each.
    pub(super) fn brackets(&self) -> usize {
        match self.settings.body {
            // Two brackets, but no separator after the last entry.
            Body::Array | Body::LogsIngestion => 1,
            Body::Lines | Body::HecRaw | Body::HecEvent | Body::Bulk => 0,
        }
    }

    /// A line as JSON: unchanged, or as a string.
    fn element(&self, line: &[u8]) -> Vec<u8> {
        if self.format != OutputFormat::Raw {
            return line.to_vec();
        }
        let element = match std::str::from_utf8(line) {
            Ok(text) => json!(text),
            Err(_) => json!({ "raw_base64": STANDARD.encode(line) }),
        };
        element.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::http::tests::settings;
    use crate::output::testing::record;

    /// Checks the body of two entries.
    fn check(keys: &str, lines: [&[u8]; 2], expected: &str) {
        let (settings, format) = settings("https://a.test/", keys);
        let encoder = BodyEncoder::new(&settings, format);
        let mut batch = Batch::default();
        for (id, line) in (1..).zip(lines) {
            let mut record = record(id, 1_750_280_556_001);
            record.raw = b"abc".to_vec();
            record.kid = Some("k".into());
            batch.push(encoder.entry(&record, &[line, b"\n"].concat()));
        }
        let body = encoder.join(batch.entries());
        assert_eq!(String::from_utf8_lossy(&body), expected, "{keys}");
        assert!(batch.bytes().abs_diff(body.len()) <= 2, "{} {}", batch.bytes(), body.len());
    }

    #[test]
    fn bodies_are_as_their_readers_expect_them() {
        let json: [&[u8]; 2] = [b"{\"a\":1}", b"{}"];
        let raw: [&[u8]; 2] = [b"one \"two\"", b"\xff"];
        check("format = 'raw'", [b"one", b"two"], "one\ntwo");
        check("", json, "{\"a\":1}\n{}");
        check("body = 'array'", json, "[{\"a\":1},{}]");
        check("body = 'array'\nformat = 'raw'", raw, r#"["one \"two\"",{"raw_base64":"/w=="}]"#);
        check("body = 'hec_raw'\nformat = 'raw'", [b"one", b"two"], "one\ntwo");
        let fields = |id| {
            format!(
                r#""fields":{{"vidimus_id":"{id}","vidimus_kid":"k","vidimus_kind":"access","vidimus_verdict":"valid"}}"#
            )
        };
        let (one, two) = (fields(1), fields(2));
        check(
            "body = 'hec_event'\nindex = 'main'\nhost = 'a\"b'",
            json,
            &format!(
                r#"{{"time":1750280556.001,"index":"main","host":"a\"b",{one},"event":{{"a":1}}}}
{{"time":1750280556.001,"index":"main","host":"a\"b",{two},"event":{{}}}}"#
            ),
        );
        check(
            "body = 'hec_event'\nformat = 'raw'",
            raw,
            &format!(
                r#"{{"time":1750280556.001,{one},"event":"one \"two\""}}
{{"time":1750280556.001,{two},"event":{{"raw_base64":"/w=="}}}}"#
            ),
        );
        // The beginning of the SHA-256 of the raw line "abc", not of the document.
        let id = "ba7816bf8f01cfea414140de5dae2223";
        check(
            "body = 'bulk'\nindex = 'audit'",
            json,
            &format!(
                "{{\"index\":{{\"_id\":\"{id}\",\"_index\":\"audit\"}}}}\n{{\"a\":1}}\n\
                 {{\"index\":{{\"_id\":\"{id}\",\"_index\":\"audit\"}}}}\n{{}}\n"
            ),
        );
    }
}
