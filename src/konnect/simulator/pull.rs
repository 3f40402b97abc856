//! `GET /v3/audit-logs`: the organization's entries, newest first.
//!
//! All pages belong to the same list. The default end is the time of the first page, which the
//! URIs of the other pages contain. Entries get numbers in the order of their times, so no page
//! repeats or misses one.

use super::log::{EntryLog, LoggedEntry};
use super::query::{ListQuery, Page, PageRequest, page_of};
use crate::entry::Format;
use crate::entry::{Kind, Millis, Value};
use crate::konnect::api::WebhookScope;
use crate::konnect::api::{
    Authentication, Authorization, GatewayAccess, PulledEntry, PulledMeta, PulledPage, Time,
};
use crate::konnect::event::Event;

/// The default length of the range: seven days, in milliseconds.
const DEFAULT_SPAN: i64 = 7 * crate::entry::time::DAY;

/// The values of `filter[type]`.
pub(super) const TYPES: [&str; 3] = ["authorization", "authentication", "gateway_access"];

/// The requested entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PullRange {
    start: Millis,
    end: Millis,
    kind: Option<Kind>,
}

impl PullRange {
    /// Reads the filters, and sets the end in `query`.
    pub(super) fn read(query: &mut ListQuery, now: Millis) -> PullRange {
        const END: &str = "filter[ts][lte]";
        let (gte, lte) = (query.time("filter[ts][gte]"), query.time(END));
        let kind = query.choice("filter[type]", &TYPES).map(|kind| match kind.as_str() {
            "authorization" => Kind::Authorization,
            "authentication" => Kind::Authentication,
            _ => Kind::Access,
        });
        // A time before 1970 is before every entry.
        let millis = |time: Time| time.millis().unwrap_or(Millis::MIN);
        let end = lte.map_or(now, millis);
        let start = gte.map_or(Millis::saturating(end.get() - DEFAULT_SPAN), millis);
        if lte.is_none() {
            query.fix(END, &end.to_string());
        }
        PullRange { start, end, kind }
    }

    pub(super) fn page(&self, log: &EntryLog, request: PageRequest) -> Page<PulledEntry> {
        let item = |entry: &std::sync::Arc<LoggedEntry>| {
            let fits = self.kind.is_none_or(|kind| kind == Kind::of(Some(&entry.event.name)));
            (entry.scope == WebhookScope::Organization && fits)
                .then(|| pulled(entry))
                .flatten()
                .map(|pulled| (entry.number, pulled))
        };
        let first = log.number_at(self.start);
        // The range includes both ends.
        let end = log.number_at(Millis::saturating(self.end.get().saturating_add(1)));
        page_of(
            request.position,
            request.size,
            |after| {
                let older = log.before(after.map_or(end, |number| number.min(end))).rev();
                older.take_while(move |entry| entry.number >= first).filter_map(item)
            },
            |number| {
                let newer = log.from(number.saturating_add(1).max(first));
                newer.take_while(move |entry| entry.number < end).filter_map(item)
            },
        )
    }
}

pub(super) fn answer(
    query: &ListQuery,
    request: PageRequest,
    page: Page<PulledEntry>,
) -> PulledPage {
    let meta = PulledMeta { page: query.beside(request, &page) };
    PulledPage { data: page.items, meta }
}

/// An entry in the format of the API; `None` if it has none of the types.
fn pulled(entry: &LoggedEntry) -> Option<PulledEntry> {
    let event = &entry.event;
    let text = |name| event.get(name).map(|value| value.as_text().into_owned());
    let required = |name| text(name).unwrap_or_default();
    let boolean = |name| matches!(event.get(name), Some(Value::Boolean(true)));
    let ts = Time::from(event.at);
    let signature = entry.signer.signature(&event.text(Format::Json));
    Some(match Kind::of(Some(&event.name)) {
        Kind::Authorization => PulledEntry::Authorization(Authorization {
            signature,
            service: event.class_id.clone(),
            resource: resource(event, &required("org_id")),
            action: required("action"),
            granted: boolean("granted"),
            org_id: required("org_id"),
            ts,
            principal_id: required("principal_id"),
            actor_id: text("actor_id"),
            client_ip: text("src"),
            uri: text("request"),
            user_agent: text("user_agent"),
            trace_id: text("trace_id"),
            portal_id: text("portal_id"),
        }),
        Kind::Access => PulledEntry::GatewayAccess(GatewayAccess {
            ts,
            org_id: required("org_id"),
            principal_id: required("principal_id"),
            actor_id: required("actor_id"),
            client_ip: required("src"),
            trace_id: required("trace_id"),
            user_agent: required("user_agent"),
            method: required("act"),
            uri: required("request"),
            query: required("query"),
            status_code: required("status").parse().unwrap_or_default(),
            signature,
            portal_id: text("portal_id"),
        }),
        Kind::Authentication => PulledEntry::Authentication(Authentication {
            successful: boolean("success"),
            principal_id: text("principal_id"),
            signature,
            org_id: text("org_id"),
            outcome: suffix(&event.name, "AUTHENTICATION_OUTCOME_"),
            authentication_type: suffix(&event.class_id, "AUTHENTICATION_TYPE_"),
            ts,
            client_ip: required("src"),
            uri: required("request"),
            user_agent: required("user_agent"),
            trace_id: required("trace_id"),
            portal_id: text("portal_id"),
        }),
        Kind::Other => return None,
    })
}

/// The KRN of the resource. The name of a delivered entry is the end of it.
fn resource(event: &Event, org_id: &str) -> String {
    let name = event.name.strip_prefix("Authz.").unwrap_or(&event.name);
    format!("krn:konnect:org/{org_id}:{name}")
}

fn suffix(text: &str, prefix: &str) -> String {
    text.strip_prefix(prefix).unwrap_or(text).to_lowercase()
}
