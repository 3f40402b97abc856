//! An entry as JSON, as `query`, `tail`, `export`, `verify` and the API write it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Fields, Format, Kind, Millis, VerdictName, Warning};

/// An entry as it is shown. Properties that do not apply are omitted. Properties without a value
/// are `null`.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where the entry was read from.
    pub origin: Origin,
    /// The time to sort by.
    pub time: Option<Millis>,
    /// The format. A malformed line has none.
    pub format: Option<Format>,
    /// The kind of event. A malformed line has none.
    pub kind: Option<Kind>,
    /// The verdict.
    pub verdict: VerdictName,
    /// The reason for the verdict, as a word.
    pub reason: Option<String>,
    /// The `kid` of the key that verified the entry.
    pub kid: Option<String>,
    /// The warnings.
    pub warnings: Vec<Warning>,
    /// The fields.
    pub fields: Fields,
    /// The line as received, or its beginning if it is too long to be parsed.
    pub raw: Vec<u8>,
    /// The length and hash of the whole line, if `raw` has only its beginning.
    pub whole: Option<WholeLine>,
}

/// The length and hash of a line of which a [`Record`] has only the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeLine {
    /// The length in bytes. `None` if the line was not read to its end.
    pub bytes: Option<u64>,
    /// The SHA-256. `None` if it was not computed.
    pub sha256: Option<[u8; 32]>,
}

impl WholeLine {
    /// The SHA-256 in hexadecimal.
    pub fn sha256(&self) -> Option<String> {
        Some(HEXLOWER.encode(&self.sha256?))
    }
}

/// The first bytes of a line, at most `most`. A UTF-8 character is not split.
pub fn beginning(line: &[u8], most: usize) -> &[u8] {
    match line.get(..most) {
        Some(cut) if cut.len() < line.len() => without_torn_character(cut),
        _ => line,
    }
}

/// Removes an incomplete UTF-8 character at the end.
pub fn without_torn_character(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).unwrap_or(bytes)
        }
        _ => bytes,
    }
}

/// Where a [`Record`] was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The store.
    Stored {
        /// The id of the entry.
        id: u64,
        /// The input that received the entry.
        input: String,
        /// When the entry was first received.
        received_at: Millis,
        /// How often the entry was delivered.
        delivery_count: u64,
    },
    /// A file.
    File {
        /// `file:line`, counted from one.
        source: String,
    },
}

impl Record {
    /// The id, if the entry comes from the store.
    pub fn id(&self) -> Option<u64> {
        match self.origin {
            Origin::Stored { id, .. } => Some(id),
            Origin::File { .. } => None,
        }
    }

    /// When the entry was first received, if it comes from the store.
    pub fn received_at(&self) -> Option<Millis> {
        match self.origin {
            Origin::Stored { received_at, .. } => Some(received_at),
            Origin::File { .. } => None,
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.origin {
            Origin::Stored { id, input, received_at, .. } => {
                map.serialize_entry("id", id)?;
                map.serialize_entry("input", input)?;
                map.serialize_entry("received_at", received_at)?;
            }
            Origin::File { source } => map.serialize_entry("source", source)?,
        }
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("format", Format::word(self.format))?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("verdict", &self.verdict)?;
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("kid", &self.kid)?;
        map.serialize_entry("warnings", &self.warnings)?;
        if let Origin::Stored { delivery_count, .. } = &self.origin {
            map.serialize_entry("delivery_count", delivery_count)?;
        }
        map.serialize_entry("fields", &self.fields)?;
        match std::str::from_utf8(&self.raw) {
            Ok(raw) => map.serialize_entry("raw", raw)?,
            Err(_) => map.serialize_entry("raw_base64", &STANDARD.encode(&self.raw))?,
        }
        if let Some(whole) = &self.whole {
            map.serialize_entry("raw_truncated", &true)?;
            if let Some(bytes) = whole.bytes {
                map.serialize_entry("raw_bytes", &bytes)?;
            }
            if let Some(sha256) = whole.sha256() {
                map.serialize_entry("raw_sha256", &sha256)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_shape_of_the_contract() {
        let mut record = Record {
            origin: Origin::Stored {
                id: 17,
                input: "default".into(),
                received_at: Millis::MIN,
                delivery_count: 1,
            },
            time: Some(Millis::MIN),
            format: None,
            kind: None,
            verdict: VerdictName::Malformed,
            reason: Some("unknown_format".into()),
            kid: None,
            warnings: vec![],
            fields: Fields::default(),
            raw: b"x".to_vec(),
            whole: None,
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"id":17,"input":"default","received_at":"1970-01-01T00:00:00.000Z","time":"1970-01-01T00:00:00.000Z","format":"unknown","kind":null,"verdict":"malformed","reason":"unknown_format","kid":null,"warnings":[],"delivery_count":1,"fields":{},"raw":"x"}"#
        );
        record.origin = Origin::File { source: "a:1".into() };
        record.raw = b"\xff".to_vec();
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"source":"a:1","time":"1970-01-01T00:00:00.000Z","format":"unknown","kind":null,"verdict":"malformed","reason":"unknown_format","kid":null,"warnings":[],"fields":{},"raw_base64":"/w=="}"#
        );
        record.whole = Some(WholeLine { bytes: Some(300), sha256: Some([0xab; 32]) });
        let json = serde_json::to_string(&record).unwrap();
        let sha256 = "ab".repeat(32);
        let end = format!(r#","raw_truncated":true,"raw_bytes":300,"raw_sha256":"{sha256}"}}"#);
        assert!(json.ends_with(&end), "{json}");
        record.whole = Some(WholeLine { bytes: None, sha256: None });
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.ends_with(r#","raw_truncated":true}"#), "{json}");
    }

    #[test]
    fn a_beginning_ends_between_characters() {
        let check = |line: &[u8], most: usize, expected: &[u8]| {
            assert_eq!(beginning(line, most), expected, "{} {most}", line.escape_ascii());
        };
        check(b"abc", 3, b"abc");
        check(b"abc", 9, b"abc");
        check(b"abc", 2, b"ab");
        check("aäb".as_bytes(), 2, b"a");
        check("aäb".as_bytes(), 3, "aä".as_bytes());
        check("\u{1f600}".as_bytes(), 3, b"");
        check("\u{1f600}x".as_bytes(), 4, "\u{1f600}".as_bytes());
        // Bytes that are not UTF-8 are split anywhere.
        check(&[0x80; 9], 5, &[0x80; 5]);
        check(b"\0\0\0", 1, b"\0");
    }
}
