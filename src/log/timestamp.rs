//! Time stamps (RFC 3161): once a day (UTC) a time-stamping authority is asked to sign the newest
//! checkpoint together with the time.
//!
//! `timestamps/SIZE.tsr` in the folder of the log is a response as it was received, over the bytes of
//! `timestamps/SIZE.note`: the checkpoint of SIZE leaves as it was then. It may have got more
//! cosignatures later.
//!
//! A response is checked as far as that can be done without trusting anybody: it is granted, and is
//! over this note and for this request. Its signature and its certificates are for the reader to
//! check, as `openssl ts -verify` does.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ring::digest::{SHA256, digest};
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

use super::LogError;
use super::error::FileContext;
use super::party::{Newest, Party, PartyStatus, Pauses, said};
use crate::clock::now;
use crate::entry::Millis;
use crate::entry::time::DAY;
use crate::net::{Client, ClientError};
use crate::private_file;
use crate::random::{NoRandomBytes, secret_bytes};
use crate::settings::HttpUrl;
use crate::tlog::FormatError;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::Note;

/// How often the day is looked at while no checkpoint is signed.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The object identifiers, without their headers: SHA-256 (RFC 8017 appendix B.1), signed data (RFC
/// 5652 section 5.1), and the contents of a time stamp (RFC 3161 section 2.4.2).
const ID_SHA256: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const ID_SIGNED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const ID_TST_INFO: [u8; 11] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];

/// A number that makes a response one for this request. Its first byte is neither 0 nor above 127, so
/// it is the contents of an INTEGER.
type Nonce = [u8; 8];

/// A request (RFC 3161 section 2.4.1) for a time stamp over a SHA-256, with the certificates of the
/// authority.
fn request(sha256: &[u8; 32], nonce: Nonce) -> Vec<u8> {
    [
        // TimeStampReq of 67 bytes, version 1.
        [0x30, 67, 0x02, 1, 1].as_slice(),
        // The message imprint of 49 bytes: SHA-256 without parameters, and the hash.
        &[0x30, 49, 0x30, 13, 0x06, 9],
        &ID_SHA256,
        &[0x05, 0, 0x04, 32],
        sha256,
        &[0x02, 8],
        &nonce,
        // certReq: TRUE.
        &[0x01, 1, 0xff],
    ]
    .concat()
}

/// Why there is no time stamp.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TimestampError {
    #[error(transparent)]
    Ask(#[from] ClientError),
    /// The status, and what was said.
    #[error("the time-stamping authority answered {0}, expected 200{1}")]
    Status(u16, String),
    /// The response has another format.
    #[error("the time-stamping authority answered without {0} (RFC 3161 section 2.4.2)")]
    Format(&'static str),
    /// The `PKIStatus`, and the text with it.
    #[error("the time-stamping authority refused with the status {0}, expected 0 (granted){1}")]
    Refused(u8, String),
    /// The response is over something else, or for another request.
    #[error("the time-stamping authority answered with another {0} than the request has")]
    Other(&'static str),
    /// The checkpoint cannot be read.
    #[error("the newest checkpoint: {0}")]
    Checkpoint(#[from] FormatError),
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a time stamp says, not verified.
#[derive(Debug, PartialEq, Eq)]
struct Timestamp<'a> {
    /// What it is over.
    sha256: &'a [u8],
    /// The contents of the INTEGER. Empty: there is none.
    nonce: &'a [u8],
    /// When it was made, by the clock of the authority.
    at: Millis,
}

/// Reads a response (RFC 3161 section 2.4.2) in DER. Nothing is verified.
fn read(response: &[u8]) -> Result<Timestamp<'_>, TimestampError> {
    let mut rest = response;
    let all = take(&mut rest, Tag::Sequence).filter(|_| rest.is_empty());
    let mut all = all.ok_or(TimestampError::Format("a TimeStampResp"))?;
    let status = take(&mut all, Tag::Sequence);
    let mut status = status.ok_or(TimestampError::Format("a status"))?;
    match take(&mut status, Tag::Integer) {
        // Granted, or granted with modifications.
        Some([0 | 1]) => {}
        Some([other]) => return Err(TimestampError::Refused(*other, said(&texts(status)))),
        _ => return Err(TimestampError::Format("a status")),
    }
    let info = info(all).ok_or(TimestampError::Format("a time stamp"))?;
    timestamp(info).ok_or(TimestampError::Format("a TSTInfo over a SHA-256"))
}

/// The texts of a `PKIStatusInfo` (RFC 4210 section 5.2.3), after its status.
fn texts(mut status: &[u8]) -> Vec<u8> {
    let mut texts = take(&mut status, Tag::Sequence).unwrap_or_default();
    let mut all = Vec::new();
    while let Some(text) = take(&mut texts, Tag::Utf8String) {
        all.extend_from_slice(text);
        all.push(b' ');
    }
    all
}

/// The `TSTInfo` of a token, which is signed data (RFC 5652 section 5).
fn info(mut token: &[u8]) -> Option<&[u8]> {
    let mut content = take(&mut token, Tag::Sequence)?;
    identifier(&mut content, &ID_SIGNED_DATA)?;
    let mut explicit = tagged(&mut content, 0)?;
    let mut signed = take(&mut explicit, Tag::Sequence)?;
    take(&mut signed, Tag::Integer)?;
    take(&mut signed, Tag::Set)?;
    let mut content = take(&mut signed, Tag::Sequence)?;
    identifier(&mut content, &ID_TST_INFO)?;
    let mut explicit = tagged(&mut content, 0)?;
    let mut octets = take(&mut explicit, Tag::OctetString)?;
    take(&mut octets, Tag::Sequence)
}

/// Reads the contents of a `TSTInfo`.
fn timestamp(mut info: &[u8]) -> Option<Timestamp<'_>> {
    take(&mut info, Tag::Integer)?;
    take(&mut info, Tag::Oid)?;
    let mut imprint = take(&mut info, Tag::Sequence)?;
    let mut algorithm = take(&mut imprint, Tag::Sequence)?;
    identifier(&mut algorithm, &ID_SHA256)?;
    let sha256 = take(&mut imprint, Tag::OctetString)?;
    take(&mut info, Tag::Integer)?;
    let at = time(take(&mut info, Tag::GeneralizedTime)?)?;
    // The accuracy and the ordering come before the nonce, and may be missing.
    take(&mut info, Tag::Sequence);
    take(&mut info, Tag::Boolean);
    let nonce = take(&mut info, Tag::Integer).unwrap_or_default();
    Some(Timestamp { sha256, nonce, at })
}

/// Takes the next value if it has this universal tag: its contents.
fn take<'a>(der: &mut &'a [u8], tag: Tag) -> Option<&'a [u8]> {
    take_of(der, Class::Universal, tag)
}

/// Takes the next value if it has this tag of the context.
fn tagged<'a>(der: &mut &'a [u8], tag: u32) -> Option<&'a [u8]> {
    take_of(der, Class::ContextSpecific, Tag(tag))
}

fn take_of<'a>(der: &mut &'a [u8], class: Class, tag: Tag) -> Option<&'a [u8]> {
    let (rest, value) = Any::from_der(der).ok()?;
    (value.class() == class && value.tag() == tag).then(|| {
        *der = rest;
        value.as_bytes()
    })
}

/// Takes the next value if it is this object identifier.
fn identifier(der: &mut &[u8], expected: &[u8]) -> Option<()> {
    (take(der, Tag::Oid)? == expected).then_some(())
}

/// Reads `YYYYMMDDhhmmss[.s…]Z`.
fn time(text: &[u8]) -> Option<Millis> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let time = DateTime::strptime("%Y%m%d%H%M%S%.f", text).ok()?;
    Millis::new(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// The last time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    /// The number of leaves that it covers.
    size: u64,
    /// The days since the epoch (UTC) when it was made.
    day: i64,
}

impl Last {
    /// Whether a checkpoint of `size` leaves gets a time stamp on a day. An older time stamp over the
    /// same leaves says more.
    fn is_due(last: Option<Last>, size: u64, day: i64) -> bool {
        last.is_none_or(|last| last.size < size && last.day != day)
    }
}

fn day(time: Millis) -> i64 {
    time.get().div_euclid(DAY)
}

/// A time-stamping authority, and where its responses are kept.
#[derive(Debug)]
pub(crate) struct Authority {
    party: Party,
    folder: PathBuf,
}

impl Authority {
    /// The responses are kept in `timestamps` of the folder of the log. Nothing is sent yet.
    pub(crate) fn new(url: &HttpUrl, client: &Client, log: &Path) -> Authority {
        // What is sent is no secret, and the response is signed.
        let client = client.allowing_plain_http();
        let media_type = "application/timestamp-query";
        let party = Party::new(&url.shown(), client, url.uri().clone(), media_type);
        Authority { party, folder: log.join("timestamps") }
    }

    /// How it stands.
    pub(crate) fn status(&self) -> &Arc<PartyStatus> {
        &self.party.status
    }

    /// Asks once a day until the signer ends. Must be called in a runtime with several threads.
    pub(crate) async fn run(self, mut newest: Newest) {
        let mut pauses = Pauses::up_to(LONGEST_PAUSE);
        let mut last = tokio::task::block_in_place(|| self.last());
        newest.mark_changed();
        loop {
            if let Ok(Err(_)) = tokio::time::timeout(CHECK_INTERVAL, newest.changed()).await {
                return;
            }
            let Some(note) = newest.borrow_and_update().clone() else { continue };
            match self.stamp_if_due(&note, last).await {
                Ok(None) => {}
                Ok(stamped) => {
                    last = stamped;
                    pauses.reset();
                }
                Err(error) => {
                    self.party.status.fails(error.to_string());
                    pauses.pause().await;
                    newest.mark_changed();
                }
            }
        }
    }

    /// Gets and keeps a time stamp over a checkpoint. `None` if it is not due.
    async fn stamp_if_due(
        &self,
        note: &Note,
        last: Option<Last>,
    ) -> Result<Option<Last>, TimestampError> {
        let (size, today) = (Checkpoint::parse(note.text())?.size(), day(now()));
        if !Last::is_due(last, size, today) {
            return Ok(None);
        }
        let note = note.to_string();
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, note.as_bytes()).as_ref());
        let mut nonce: Nonce = secret_bytes()?;
        nonce[0] = (nonce[0] & 0x3f) | 0x40;
        let response = self.party.post(request(&sha256, nonce)).await?;
        let body = response.body();
        if response.status() != 200 {
            return Err(TimestampError::Status(response.status().as_u16(), said(body)));
        }
        let timestamp = read(body)?;
        if timestamp.sha256 != sha256 {
            return Err(TimestampError::Other("hash"));
        }
        if timestamp.nonce != nonce {
            return Err(TimestampError::Other("nonce"));
        }
        tokio::task::block_in_place(|| self.keep(size, &note, body))?;
        tracing::info!(leaves = size, at = %timestamp.at, "the checkpoint has a time stamp");
        self.party.status.vouched(size);
        Ok(Some(Last { size, day: today }))
    }

    /// Keeps a response, and before it the note that it covers.
    fn keep(&self, size: u64, note: &str, response: &[u8]) -> Result<(), LogError> {
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.doing("make the folder", &self.folder)?,
        }
        for (ending, contents) in [("note", note.as_bytes()), ("tsr", response)] {
            let path = self.folder.join(format!("{size}.{ending}"));
            private_file::write(&path, contents).doing("write", &path)?;
        }
        Ok(())
    }

    /// The last time stamp that is kept. One that cannot be read is made again.
    fn last(&self) -> Option<Last> {
        let read = || -> io::Result<Option<Last>> {
            let mut newest = None;
            for file in fs::read_dir(&self.folder)? {
                let name = file?.file_name();
                let size = name.to_str().and_then(|name| name.strip_suffix(".tsr")?.parse().ok());
                newest = newest.max(size);
            }
            let Some(size) = newest else { return Ok(None) };
            let response = fs::read(self.folder.join(format!("{size}.tsr")))?;
            Ok(read(&response).ok().map(|timestamp| Last { size, day: day(timestamp.at) }))
        };
        read().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_der() {
        let request = request(&[7; 32], [0x41, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(request.len(), 69);
        let (rest, mut all) = Any::from_der(&request).map(|(rest, all)| (rest, all.data)).unwrap();
        assert!(rest.is_empty());
        assert_eq!(take(&mut all, Tag::Integer), Some(&[1][..]));
        let mut imprint = take(&mut all, Tag::Sequence).unwrap();
        let mut algorithm = take(&mut imprint, Tag::Sequence).unwrap();
        identifier(&mut algorithm, &ID_SHA256).unwrap();
        assert_eq!(take(&mut algorithm, Tag::Null), Some(&[][..]));
        assert_eq!(take(&mut imprint, Tag::OctetString), Some(&[7; 32][..]));
        assert_eq!(take(&mut all, Tag::Integer), Some(&[0x41, 1, 2, 3, 4, 5, 6, 7][..]));
        assert_eq!(take(&mut all, Tag::Boolean), Some(&[0xff][..]));
        assert!(algorithm.is_empty() && imprint.is_empty() && all.is_empty());
    }

    /// A value with a tag, and contents of less than 256 bytes.
    fn der(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
        let contents = contents.concat();
        let length = u8::try_from(contents.len()).unwrap();
        let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, contents].concat()
    }

    /// A response whose `TSTInfo` has these values after the imprint.
    fn response(status: &[&[u8]], after: &[&[u8]]) -> Vec<u8> {
        let algorithm = der(0x30, &[&der(6, &[&ID_SHA256])]);
        let imprint = der(0x30, &[&algorithm, &der(4, &[&[7; 32]])]);
        let (version, policy) = (der(2, &[&[1]]), der(6, &[&[0x2a, 3]]));
        let info = [&[version.as_slice(), &policy, &imprint], after].concat();
        let content = der(0xa0, &[&der(4, &[&der(0x30, &info)])]);
        let content = der(0x30, &[&der(6, &[&ID_TST_INFO]), &content]);
        let signed = der(0x30, &[&der(2, &[&[3]]), &der(0x31, &[]), &content]);
        let token = der(0x30, &[&der(6, &[&ID_SIGNED_DATA]), &der(0xa0, &[&signed])]);
        der(0x30, &[&der(0x30, status), &token])
    }

    #[test]
    fn what_a_response_says_is_read() {
        let (serial, nonce) = (der(2, &[&[9]]), der(2, &[&[0x41, 1]]));
        let at = der(0x18, &[b"20260501000102.5Z"]);
        let (accuracy, ordering) = (der(0x30, &[&der(2, &[&[1]])]), der(1, &[&[0xff]]));
        let granted = der(2, &[&[0]]);
        let expected = |nonce| Timestamp {
            sha256: &[7; 32],
            nonce,
            at: Millis::saturating(1_777_593_662_500),
        };
        let all = response(&[&granted], &[&serial, &at, &accuracy, &ordering, &nonce]);
        assert_eq!(read(&all).unwrap(), expected(&[0x41, 1]));
        let short = response(&[&der(2, &[&[1]])], &[&serial, &at, &nonce]);
        assert_eq!(read(&short).unwrap(), expected(&[0x41, 1]));
        let without = response(&[&granted], &[&serial, &at]);
        assert_eq!(read(&without).unwrap(), expected(&[]));

        let check = |response: &[u8], expected: &str| {
            let found = read(response).unwrap_err().to_string();
            assert!(found.contains(expected), "{found}");
        };
        let text = der(0x30, &[&der(12, &[b"too \x1bmany"]), &der(12, &[b"requests"])]);
        let refused = der(0x30, &[&der(0x30, &[&der(2, &[&[2]]), &text])]);
        check(&refused, "the status 2, expected 0 (granted), and said: too \u{fffd}many requests");
        check(&der(0x30, &[&der(0x30, &[&granted])]), "without a time stamp");
        check(&response(&[&granted], &[&serial]), "without a TSTInfo over a SHA-256");
        let local = der(0x18, &[b"20260501000102+0100"]);
        check(&response(&[&granted], &[&serial, &local]), "without a TSTInfo over a SHA-256");
        check(b"<html>", "without a TimeStampResp");
        check(&[all.as_slice(), &[0]].concat(), "without a TimeStampResp");
        // No beginning of a response, and none with another byte, is trouble.
        for at in 0..all.len() {
            assert!(read(&all[..at]).is_err(), "{at}");
            let mut other = all.clone();
            other[at] ^= 0x40;
            let _ = read(&other);
        }
    }

    #[test]
    fn one_is_due_each_day_if_the_log_has_grown() {
        let last = Last { size: 7, day: 20_000 };
        let check = |last, size, day, expected| {
            assert_eq!(Last::is_due(last, size, day), expected, "{last:?} {size} {day}");
        };
        check(None, 1, 20_000, true);
        check(Some(last), 8, 20_000, false);
        check(Some(last), 7, 20_001, false);
        check(Some(last), 8, 20_001, true);
        // The clock was set back.
        check(Some(last), 8, 19_999, true);
        let ends = [DAY * 20_000 - 1, DAY * 20_000].map(|at| day(Millis::saturating(at)));
        assert_eq!(ends, [19_999, 20_000]);
    }

    #[test]
    fn the_last_one_is_found_after_a_restart() {
        let log = tempfile::tempdir().unwrap();
        let url = HttpUrl::new("http://tsa.example/", "").unwrap();
        let client = Client::new(crate::net::ClientOptions::default()).unwrap();
        let authority = Authority::new(&url, &client, log.path());
        assert_eq!(authority.last(), None);
        let (serial, at) = (der(2, &[&[9]]), der(0x18, &[b"20260501000102Z"]));
        let response = response(&[&der(2, &[&[0]])], &[&serial, &at]);
        authority.keep(9, "nine", &response).unwrap();
        authority.keep(10, "ten", &response).unwrap();
        let day = 1_777_593_662_000 / DAY;
        assert_eq!(authority.last(), Some(Last { size: 10, day }));
        assert_eq!(fs::read(log.path().join("timestamps/9.note")).unwrap(), b"nine");
        fs::write(log.path().join("timestamps/11.tsr"), "damaged").unwrap();
        assert_eq!(authority.last(), None);
    }
}
