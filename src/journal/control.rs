//! The bytes of control objects: a header, and then JSON with a version. docs/journal.md lists them.

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::JournalError;
use super::header::{Header, Kind, Nonce};

/// The largest control object that is read, in bytes.
const MAX_SIZE: usize = 16 << 20;

/// The version of the JSON: the number 1. Other numbers are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(1)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Version, D::Error> {
        match u32::deserialize(from)? {
            1 => Ok(Version),
            other => Err(D::Error::custom(format!("version {other}, expected 1"))),
        }
    }
}

/// The JSON of an object that says nothing but that it is there.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Empty {
    version: Version,
}

/// A control object as bytes.
pub(super) fn encode(kind: Kind, nonce: Nonce, value: &impl Serialize) -> Bytes {
    let mut object = Header { kind, nonce }.to_bytes().to_vec();
    // A `Vec` takes every write, and the values have nothing that JSON cannot express.
    if let Err(error) = serde_json::to_writer(&mut object, value) {
        debug_assert!(false, "{error}");
    }
    object.into()
}

/// Reads the control object `key`. Its nonce says nothing to a reader.
///
/// # Errors
/// [`JournalError::Malformed`] if it is another kind of object, or none.
pub(super) fn parse<T: DeserializeOwned>(
    kind: Kind,
    key: &str,
    object: &[u8],
) -> Result<T, JournalError> {
    let malformed = |why: String| JournalError::Malformed { key: key.to_owned(), why };
    if object.len() > MAX_SIZE {
        let why = format!("it has {} bytes, expected at most {MAX_SIZE}", object.len());
        return Err(malformed(why));
    }
    let (header, json) = Header::parse(object).map_err(|error| malformed(error.to_string()))?;
    if header.kind != kind {
        return Err(malformed(format!("it is of the kind {:?}, expected {kind:?}", header.kind)));
    }
    serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kind_and_the_version_that_are_known_are_read() {
        let object = |json: &str| {
            let mut bytes =
                Header { kind: Kind::Retired, nonce: Nonce([1; 16]) }.to_bytes().to_vec();
            bytes.extend_from_slice(json.as_bytes());
            bytes
        };
        let check = |kind, object: &[u8], expected: &str| {
            let why = match parse::<Empty>(kind, "a/b", object) {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            assert!(why.contains(expected) && why.is_empty() == expected.is_empty(), "{why}");
        };
        check(Kind::Retired, &encode(Kind::Retired, Nonce([1; 16]), &Empty::default()), "");
        check(Kind::Retired, &object(r#"{"version":1,"later":[]}"#), "");
        check(Kind::Floor, &object(r#"{"version":1}"#), "kind Retired, expected Floor");
        check(Kind::Retired, &object(r#"{"version":2}"#), "version 2, expected 1");
        check(Kind::Retired, &object("{}"), "missing field `version`");
        check(Kind::Retired, &object(""), "EOF");
        check(Kind::Retired, b"short", "it has 5 bytes");
        check(Kind::Retired, &vec![0; MAX_SIZE + 1], "expected at most");
    }
}
