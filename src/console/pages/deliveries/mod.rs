//! The list of deliveries: stored ones, refused requests, failed TLS handshakes and the quarantine,
//! newest first, with filters.
//!
//! [`delivery`] is the page of one, and [`request`] shows a request that the receiver kept.
//! [`actions`] retries and resends.

pub(super) mod actions;
pub(super) mod delivery;
pub(super) mod request;

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use super::HtmlProblem;
use super::link::{Choice, Link};
use super::part::{Part, parts};
use super::shell::Shell;
use super::text::{SafeText, TimeTag, bytes, count, plural};
use crate::console::Console;
use crate::console::params::{MAX_LIMIT, Params};
use crate::console::problem::Problem;
use crate::console::receiver_info::ReceiverInfo;
use crate::entry::Millis;
use crate::receiver::kept::{KeptRequest, KeptRequests, Outcome};
use crate::store::{Quarantined, Reader, Refused, StoreError, StoredDelivery};

/// The choices for the number of rows: the number, its parameter, its label.
const LIMITS: [(usize, &str, &str); 3] =
    [(50, "50", "newest 50"), (200, "200", "200"), (1000, "1000", "1,000")];

/// The number of columns of the sparkline.
const COLUMNS: usize = 60;

/// What became of a request, and the word for it in the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryState {
    Stored,
    Refused,
    Handshake,
    Quarantined,
}

impl DeliveryState {
    const ALL: [(DeliveryState, &'static str, &'static str); 4] = [
        (DeliveryState::Stored, "stored", "stored"),
        (DeliveryState::Refused, "refused", "refused"),
        (DeliveryState::Handshake, "handshake", "failed handshake"),
        (DeliveryState::Quarantined, "quarantined", "quarantined"),
    ];

    fn word(self) -> &'static str {
        DeliveryState::ALL.iter().find(|(state, ..)| *state == self).map_or("", |(.., word)| word)
    }
}

#[derive(Template)]
#[template(path = "deliveries.html", blocks = ["main", "list"])]
pub(super) struct DeliveriesPage {
    pub(super) shell: Shell,
    pub(super) states: Vec<Choice>,
    pub(super) inputs: Vec<(SafeText, Link, bool)>,
    pub(super) limits: Vec<Choice>,
    pub(super) rows: Vec<Row>,
    /// The columns of the sparkline, oldest first: the heights of stored requests and of others.
    pub(super) sparkline: Vec<Spark>,
    pub(super) keeps_requests: bool,
    /// Whether nothing was ever delivered.
    pub(super) is_empty: bool,
}

parts!(DeliveriesPage: "main" => as_main, "list" => as_list);

/// A column of the sparkline.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spark {
    pub(super) x: usize,
    pub(super) good: usize,
    pub(super) bad: usize,
    pub(super) title: String,
}

pub(super) struct Row {
    pub(super) at: TimeTag,
    pub(super) state: &'static str,
    pub(super) is_good: bool,
    /// Its page, if it has one.
    pub(super) link: Option<Link>,
    /// Its number, or what stands for it.
    pub(super) name: String,
    pub(super) status: String,
    pub(super) input: SafeText,
    pub(super) peer: SafeText,
    pub(super) size: String,
    pub(super) duration: String,
    pub(super) what: What,
}

/// What a row says of its content.
pub(super) enum What {
    Lines {
        received: String,
        stored: String,
        verdicts: Vec<(&'static str, String)>,
        warnings: Vec<(SafeText, String)>,
    },
    Reason(SafeText),
}

/// What the list has, newest first each.
#[derive(Default)]
pub(super) struct Found {
    pub(super) stored: Vec<StoredDelivery>,
    pub(super) refused: Vec<Refused>,
    pub(super) quarantine: Vec<Quarantined>,
    /// Whether nothing was ever delivered.
    pub(super) is_empty: bool,
}

/// The filter of the list.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    state: Option<DeliveryState>,
    input: String,
    limit: usize,
}

/// `GET /deliveries?state=&input=&limit=`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    part: Part,
    params: Result<Params, Problem>,
) -> Result<Response, HtmlProblem> {
    let wanted = Wanted::of(&params?)?;
    let asked = wanted.clone();
    let found = console.read(move |reader| asked.read(reader)).await?;
    let shell = console.shell("Deliveries", "/deliveries").await.at(&wanted.link());
    let list =
        DeliveriesPage::new(shell, &found, &wanted, &console.receiver, &console.deliverer.kept);
    Ok(part.of(StatusCode::OK, &list))
}

impl Wanted {
    /// The newest `limit` of all.
    #[cfg(test)]
    pub(super) fn newest(limit: usize) -> Wanted {
        Wanted { limit, ..Wanted::default() }
    }

    fn of(params: &Params) -> Result<Wanted, Problem> {
        let state = params.state.as_deref().filter(|state| !state.is_empty());
        let known = |name: &str| {
            let found = DeliveryState::ALL.iter().find(|(_, one, _)| *one == name);
            let expected = "expected stored, refused, handshake or quarantined";
            found.map(|(state, ..)| *state).ok_or_else(|| Problem::parameter("state", expected))
        };
        Ok(Wanted {
            state: state.map(known).transpose()?,
            input: params.input.clone().unwrap_or_default(),
            limit: params.limit(50, MAX_LIMIT)?,
        })
    }

    fn wants(&self, state: DeliveryState) -> bool {
        self.state.is_none_or(|wanted| wanted == state)
    }

    /// Whether the input is wanted. A refused request has one only if its reason names it.
    fn wants_input(&self, input: Option<&str>) -> bool {
        self.input.is_empty() || input == Some(self.input.as_str())
    }

    fn link(&self) -> Link {
        let state = DeliveryState::ALL.iter().find(|(state, ..)| Some(*state) == self.state);
        let limit = LIMITS.iter().find(|(limit, ..)| *limit == self.limit && *limit != 50);
        Link::new(
            "/deliveries",
            &[
                ("state", state.map_or("", |(_, name, _)| name)),
                ("input", &self.input),
                ("limit", limit.map_or("", |(_, text, _)| text)),
            ],
        )
    }

    fn read(&self, reader: &Reader) -> Result<Found, StoreError> {
        let mut found = Found::default();
        // An input may have few of the newest deliveries.
        let most = if self.input.is_empty() { self.limit } else { MAX_LIMIT };
        if self.wants(DeliveryState::Stored) {
            found.stored = reader.deliveries(None, most)?;
            found.stored.retain(|one| self.wants_input(Some(&one.input)));
        }
        if self.wants(DeliveryState::Refused) || self.wants(DeliveryState::Handshake) {
            // Both are in one list, so more are read than shown if one is wanted.
            let most = if self.state.is_some() { MAX_LIMIT } else { most };
            found.refused = reader.refused(most)?;
            found
                .refused
                .retain(|one| self.wants(state_of(one)) && self.wants_input(input_of(one)));
        }
        let quarantine = reader.quarantine()?;
        // A body that went to quarantine is listed as such.
        let is_same = |one: &Refused, body: &Quarantined| {
            one.peer == body.peer && one.reason == format!("input {}: {}", body.input, body.reason)
        };
        found.refused.retain(|one| !quarantine.iter().any(|body| is_same(one, body)));
        found.is_empty = quarantine.is_empty() && reader.deliveries(None, 1)?.is_empty();
        if self.wants(DeliveryState::Quarantined) {
            found.quarantine = quarantine.into_iter().rev().collect();
            found.quarantine.retain(|one| self.wants_input(Some(&one.input)));
        }
        Ok(found)
    }
}

/// The input of an authorized request that was not stored.
fn input_of(refused: &Refused) -> Option<&str> {
    refused.reason.strip_prefix("input ")?.split_once(": ").map(|(input, _)| input)
}

/// A refused connection has no status. Neither has a delivery whose connection was closed without an
/// answer, but its reason names the input.
fn state_of(refused: &Refused) -> DeliveryState {
    match (refused.status, input_of(refused)) {
        (None, None) => DeliveryState::Handshake,
        _ => DeliveryState::Refused,
    }
}

impl DeliveriesPage {
    pub(super) fn new(
        shell: Shell,
        found: &Found,
        wanted: &Wanted,
        receiver: &ReceiverInfo,
        kept: &KeptRequests,
    ) -> DeliveriesPage {
        let kept_refused = KeptRefused::of(kept);
        let stored = found.stored.iter().map(|one| (one.received_at, Row::stored(one)));
        let refused = found.refused.iter().map(|one| (one.time, Row::refused(one, &kept_refused)));
        let quarantine =
            found.quarantine.iter().map(|one| (one.received_at, Row::quarantined(one)));
        let mut rows: Vec<_> = stored.chain(refused).chain(quarantine).collect();
        rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        rows.truncate(wanted.limit);
        let state = |(state, name, _): (DeliveryState, &'static str, &str)| Choice {
            name,
            link: Wanted { state: Some(state), ..wanted.clone() }.link(),
            current: wanted.state == Some(state),
        };
        let all = Choice {
            name: "all",
            link: Wanted { state: None, ..wanted.clone() }.link(),
            current: wanted.state.is_none(),
        };
        let limit = |(limit, _, name): (usize, &str, &'static str)| Choice {
            name,
            link: Wanted { limit, ..wanted.clone() }.link(),
            current: limit == wanted.limit,
        };
        let input = |name: &str, shown: &str| {
            let link = Wanted { input: name.to_owned(), ..wanted.clone() }.link();
            (SafeText::truncated(shown, 60), link, wanted.input == name)
        };
        let own = receiver.inputs.iter().map(|one| input(&one.name, &one.name));
        DeliveriesPage {
            shell,
            states: std::iter::once(all).chain(DeliveryState::ALL.into_iter().map(state)).collect(),
            inputs: match receiver.inputs.len() {
                0 | 1 => Vec::new(),
                _ => std::iter::once(input("", "every input")).chain(own).collect(),
            },
            limits: LIMITS.into_iter().map(limit).collect(),
            sparkline: sparkline(&rows),
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            keeps_requests: kept.is_on(),
            is_empty: found.is_empty,
        }
    }
}

/// The requests that the receiver kept and did not store, by peer and status.
struct KeptRefused(HashMap<(String, Option<u16>), Vec<Arc<KeptRequest>>>);

impl KeptRefused {
    fn of(kept: &KeptRequests) -> KeptRefused {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for outcome in [Outcome::Refused, Outcome::Failed] {
            for one in kept.newest(|one| one == outcome, MAX_LIMIT) {
                let status = one.answer.as_ref().map(|answer| answer.status);
                all.entry((one.head.peer.clone(), status)).or_default().push(one);
            }
        }
        KeptRefused(all)
    }

    /// The request that a line of the list is about: the line is written when the request ends.
    fn find(&self, refused: &Refused) -> Option<&KeptRequest> {
        const SLACK: i64 = 100;
        let requests = self.0.get(&(refused.peer.clone(), refused.status))?;
        let is_it = |one: &&Arc<KeptRequest>| {
            let total = one.phases.total.unwrap_or_default().as_millis();
            let took = i64::try_from(total).unwrap_or(i64::MAX);
            let since = refused.time.get().saturating_sub(one.head.received_at.get());
            (0..=took.saturating_add(SLACK)).contains(&since)
        };
        requests.iter().find(is_it).map(AsRef::as_ref)
    }
}

/// The rows over time, oldest first.
fn sparkline(rows: &[(Millis, Row)]) -> Vec<Spark> {
    let (Some((newest, _)), Some((oldest, _))) = (rows.first(), rows.last()) else {
        return Vec::new();
    };
    let span = newest.get().saturating_sub(oldest.get()).max(1);
    let mut columns = vec![(0_usize, 0_usize); COLUMNS];
    for (at, row) in rows {
        let offset = i128::from(at.get().saturating_sub(oldest.get()));
        let place = offset * (COLUMNS as i128 - 1) / i128::from(span);
        let Some(column) = usize::try_from(place).ok().and_then(|at| columns.get_mut(at)) else {
            continue;
        };
        if row.is_good { column.0 += 1 } else { column.1 += 1 }
    }
    let most = columns.iter().map(|(good, bad)| good + bad).max().unwrap_or(1).max(1);
    let scaled = |number: usize| (number * 20).div_ceil(most);
    let spark = |(at, (good, bad)): (usize, (usize, usize))| Spark {
        x: at * 4,
        good: scaled(good),
        bad: scaled(bad),
        title: format!("{good} stored, {bad} not"),
    };
    columns.into_iter().enumerate().map(spark).collect()
}

/// The verdicts of a delivery that occur.
pub(super) fn verdicts(delivered: &StoredDelivery) -> Vec<(&'static str, String)> {
    let verdicts = [
        ("valid", delivered.valid),
        ("unsigned", delivered.unsigned),
        ("no_key", delivered.no_key),
        ("invalid", delivered.invalid),
        ("malformed", delivered.malformed),
    ];
    let some = |(name, number): (&'static str, u64)| (number > 0).then(|| (name, count(number)));
    verdicts.into_iter().filter_map(some).collect()
}

/// A duration in milliseconds with one decimal.
pub(super) fn milliseconds(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}

impl Row {
    fn stored(delivered: &StoredDelivery) -> Row {
        let warning =
            |(name, number): (&String, &u64)| (SafeText::truncated(name, 80), count(*number));
        Row {
            at: TimeTag(delivered.received_at),
            state: DeliveryState::Stored.word(),
            is_good: true,
            link: Some(Link::to_delivery(delivered.id)),
            name: delivered.id.to_string(),
            status: String::new(),
            input: SafeText::new(&delivered.input),
            peer: SafeText::truncated(&delivered.peer, 200),
            size: bytes(delivered.bytes),
            duration: milliseconds(delivered.duration_us),
            what: What::Lines {
                received: plural(delivered.received, "line", "lines"),
                stored: count(delivered.stored),
                verdicts: verdicts(delivered),
                warnings: delivered.warnings.iter().map(warning).collect(),
            },
        }
    }

    fn refused(refused: &Refused, kept: &KeptRefused) -> Row {
        let kept = kept.find(refused);
        Row {
            at: TimeTag(refused.time),
            state: state_of(refused).word(),
            is_good: false,
            link: kept.map(|kept| Link::to_request(kept.number)),
            name: kept.map_or_else(String::new, |kept| format!("request {}", kept.number)),
            status: refused.status.map(|status| status.to_string()).unwrap_or_default(),
            input: SafeText::new(input_of(refused).unwrap_or_default()),
            peer: SafeText::truncated(&refused.peer, 200),
            size: String::new(),
            duration: String::new(),
            what: What::Reason(SafeText::truncated(
                &match &refused.scheme {
                    Some(scheme) => format!("{} (Authorization: {scheme} …)", refused.reason),
                    None => refused.reason.clone(),
                },
                500,
            )),
        }
    }

    fn quarantined(one: &Quarantined) -> Row {
        let encoding = one.content_encoding.as_deref().unwrap_or_default();
        Row {
            at: TimeTag(one.received_at),
            state: DeliveryState::Quarantined.word(),
            is_good: false,
            link: Some(Link::to_quarantined(one.id)),
            name: format!("body {}", one.id),
            status: one.status.to_string(),
            input: SafeText::new(&one.input),
            peer: SafeText::truncated(&one.peer, 200),
            size: bytes(one.bytes),
            duration: String::new(),
            what: What::Reason(SafeText::truncated(
                &match encoding.is_empty() {
                    true => one.reason.clone(),
                    false => format!("{} (Content-Encoding: {encoding})", one.reason),
                },
                500,
            )),
        }
    }
}
