//! A request that the receiver kept: its line and headers, its body as sent and decoded, the answer
//! with its phases, and what differs from the request before.

use std::collections::BTreeMap;
use std::time::Duration;

use super::milliseconds;
use crate::console::pages::link::Link;
use crate::console::pages::text::{SafeText, TimeTag, bytes};
use crate::console::receiver_info::ReceiverInfo;
use crate::receiver::body::{Codings, decode};
use crate::receiver::kept::{KeptBody, KeptHeader, KeptRequest, Outcome};

/// The part of a body that is shown, in bytes. The whole can be downloaded.
const SHOWN: usize = 16 << 10;

/// The part of a body that is not text and is shown in hexadecimal, in bytes.
const HEX: usize = 256;

/// The largest decoded body, in bytes: for a page, which shows its beginning, and for a download.
pub(super) const MAX_SHOWN: usize = 8 << 20;
pub(super) const MAX_DOWNLOAD: usize = 64 << 20;

/// Headers that belong to the connection, and that curl sends by itself.
const OF_CONNECTION: [&str; 8] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "user-agent",
];

pub(in crate::console::pages) struct RequestView {
    pub(in crate::console::pages) number: u64,
    pub(in crate::console::pages) at: TimeTag,
    pub(in crate::console::pages) peer: SafeText,
    pub(in crate::console::pages) input: SafeText,
    /// The method, the target and the version.
    pub(in crate::console::pages) line: SafeText,
    /// The version and the cipher suite of TLS.
    pub(in crate::console::pages) tls: String,
    pub(in crate::console::pages) headers: Vec<HeaderRow>,
    pub(in crate::console::pages) body: BodyView,
    pub(in crate::console::pages) answer: Option<AnswerView>,
    pub(in crate::console::pages) phases: Vec<PhaseRow>,
    pub(in crate::console::pages) outcome: String,
    pub(in crate::console::pages) reason: SafeText,
    pub(in crate::console::pages) fault: Option<String>,
    pub(in crate::console::pages) curl: String,
    /// Sends it again, if its body is kept.
    pub(in crate::console::pages) resend: Option<Link>,
    /// The number of the request before, its page, and what differs.
    pub(in crate::console::pages) before: Option<Comparison>,
}

pub(in crate::console::pages) struct HeaderRow {
    pub(in crate::console::pages) name: SafeText,
    pub(in crate::console::pages) value: SafeText,
    pub(in crate::console::pages) is_hidden: bool,
}

pub(in crate::console::pages) enum BodyView {
    /// Why there is no body.
    Missing(&'static str),
    Kept {
        size: String,
        /// The beginning as sent: text, or hexadecimal.
        sent: SafeText,
        sent_link: Link,
        /// The decoded body, if it differs.
        decoded: Option<Decoded>,
    },
}

pub(in crate::console::pages) struct Decoded {
    pub(in crate::console::pages) size: String,
    pub(in crate::console::pages) text: SafeText,
    pub(in crate::console::pages) link: Link,
    /// Whether only the beginning is shown.
    pub(in crate::console::pages) is_beginning: bool,
}

pub(in crate::console::pages) struct AnswerView {
    pub(in crate::console::pages) status: u16,
    pub(in crate::console::pages) is_good: bool,
    pub(in crate::console::pages) headers: Vec<HeaderRow>,
    pub(in crate::console::pages) body: SafeText,
}

/// A phase of the answer, as a bar.
pub(in crate::console::pages) struct PhaseRow {
    pub(in crate::console::pages) name: &'static str,
    pub(in crate::console::pages) time: String,
    /// In percent of the whole.
    pub(in crate::console::pages) from: String,
    pub(in crate::console::pages) width: String,
}

pub(in crate::console::pages) struct Comparison {
    pub(in crate::console::pages) number: u64,
    pub(in crate::console::pages) link: Link,
    /// What differs: the name, the value before, the value now.
    pub(in crate::console::pages) rows: Vec<(SafeText, SafeText, SafeText)>,
}

impl RequestView {
    /// Decodes the bodies of both requests, so it may take a while.
    pub(in crate::console::pages) fn new(
        request: &KeptRequest,
        before: Option<&KeptRequest>,
        receiver: &ReceiverInfo,
    ) -> RequestView {
        let head = &request.head;
        let decoded = decoded(request, MAX_SHOWN);
        RequestView {
            number: request.number,
            at: TimeTag(head.received_at),
            peer: SafeText::truncated(&head.peer, 200),
            input: SafeText::truncated(head.input.as_deref().unwrap_or("none"), 200),
            line: SafeText::truncated(&request_line(request), 2000),
            tls: head.tls.map_or_else(|| "none: plain HTTP".to_owned(), |tls| tls.to_string()),
            headers: head.headers.iter().map(HeaderRow::new).collect(),
            body: BodyView::new(request, decoded.as_deref()),
            answer: request.answer.as_ref().map(|answer| AnswerView {
                status: answer.status,
                is_good: answer.status < 300,
                headers: answer.headers.iter().map(HeaderRow::new).collect(),
                body: SafeText::prefix(&answer.body, SHOWN),
            }),
            phases: phases(request),
            outcome: outcome(request.outcome),
            reason: SafeText::truncated(request.reason.as_deref().unwrap_or_default(), 500),
            fault: request.fault.as_ref().map(ToString::to_string),
            curl: curl(request, receiver),
            resend: matches!(request.body, KeptBody::Whole(_)).then(|| {
                Link::new(&format!("/deliveries/requests/{}/resend", request.number), &[])
            }),
            before: before.map(|before| Comparison::new(before, request, decoded.as_deref())),
        }
    }
}

impl HeaderRow {
    fn new(header: &KeptHeader) -> HeaderRow {
        HeaderRow {
            name: SafeText::truncated(&header.name, 200),
            value: SafeText::prefix(&header.value, 2000),
            is_hidden: header.is_hidden,
        }
    }
}

fn request_line(request: &KeptRequest) -> String {
    let head = &request.head;
    format!("{} {} {:?}", head.method, head.target, head.version)
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Stored { delivery, received, stored, duplicates } => format!(
            "stored as delivery {delivery}: {received} received, {stored} new, {duplicates} \
             duplicates"
        ),
        Outcome::Quarantined { id } => format!("kept in quarantine as body {id}"),
        Outcome::Refused => "refused before its body was read".to_owned(),
        Outcome::Failed => "authorized, but not stored".to_owned(),
    }
}

/// The phases one after another, in the order of the work.
fn phases(request: &KeptRequest) -> Vec<PhaseRow> {
    let phases = &request.phases;
    let all = [
        ("read the body", phases.read),
        ("wait for memory", phases.wait),
        ("decode", phases.decode),
        ("verify", phases.verify),
        ("store and commit", phases.store),
    ];
    let total = phases.total.unwrap_or_default();
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let share = |time: Duration| {
        let part = time.as_secs_f64() / total.as_secs_f64().max(1e-9);
        (part * 100.0).min(100.0)
    };
    let mut at = 0.0;
    let mut rows = Vec::new();
    for (name, time) in all.into_iter().filter_map(|(name, time)| Some((name, time?))) {
        let width = share(time).min(100.0 - at);
        rows.push(PhaseRow {
            name,
            time: milliseconds(micros(time)),
            from: format!("{at:.1}"),
            width: format!("{width:.1}"),
        });
        at += width;
    }
    rows.push(PhaseRow {
        name: "in all",
        time: milliseconds(micros(total)),
        from: "0".to_owned(),
        width: "100".to_owned(),
    });
    rows
}

/// The decoded body of a request. `None` if it is not encoded, has more than `most` bytes, or cannot be
/// decoded.
pub(in crate::console::pages) fn decoded(request: &KeptRequest, most: usize) -> Option<Vec<u8>> {
    let KeptBody::Whole(body) = &request.body else { return None };
    let codings = Codings::of(request.head.content_encoding.as_deref()).ok()?;
    decode(body, &codings, most, |_| Ok(())).ok().flatten()
}

impl BodyView {
    fn new(request: &KeptRequest, decoded: Option<&[u8]>) -> BodyView {
        let body = match &request.body {
            KeptBody::Whole(body) => body,
            KeptBody::TooLarge(_) => {
                return BodyView::Missing("It is larger than console.keep_requests allows.");
            }
            KeptBody::NotRead => return BodyView::Missing("It was not read."),
        };
        let path = format!("/deliveries/requests/{}/body", request.number);
        let decoded = decoded.map(|decoded| Decoded {
            size: bytes(decoded.len() as u64),
            text: lines(decoded),
            link: Link::new(&path, &[("decoded", "1")]),
            is_beginning: decoded.len() > SHOWN,
        });
        BodyView::Kept {
            size: bytes(body.len() as u64),
            sent: match std::str::from_utf8(body) {
                Ok(_) => lines(body),
                Err(_) => hex(body),
            },
            sent_link: Link::new(&path, &[]),
            decoded,
        }
    }
}

/// The beginning of a text with its line breaks.
fn lines(text: &[u8]) -> SafeText {
    let shown = text.get(..SHOWN).unwrap_or(text);
    let lines: Vec<_> = shown.split(|byte| *byte == b'\n').map(SafeText::from_bytes).collect();
    SafeText::joined(&lines)
}

/// The beginning of some bytes in hexadecimal, sixteen in a line.
pub(in crate::console::pages) fn hex(body: &[u8]) -> SafeText {
    let line = |bytes: &[u8]| {
        let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.join(" ")
    };
    let shown = body.get(..HEX).unwrap_or(body);
    let mut lines: Vec<_> = shown.chunks(16).map(line).collect();
    if body.len() > HEX {
        lines.push("…".to_owned());
    }
    SafeText::multiline(&lines.join("\n"))
}

/// A command that sends the body again.
fn curl(request: &KeptRequest, receiver: &ReceiverInfo) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let head = &request.head;
    // Without globbing: the path may have brackets.
    let mut lines = vec![format!("curl -g -X {}", quoted(&head.method))];
    let file = receiver.inputs.iter().find(|input| Some(&input.name) == head.input.as_ref());
    for header in &head.headers {
        let value = String::from_utf8_lossy(&header.value);
        match &*header.name {
            name if OF_CONNECTION.contains(&name) => {}
            "authorization" => {
                let file = file.and_then(|input| input.authorization_file.as_deref());
                let value =
                    file.map_or("YOUR VALUE".to_owned(), |file| format!("$(cat {})", quoted(file)));
                lines.push(format!("-H \"Authorization: {value}\""));
            }
            name => lines.push(format!("-H {}", quoted(&format!("{name}: {value}")))),
        }
    }
    if matches!(request.body, KeptBody::Whole(_)) {
        lines.push(format!("--data-binary @request-{}.body", request.number));
    }
    lines.push(quoted(&format!("{}{}", receiver.local_base, head.target)));
    let command = lines.join(" \\\n  ");
    SafeText::multiline(&command).to_string()
}

impl Comparison {
    /// `now_decoded` is the decoded body of `now`.
    fn new(before: &KeptRequest, now: &KeptRequest, now_decoded: Option<&[u8]>) -> Comparison {
        let (old, new) =
            (facts(before, decoded(before, MAX_SHOWN).as_deref()), facts(now, now_decoded));
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let value = |facts: &BTreeMap<String, String>, name: &String| {
            facts
                .get(name)
                .map_or_else(|| SafeText::new("(none)"), |value| SafeText::truncated(value, 500))
        };
        let rows = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
        Comparison {
            number: before.number,
            link: Link::to_request(before.number),
            rows: rows
                .map(|name| (SafeText::truncated(name, 200), value(&old, name), value(&new, name)))
                .collect(),
        }
    }
}

/// What two requests are compared by, by name.
fn facts(request: &KeptRequest, decoded: Option<&[u8]>) -> BTreeMap<String, String> {
    let head = &request.head;
    let mut facts = BTreeMap::new();
    facts.insert("request line".to_owned(), request_line(request));
    facts.insert("TLS".to_owned(), head.tls.map_or("none".to_owned(), |tls| tls.to_string()));
    let peer = head.peer.rsplit_once(':').map_or(head.peer.as_str(), |(address, _)| address);
    facts.insert("peer".to_owned(), peer.to_owned());
    for header in &head.headers {
        let value = String::from_utf8_lossy(&header.value);
        let all: &mut String = facts.entry(format!("header {}", header.name)).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&value);
    }
    if let KeptBody::Whole(body) = &request.body {
        facts.insert("body as sent".to_owned(), bytes(body.len() as u64));
        let text = decoded.unwrap_or(body);
        let lines = crate::entry::lines(text).count();
        facts.insert("lines".to_owned(), lines.to_string());
        facts.insert("decoded body".to_owned(), bytes(text.len() as u64));
    }
    let status = request.answer.as_ref().map(|answer| answer.status.to_string());
    facts.insert("status".to_owned(), status.unwrap_or_else(|| "no answer".to_owned()));
    facts
}
