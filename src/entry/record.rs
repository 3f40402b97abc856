//! An entry as JSON: the one shape that `query`, `tail`, `export` and `verify` print.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Fields, Format, Kind, Millis};

/// An entry as it is shown. What is not known of it is left out; what it lacks is `null`.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it was read from.
    pub origin: Origin,
    /// The time that orders it.
    pub time: Option<Millis>,
    /// Its format.
    pub format: Format,
    /// The kind of event; `None` if it is malformed.
    pub kind: Option<Kind>,
    /// The name of its verdict.
    pub verdict: String,
    /// What more there is to say of the verdict, as a word.
    pub reason: Option<String>,
    /// The `kid` of the key that verified it.
    pub kid: Option<String>,
    /// The names of its warnings.
    pub warnings: Vec<String>,
    /// Its fields.
    pub fields: Fields,
    /// The line as received.
    pub raw: Vec<u8>,
}

/// Where a [`Record`] was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The store.
    Stored {
        /// Its number: dense and rising.
        id: u64,
        /// The input that received it.
        input: String,
        /// When it was received first.
        received_at: Millis,
        /// How often it was delivered.
        delivery_count: u64,
    },
    /// A file.
    File {
        /// `file:line`, counted from one.
        source: String,
    },
}

impl Record {
    /// Its number, if it is of the store.
    pub fn id(&self) -> Option<u64> {
        match self.origin {
            Origin::Stored { id, .. } => Some(id),
            Origin::File { .. } => None,
        }
    }

    /// When it was received first, if it is of the store.
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
        map.serialize_entry("format", &self.format)?;
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
            format: Format::Unknown,
            kind: None,
            verdict: "malformed".into(),
            reason: Some("unknown_format".into()),
            kid: None,
            warnings: vec![],
            fields: Fields::default(),
            raw: b"x".to_vec(),
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
    }
}
