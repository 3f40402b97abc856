//! The page of one delivery: what is stored of it, the request if the receiver kept it, and its
//! entries. A refused request that was kept and a body in quarantine have such a page too.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};

use super::request::{BodyView, MAX_DOWNLOAD, RequestView, decoded, hex};
use super::{milliseconds, verdicts};
use crate::console::Console;
use crate::console::actions::CsrfToken;
use crate::console::download::attachment;
use crate::console::pages::link::Link;
use crate::console::pages::part::{Part, parts};
use crate::console::pages::shell::Shell;
use crate::console::pages::text::{Badge, SafeText, TimeTag, bytes, count};
use crate::console::pages::{HtmlProblem, uncompressed};
use crate::console::params::Params;
use crate::console::problem::Problem;
use crate::entry::Record;
use crate::receiver::kept::{KeptBody, KeptRequest};
use crate::search::{Field, Filter, Operand, Test};
use crate::store::{Quarantined, StoredDelivery, TimeRange};

/// The number of entries that the page of a delivery lists.
const ENTRIES: usize = 50;

#[derive(Template)]
#[template(path = "delivery.html", blocks = ["main"])]
pub(in crate::console::pages) struct DeliveryPage {
    pub(in crate::console::pages) shell: Shell,
    pub(in crate::console::pages) title: String,
    /// What is stored of it: names and values.
    pub(in crate::console::pages) facts: Vec<(&'static str, SafeText)>,
    pub(in crate::console::pages) at: Option<TimeTag>,
    pub(in crate::console::pages) verdicts: Vec<(Badge, String)>,
    pub(in crate::console::pages) request: Option<RequestView>,
    /// Why there is no request.
    pub(in crate::console::pages) missing: &'static str,
    pub(in crate::console::pages) entries: Vec<EntryLine>,
    /// All entries of the delivery.
    pub(in crate::console::pages) all: Option<Link>,
    /// The body in quarantine: its beginning in hexadecimal, and the download.
    pub(in crate::console::pages) body: Option<(SafeText, Link)>,
    pub(in crate::console::pages) older: Option<Link>,
    pub(in crate::console::pages) newer: Option<Link>,
    /// Present if actions are allowed.
    pub(in crate::console::pages) csrf: Option<CsrfToken>,
    /// Decodes the body in quarantine again.
    pub(in crate::console::pages) retry: Option<Link>,
    /// The URLs that the request can be sent to, besides this receiver.
    pub(in crate::console::pages) resend_to: Vec<SafeText>,
}

parts!(DeliveryPage: "main" => as_main);

/// An entry of the delivery.
pub(in crate::console::pages) struct EntryLine {
    pub(in crate::console::pages) id: u64,
    pub(in crate::console::pages) link: Link,
    pub(in crate::console::pages) name: SafeText,
    pub(in crate::console::pages) verdict: Badge,
}

/// Why the page shows no request.
const OFF: &str = "The request was not kept: console.keep_requests is off. With it, the newest \
                   requests are kept in memory, with their headers and bodies.";
const GONE: &str = "The request is no longer kept: console.keep_requests has room for the newest \
                    ones only, and a restart forgets them.";

fn missing(what: &str) -> Problem {
    Problem::not_found(format!("there is no {what} with this number"))
}

fn number(text: &str, what: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| missing(what))
}

/// `GET /deliveries/{id}`
pub(in crate::console::pages) async fn show(
    State(console): State<Arc<Console>>,
    part: Part,
    Path(id): Path<String>,
) -> Result<Response, HtmlProblem> {
    let what = "delivery";
    let id = number(&id, what)?;
    let number = i64::try_from(id).map_err(|_| missing(what))?;
    let of_delivery = Filter::Field(Field::Delivery, Test::Equals(Operand::Integer(number)));
    let (near, page) = console
        .read(move |reader| {
            // One after it shows whether there is a newer one.
            let near = reader.deliveries(Some(id.saturating_add(2)), 3)?;
            let page = reader.page(&of_delivery, TimeRange::default(), ENTRIES, None)?;
            Ok((near, page))
        })
        .await?;
    let delivered = near.iter().find(|one| one.id == id).ok_or_else(|| missing(what))?;
    let kept = console.deliverer.kept.of_delivery(id);
    let mut shown = console.delivery_page(format!("Delivery {id}"), kept).await?;
    shown.shell = shown.shell.at(&Link::to_delivery(id));
    shown.describe(delivered);
    shown.entries = page.records.iter().map(EntryLine::new).collect();
    shown.all = Some(Link::to_entries_of(id)).filter(|_| delivered.stored > 0);
    let has = |wanted: &u64| near.iter().any(|one| one.id == *wanted);
    shown.newer = id.checked_add(1).filter(has).map(Link::to_delivery);
    shown.older = id.checked_sub(1).filter(has).map(Link::to_delivery);
    Ok(shown.answer(&part))
}

/// `GET /deliveries/requests/{number}`: a request that the receiver kept, whatever became of it.
pub(in crate::console::pages) async fn kept(
    State(console): State<Arc<Console>>,
    part: Part,
    Path(id): Path<String>,
) -> Result<Response, HtmlProblem> {
    let request = console.kept_request(&id)?;
    let title = format!("Request {}", request.number);
    let shown = console.delivery_page(title, Some(request)).await?;
    Ok(shown.answer(&part))
}

/// `GET /deliveries/quarantine/{id}`
pub(in crate::console::pages) async fn quarantined(
    State(console): State<Arc<Console>>,
    part: Part,
    Path(id): Path<String>,
) -> Result<Response, HtmlProblem> {
    let id = number(&id, "body in quarantine")?;
    let (what, body) = console.read(move |reader| reader.quarantined(id)).await?;
    let kept = console.deliverer.kept.of_quarantine(id);
    let title = format!("Body {id} in quarantine");
    let mut shown = console.delivery_page(title, kept).await?;
    shown.describe_quarantined(&what);
    shown.retry = Some(Link::new(&format!("/deliveries/quarantine/{id}/retry"), &[]));
    shown.body = Some((hex(&body), Link::new(&format!("/deliveries/quarantine/{id}/body"), &[])));
    Ok(shown.answer(&part))
}

/// `GET /deliveries/requests/{number}/body?decoded=1`
pub(in crate::console::pages) async fn body(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    params: Result<Params, Problem>,
) -> Result<Response, HtmlProblem> {
    let wants_decoded = params?.decoded.is_some();
    let request = console.kept_request(&id)?;
    let number = request.number;
    let KeptBody::Whole(sent) = &request.body else {
        return Err(Problem::not_found("the body of this request is not kept").into());
    };
    let body = match wants_decoded {
        false => sent.clone(),
        // Decoding takes a while.
        true => console
            .read(move |_| Ok(decoded(&request, MAX_DOWNLOAD)))
            .await?
            .map(Bytes::from)
            .ok_or_else(|| Problem::not_found("the body is not encoded, or cannot be decoded"))?,
    };
    download(&format!("request-{number}"), if wants_decoded { "decoded" } else { "body" }, body)
}

/// `GET /deliveries/quarantine/{id}/body`
pub(in crate::console::pages) async fn quarantined_body(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Result<Response, HtmlProblem> {
    let id = number(&id, "body in quarantine")?;
    let (_, body) = console.read(move |reader| reader.quarantined(id)).await?;
    download(&format!("quarantine-{id}"), "body", body.into())
}

/// The bytes as a download, which no browser shows.
fn download(name: &str, ending: &str, body: Bytes) -> Result<Response, HtmlProblem> {
    let name = attachment(&format!("{name}.{ending}"))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)], body).into_response())
}

impl Console {
    /// The kept request with this number.
    pub(super) fn kept_request(&self, number: &str) -> Result<Arc<KeptRequest>, Problem> {
        let kept = number.parse().ok().and_then(|number| self.deliverer.kept.get(number));
        kept.ok_or_else(|| {
            let off = "there is no such request: console.keep_requests is off";
            let gone = "there is no request with this number, or it is no longer kept";
            Problem::not_found(if self.deliverer.kept.is_on() { gone } else { off })
        })
    }

    /// A page with a kept request, if there is one.
    async fn delivery_page(
        &self,
        title: String,
        kept: Option<Arc<KeptRequest>>,
    ) -> Result<DeliveryPage, Problem> {
        let request = match kept {
            None => None,
            Some(kept) => {
                let before = self.deliverer.kept.before(&kept);
                let receiver = self.receiver.clone();
                // A read, although not of the store, so that few bodies are decoded at once.
                let view = move || RequestView::new(&kept, before.as_deref(), &receiver);
                Some(self.read(move |_| Ok(view())).await?)
            }
        };
        let shell = self.shell(title.clone(), "/deliveries").await;
        let mut shown = DeliveryPage::new(shell, title, request, self.deliverer.kept.is_on());
        shown.csrf = self.actions.token();
        shown.resend_to = self.receiver.resend_to.iter().map(|url| SafeText::new(url)).collect();
        Ok(shown)
    }
}

impl DeliveryPage {
    /// The page as an answer. It may have the token of forms, so it is not compressed.
    fn answer(&self, part: &Part) -> Response {
        uncompressed(part.of(StatusCode::OK, self))
    }

    /// A page with a kept request alone.
    pub(in crate::console::pages) fn new(
        shell: Shell,
        title: String,
        request: Option<RequestView>,
        keeps_requests: bool,
    ) -> DeliveryPage {
        DeliveryPage {
            shell,
            title,
            facts: Vec::new(),
            at: None,
            verdicts: Vec::new(),
            request,
            missing: if keeps_requests { GONE } else { OFF },
            entries: Vec::new(),
            all: None,
            body: None,
            older: None,
            newer: None,
            csrf: None,
            retry: None,
            resend_to: Vec::new(),
        }
    }

    /// Adds what is stored of a delivery.
    pub(in crate::console::pages) fn describe(&mut self, delivered: &StoredDelivery) {
        self.at = Some(TimeTag(delivered.received_at));
        let verdict = |(name, number): (&'static str, String)| (Badge(name), number);
        self.verdicts = verdicts(delivered).into_iter().map(verdict).collect();
        let text = |text: String| SafeText::truncated(&text, 500);
        self.facts = vec![
            ("Input", text(delivered.input.clone())),
            ("Peer", text(delivered.peer.clone())),
            ("Body as sent", text(bytes(delivered.bytes))),
            ("Decoded", text(bytes(delivered.decoded_bytes))),
            ("Lines", text(count(delivered.received))),
            ("New entries", text(count(delivered.stored))),
            ("Duplicates", text(count(delivered.duplicates))),
            ("Until it was written", text(milliseconds(delivered.duration_us))),
        ];
        if let Some(origin) = delivered.origin {
            self.facts.push(("In the journal", text(origin.to_string())));
            if let Some(at) = delivered.stored_at {
                self.facts.push(("Stored", text(at.to_string())));
            }
        }
        let warnings: Vec<_> =
            delivered.warnings.iter().map(|(name, n)| format!("{} {name}", count(*n))).collect();
        if !warnings.is_empty() {
            self.facts.push(("Warnings", text(warnings.join(", "))));
        }
    }

    /// Adds what is known of a body in quarantine.
    pub(in crate::console::pages) fn describe_quarantined(&mut self, what: &Quarantined) {
        self.at = Some(TimeTag(what.received_at));
        let text = |text: &str| SafeText::truncated(text, 500);
        let encoding = what.content_encoding.as_deref().unwrap_or("none");
        self.facts = vec![
            ("Input", text(&what.input)),
            ("Peer", text(&what.peer)),
            ("Status", text(&what.status.to_string())),
            ("Reason", text(&what.reason)),
            ("Content-Encoding", text(encoding)),
            ("Size", text(&bytes(what.bytes))),
        ];
        if let Some(origin) = what.origin {
            self.facts.push(("In the journal", text(&origin.to_string())));
        }
    }
}

impl EntryLine {
    pub(in crate::console::pages) fn new(record: &Record) -> EntryLine {
        let id = record.id().unwrap_or_default();
        let name = record.fields.get("name").map(|name| name.as_text().into_owned());
        EntryLine {
            id,
            link: Link::to_entry(id),
            name: match name {
                Some(name) => SafeText::truncated(&name, 160),
                None => SafeText::prefix(&record.raw, 160),
            },
            verdict: Badge(record.verdict.as_str()),
        }
    }
}
