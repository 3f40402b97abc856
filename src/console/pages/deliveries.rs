//! Deliveries: what came, what was turned away and why, what is in quarantine; and what to check if
//! nothing arrives.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use super::entries::FirstDelivery;
use super::link::{Choice, Link};
use super::text::{Shown, Time, bytes, count};
use super::{Shell, Trouble, page};
use crate::console::Console;
use crate::console::about::About;
use crate::console::ask::{Ask, MAX_LIMIT};
use crate::console::problem::Problem;
use crate::store::{Delivered, Quarantined, Refused, Stats};

/// How many of each are listed, to choose from.
const LIMITS: [(usize, &str, &str); 3] =
    [(50, "50", "newest 50"), (200, "200", "200"), (1000, "1000", "1,000")];

/// How many of the requests that were refused stand above the deliveries.
const FIRST: usize = 5;

#[derive(Template)]
#[template(path = "deliveries.html")]
pub(super) struct DeliveriesPage {
    pub(super) shell: Shell,
    pub(super) choices: Vec<Choice>,
    pub(super) deliveries: Vec<DeliveryRow>,
    /// The first of the requests that were refused, and the others.
    pub(super) refused: (Vec<RefusedRow>, Vec<RefusedRow>),
    pub(super) quarantine: Vec<QuarantineRow>,
    /// What to check, if nothing was ever delivered.
    pub(super) nothing: Option<Nothing>,
}

/// There is nothing at all.
pub(super) struct Nothing {
    pub(super) first: FirstDelivery,
    pub(super) endpoints: Vec<Shown>,
    pub(super) self_signed: bool,
    pub(super) tls: bool,
}

pub(super) struct DeliveryRow {
    pub(super) id: u64,
    pub(super) link: Link,
    pub(super) at: Time,
    pub(super) input: Shown,
    pub(super) peer: Shown,
    pub(super) bytes: String,
    pub(super) decoded: String,
    pub(super) received: String,
    pub(super) stored: String,
    pub(super) verdicts: Vec<(&'static str, String)>,
    pub(super) warnings: Vec<(Shown, String)>,
    pub(super) duration: String,
}

pub(super) struct RefusedRow {
    pub(super) at: Time,
    pub(super) peer: Shown,
    pub(super) status: String,
    pub(super) reason: Shown,
    pub(super) scheme: Shown,
}

pub(super) struct QuarantineRow {
    pub(super) id: u64,
    pub(super) at: Time,
    pub(super) input: Shown,
    pub(super) peer: Shown,
    pub(super) status: u16,
    pub(super) reason: Shown,
    pub(super) encoding: Shown,
    pub(super) bytes: String,
}

/// `GET /deliveries?limit=`
pub async fn show(
    State(console): State<Arc<Console>>,
    ask: Result<Ask, Problem>,
) -> Result<Response, Trouble> {
    let limit = ask?.limit(50, MAX_LIMIT)?;
    let stats = console.read(move |reader| reader.stats(limit)).await?;
    let shell = console.shell("Deliveries", "/deliveries");
    Ok(page(StatusCode::OK, &DeliveriesPage::new(shell, &stats, limit, &console.about)))
}

impl DeliveriesPage {
    pub(super) fn new(shell: Shell, stats: &Stats, limit: usize, about: &About) -> DeliveriesPage {
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
            // The newest first, as everywhere.
            quarantine: stats.quarantine.iter().rev().take(limit).map(quarantined).collect(),
            nothing: (stats.deliveries.is_empty() && stats.quarantine.is_empty())
                .then(|| Nothing::new(about)),
        }
    }
}

impl Nothing {
    fn new(about: &About) -> Nothing {
        let endpoint = |path: &String| Shown::all(&format!("{}{path}", about.base));
        Nothing {
            first: FirstDelivery::new(about),
            endpoints: about.inputs.iter().map(|input| endpoint(&input.path)).collect(),
            self_signed: about.self_signed.is_some(),
            tls: about.tls,
        }
    }
}

fn delivery(delivered: &Delivered) -> DeliveryRow {
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
        at: Time(delivered.received_at),
        input: Shown::all(&delivered.input),
        peer: Shown::up_to(&delivered.peer, 200),
        bytes: bytes(delivered.bytes),
        decoded: bytes(delivered.decoded_bytes),
        received: count(delivered.received),
        stored: count(delivered.stored),
        verdicts: verdicts.into_iter().filter_map(some).collect(),
        warnings: delivered
            .warnings
            .iter()
            .map(|(name, number)| (Shown::up_to(name, 80), count(*number)))
            .collect(),
        duration: format!("{:.1} ms", delivered.duration_us as f64 / 1000.0),
    }
}

fn refused(refused: &Refused) -> RefusedRow {
    RefusedRow {
        at: Time(refused.time),
        peer: Shown::up_to(&refused.peer, 200),
        status: refused.status.map_or_else(|| "–".to_owned(), |status| status.to_string()),
        reason: Shown::up_to(&refused.reason, 500),
        scheme: Shown::up_to(refused.scheme.as_deref().unwrap_or_default(), 40),
    }
}

fn quarantined(one: &Quarantined) -> QuarantineRow {
    QuarantineRow {
        id: one.id,
        at: Time(one.received_at),
        input: Shown::all(&one.input),
        peer: Shown::up_to(&one.peer, 200),
        status: one.status,
        reason: Shown::up_to(&one.reason, 500),
        encoding: Shown::up_to(one.content_encoding.as_deref().unwrap_or_default(), 80),
        bytes: bytes(one.bytes),
    }
}
