//! The page of deliveries, refused requests and the quarantine.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use super::link::{Choice, Link};
use super::text::{SafeText, TimeTag, bytes, count};
use super::{HtmlProblem, Shell, page};
use crate::console::Console;
use crate::console::params::{MAX_LIMIT, Params};
use crate::console::problem::Problem;
use crate::store::{Quarantined, Refused, Stats, StoredDelivery};

/// The choices for the number of rows: the number, its parameter, its label.
const LIMITS: [(usize, &str, &str); 3] =
    [(50, "50", "newest 50"), (200, "200", "200"), (1000, "1000", "1,000")];

/// The number of refused requests that are shown without unfolding.
const FIRST: usize = 5;

#[derive(Template)]
#[template(path = "deliveries.html")]
pub(super) struct DeliveriesPage {
    pub(super) shell: Shell,
    pub(super) choices: Vec<Choice>,
    pub(super) deliveries: Vec<DeliveryRow>,
    /// The first refused requests, and the others.
    pub(super) refused: (Vec<RefusedRow>, Vec<RefusedRow>),
    pub(super) quarantine: Vec<QuarantineRow>,
    /// Whether nothing was ever delivered.
    pub(super) is_empty: bool,
}

pub(super) struct DeliveryRow {
    pub(super) id: u64,
    pub(super) link: Link,
    pub(super) at: TimeTag,
    pub(super) input: SafeText,
    pub(super) peer: SafeText,
    pub(super) bytes: String,
    pub(super) decoded: String,
    pub(super) received: String,
    pub(super) stored: String,
    pub(super) verdicts: Vec<(&'static str, String)>,
    pub(super) warnings: Vec<(SafeText, String)>,
    pub(super) duration: String,
}

pub(super) struct RefusedRow {
    pub(super) at: TimeTag,
    pub(super) peer: SafeText,
    pub(super) status: String,
    pub(super) reason: SafeText,
    pub(super) scheme: SafeText,
}

pub(super) struct QuarantineRow {
    pub(super) id: u64,
    pub(super) at: TimeTag,
    pub(super) input: SafeText,
    pub(super) peer: SafeText,
    pub(super) status: u16,
    pub(super) reason: SafeText,
    pub(super) encoding: SafeText,
    pub(super) bytes: String,
}

/// `GET /deliveries?limit=`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    params: Result<Params, Problem>,
) -> Result<Response, HtmlProblem> {
    let limit = params?.limit(50, MAX_LIMIT)?;
    let stats = console.read(move |reader| reader.stats(limit)).await?;
    let shell = console.shell("Deliveries", "/deliveries");
    Ok(page(StatusCode::OK, &DeliveriesPage::new(shell, &stats, limit)))
}

impl DeliveriesPage {
    pub(super) fn new(shell: Shell, stats: &Stats, limit: usize) -> DeliveriesPage {
        let choice = |(most, text, name): (usize, &str, &'static str)| Choice {
            name,
            link: Link::new("/deliveries", &[("limit", text)]),
            current: most == limit,
        };
        DeliveriesPage {
            shell,
            choices: LIMITS.into_iter().map(choice).collect(),
            deliveries: stats.deliveries.iter().map(delivery).collect(),
            refused: (
                stats.refused.iter().take(FIRST).map(refused).collect(),
                stats.refused.iter().skip(FIRST).map(refused).collect(),
            ),
            // Newest first, as everywhere.
            quarantine: stats.quarantine.iter().rev().take(limit).map(quarantined).collect(),
            is_empty: stats.deliveries.is_empty() && stats.quarantine.is_empty(),
        }
    }
}

fn delivery(delivered: &StoredDelivery) -> DeliveryRow {
    let verdicts = [
        ("valid", delivered.valid),
        ("unsigned", delivered.unsigned),
        ("no_key", delivered.no_key),
        ("invalid", delivered.invalid),
        ("malformed", delivered.malformed),
    ];
    let some = |(name, number): (&'static str, u64)| (number > 0).then(|| (name, count(number)));
    DeliveryRow {
        id: delivered.id,
        link: Link::delivery(delivered.id),
        at: TimeTag(delivered.received_at),
        input: SafeText::new(&delivered.input),
        peer: SafeText::truncated(&delivered.peer, 200),
        bytes: bytes(delivered.bytes),
        decoded: bytes(delivered.decoded_bytes),
        received: count(delivered.received),
        stored: count(delivered.stored),
        verdicts: verdicts.into_iter().filter_map(some).collect(),
        warnings: delivered
            .warnings
            .iter()
            .map(|(name, number)| (SafeText::truncated(name, 80), count(*number)))
            .collect(),
        duration: format!("{:.1} ms", delivered.duration_us as f64 / 1000.0),
    }
}

fn refused(refused: &Refused) -> RefusedRow {
    RefusedRow {
        at: TimeTag(refused.time),
        peer: SafeText::truncated(&refused.peer, 200),
        status: refused.status.map_or_else(|| "–".to_owned(), |status| status.to_string()),
        reason: SafeText::truncated(&refused.reason, 500),
        scheme: SafeText::truncated(refused.scheme.as_deref().unwrap_or_default(), 40),
    }
}

fn quarantined(one: &Quarantined) -> QuarantineRow {
    QuarantineRow {
        id: one.id,
        at: TimeTag(one.received_at),
        input: SafeText::new(&one.input),
        peer: SafeText::truncated(&one.peer, 200),
        status: one.status,
        reason: SafeText::truncated(&one.reason, 500),
        encoding: SafeText::truncated(one.content_encoding.as_deref().unwrap_or_default(), 80),
        bytes: bytes(one.bytes),
    }
}
