//! An S3 server in memory that is strict where the journal relies on it: of many creates of one key
//! exactly one wins, and a read after that sees it.
//!
//! It has what the program uses of the S3 API, in path style: PUT with `If-None-Match: *`, GET with
//! ranges, HEAD, DELETE, DeleteObjects and ListObjectsV2. Whatever else it is asked, it refuses with
//! 501. It requires a signature, but checks only the hash of the body and the end of a session token.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Response};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use ring::digest::{SHA256, digest};

/// A page of a listing. It is small, so that tests read more than one.
const PAGE: usize = 100;

/// A whole request.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path and the query as sent.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// The value of a header; empty if there is none or if it is not text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether this is to create an object if there is none.
    pub(crate) fn is_create(&self) -> bool {
        self.method == Method::PUT && self.header("if-none-match") == "*"
    }

    /// The key of the object, without the bucket.
    pub(crate) fn key(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        decoded(key)
    }

    fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut parts = query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        parts.find(|(known, _)| *known == name).map(|(_, value)| decoded(value))
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The answer of an object store.
pub(crate) type Answer = Response<Bytes>;

struct Object {
    body: Bytes,
    /// In milliseconds since 1970.
    written_at: i64,
}

/// One bucket with its objects.
pub(crate) struct Memory {
    bucket: String,
    objects: Mutex<BTreeMap<String, Object>>,
    /// Whether each request must have a session token that is still good.
    pub(super) needs_token: bool,
}

/// What the name of a session token begins with. The time of its end follows, in milliseconds.
pub(crate) const TOKEN: &str = "good-until-";

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

impl Memory {
    /// An empty bucket.
    pub(crate) fn new(bucket: &str) -> Memory {
        Memory { bucket: bucket.to_owned(), objects: Mutex::default(), needs_token: false }
    }

    /// Every object, in order of key.
    pub(crate) fn objects(&self) -> Vec<(String, Bytes)> {
        let objects = self.objects.lock().unwrap();
        objects.iter().map(|(key, object)| (key.clone(), object.body.clone())).collect()
    }

    /// Makes every object older.
    pub(crate) fn age(&self, by: Duration) {
        for object in self.objects.lock().unwrap().values_mut() {
            object.written_at -= i64::try_from(by.as_millis()).unwrap();
        }
    }

    /// Carries a request out.
    pub(crate) fn answer(&self, call: &Call) -> Answer {
        if let Some(refusal) = self.refusal(call) {
            return refusal;
        }
        let key = call.key();
        match (&call.method, key.as_str()) {
            (&Method::GET, "") if call.query("list-type").as_deref() == Some("2") => {
                self.list(call)
            }
            (&Method::POST, "") if call.query("delete").is_some() => self.delete_all(call),
            (_, "") => error(501, "NotImplemented"),
            (_, _) if call.target.contains('?') => error(501, "NotImplemented"),
            (&Method::PUT, _) => self.put(call, key),
            (&Method::GET | &Method::HEAD, _) => self.get(call, &key),
            (&Method::DELETE, _) => {
                self.objects.lock().unwrap().remove(&key);
                empty(204)
            }
            _ => error(501, "NotImplemented"),
        }
    }

    fn refusal(&self, call: &Call) -> Option<Answer> {
        if !call.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=") {
            return Some(error(403, "AccessDenied"));
        }
        let token = call.header("x-amz-security-token");
        let end = token.strip_prefix(TOKEN).and_then(|end| end.parse::<i64>().ok());
        if end.is_some_and(|end| end <= now()) {
            return Some(error(400, "ExpiredToken"));
        }
        if self.needs_token && end.is_none() {
            return Some(error(403, "AccessDenied"));
        }
        let hash = call.header("x-amz-content-sha256");
        let is_hash = hash != "UNSIGNED-PAYLOAD" && !hash.is_empty();
        if is_hash && hash != hex(digest(&SHA256, &call.body).as_ref()) {
            return Some(error(400, "XAmzContentSHA256Mismatch"));
        }
        let path = call.target.split('?').next().unwrap_or_default();
        let bucket = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        if bucket != self.bucket {
            return Some(error(404, "NoSuchBucket"));
        }
        // A condition that is not checked must not seem to hold.
        let others = ["if-match", "if-modified-since", "if-unmodified-since"];
        let is_get = call.method == Method::GET || call.method == Method::HEAD;
        let none_match = call.header("if-none-match");
        if others.iter().any(|name| call.headers.contains_key(*name))
            || (!none_match.is_empty() && (is_get || none_match != "*"))
        {
            return Some(error(501, "NotImplemented"));
        }
        None
    }

    fn put(&self, call: &Call, key: String) -> Answer {
        let mut objects = self.objects.lock().unwrap();
        if call.is_create() && objects.contains_key(&key) {
            return error(412, "PreconditionFailed");
        }
        objects.insert(key, Object { body: call.body.clone(), written_at: now() });
        let answer = Response::builder().status(200).header("etag", etag(&call.body));
        answer.body(Bytes::new()).unwrap()
    }

    fn get(&self, call: &Call, key: &str) -> Answer {
        let objects = self.objects.lock().unwrap();
        let Some(object) = objects.get(key) else { return error(404, "NoSuchKey") };
        let size = object.body.len();
        let written_at = Timestamp::from_millisecond(object.written_at).unwrap();
        let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
        let mut answer = Response::builder()
            .header("etag", etag(&object.body))
            .header("last-modified", printer.timestamp_to_rfc9110_string(&written_at).unwrap())
            .header("accept-ranges", "bytes");
        if call.method == Method::HEAD {
            return answer.header("content-length", size).body(Bytes::new()).unwrap();
        }
        let Some(wanted) = call.header("range").strip_prefix("bytes=") else {
            return answer.body(object.body.clone()).unwrap();
        };
        let Some((first, last)) = range(wanted, size) else { return error(416, "InvalidRange") };
        answer = answer.status(206).header("content-range", format!("bytes {first}-{last}/{size}"));
        answer.body(object.body.slice(first..=last)).unwrap()
    }

    fn list(&self, call: &Call) -> Answer {
        let known = ["list-type", "prefix", "delimiter", "continuation-token", "start-after"];
        let query = call.target.split_once('?').map_or("", |(_, query)| query);
        let names = query.split('&').map(|part| part.split('=').next().unwrap_or_default());
        if names.into_iter().any(|name| name != "max-keys" && !known.contains(&name)) {
            return error(501, "NotImplemented");
        }
        let prefix = call.query("prefix").unwrap_or_default();
        let delimiter = call.query("delimiter").filter(|text| !text.is_empty());
        let after = call.query("continuation-token").or(call.query("start-after"));
        let most = call.query("max-keys").and_then(|most| most.parse().ok()).unwrap_or(PAGE);
        let from = after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let objects = self.objects.lock().unwrap();
        let (mut contents, mut prefixes) = (String::new(), Vec::<String>::new());
        let (mut last, mut count, mut is_more) = (String::new(), 0, false);
        for (key, object) in objects.range((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(&prefix) else { continue };
            let common = delimiter.as_deref().and_then(|delimiter| {
                let end = rest.find(delimiter)? + delimiter.len();
                Some(format!("{prefix}{}", &rest[..end]))
            });
            // The token of a page may be within such a prefix.
            let is_listed = |common: &String| {
                prefixes.last() == Some(common)
                    || after.as_ref().is_some_and(|after| after.starts_with(common))
            };
            if common.as_ref().is_some_and(is_listed) {
                last.clone_from(key);
                continue;
            }
            if count == most.min(PAGE) {
                is_more = true;
                break;
            }
            count += 1;
            last.clone_from(key);
            match common {
                Some(common) => prefixes.push(common),
                None => {
                    let time = Timestamp::from_millisecond(object.written_at).unwrap();
                    contents += &format!(
                        "<Contents><Key>{}</Key><LastModified>{time}</LastModified>\
                         <ETag>{}</ETag><Size>{}</Size></Contents>",
                        escaped(key),
                        escaped(&etag(&object.body)),
                        object.body.len()
                    );
                }
            }
        }
        let prefixes = prefixes.iter().map(|prefix| {
            let prefix = escaped(prefix);
            format!("<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>")
        });
        let next = match is_more {
            true => {
                format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(&last))
            }
            false => String::new(),
        };
        xml(
            200,
            &format!(
                "<ListBucketResult><Name>{}</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount>\
                 <MaxKeys>{PAGE}</MaxKeys><IsTruncated>{is_more}</IsTruncated>{next}{contents}{}\
                 </ListBucketResult>",
                self.bucket,
                escaped(&prefix),
                prefixes.collect::<String>()
            ),
        )
    }

    fn delete_all(&self, call: &Call) -> Answer {
        if call.header("content-md5").is_empty() {
            return error(400, "InvalidRequest");
        }
        let text = String::from_utf8_lossy(&call.body).into_owned();
        let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        let mut objects = self.objects.lock().unwrap();
        let mut deleted = String::new();
        for key in keys {
            let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'")]
                .iter()
                .fold(key.to_owned(), |key, (entity, plain)| key.replace(entity, plain))
                .replace("&amp;", "&");
            objects.remove(&plain);
            deleted += &format!("<Deleted><Key>{key}</Key></Deleted>");
        }
        xml(200, &format!("<DeleteResult>{deleted}</DeleteResult>"))
    }
}

/// The first and the last byte of a range (RFC 9110 section 14.1.2); `None` if it has no byte.
fn range(wanted: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = wanted.split_once('-')?;
    let end = size.checked_sub(1)?;
    let (first, last) = match (first, last) {
        ("", count) => (size.saturating_sub(count.parse::<usize>().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, last.parse::<usize>().ok()?.min(end)),
    };
    (first <= last).then_some((first, last))
}

fn etag(body: &[u8]) -> String {
    format!("\"{}\"", &hex(digest(&SHA256, body).as_ref())[..32])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

fn empty(status: u16) -> Answer {
    Response::builder().status(status).body(Bytes::new()).unwrap()
}

fn xml(status: u16, body: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
    let answer = Response::builder().status(status).header("content-type", "application/xml");
    answer.body(body.into()).unwrap()
}

/// An error as S3 answers it.
pub(super) fn error(status: u16, code: &str) -> Answer {
    xml(status, &format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}
