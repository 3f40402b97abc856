//! The frame around every page: the navigation and the health line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use super::link::Link;
use super::part::Part;
use super::text::{TimeTag, ago, plural};
use super::{HtmlProblem, VERSION, html};
use crate::clock::now;
use crate::console::Console;
use crate::console::lag::behind_of;
use crate::console::problem::Problem;
use crate::entry::Millis;
use crate::store::{OutputStanding, Reader, StoreError};

/// The frame around every page.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) title: String,
    /// The navigation. Empty on the login page.
    pub(super) tabs: Vec<Tab>,
    /// The version of the assets.
    pub(super) version: &'static str,
    /// Whether there is a button to log out.
    pub(super) log_out: bool,
    /// The path and query of the page, for printing.
    pub(super) address: String,
    pub(super) made: TimeTag,
    pub(super) program: &'static str,
    /// `None` on the login page, on errors, and in a part of a page.
    pub(super) health: Option<HealthLine>,
}

#[derive(Debug)]
pub(super) struct Tab {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) current: bool,
}

const TABS: [(&str, &str); 7] = [
    ("Explore", "/"),
    ("Overview", "/overview"),
    ("Deliveries", "/deliveries"),
    ("Outputs", "/outputs"),
    ("Keys", "/keys"),
    ("Verify", "/verify"),
    ("Setup", "/setup"),
];

impl Shell {
    /// The frame of the page `title`. The tab of `path` is the current one.
    pub(super) fn new(title: impl Into<String>, path: &str) -> Shell {
        let tab =
            |(name, to): (&'static str, &'static str)| Tab { name, path: to, current: to == path };
        let tabs = TABS.into_iter().map(tab).collect();
        Shell {
            title: title.into(),
            tabs,
            version: &VERSION,
            log_out: false,
            address: path.to_owned(),
            made: TimeTag(now()),
            program: env!("CARGO_PKG_VERSION"),
            health: None,
        }
    }

    /// Sets the address of the page, if it is not that of the tab.
    pub(super) fn at(self, address: &Link) -> Shell {
        Shell { address: address.to_string(), ..self }
    }

    /// The frame of a page for visitors who are not logged in.
    pub(super) fn bare(title: &str) -> Shell {
        Shell { tabs: Vec::new(), ..Shell::new(title, "") }
    }
}

/// The health line: when the last delivery came, and whether outputs are behind.
#[derive(Clone, Debug, Template)]
#[template(path = "health.html")]
pub(super) struct HealthLine {
    last: String,
    /// Empty if no output is configured.
    outputs: String,
    is_bad: bool,
}

/// How long a health line is shown again.
const FRESH: Duration = Duration::from_secs(1);

/// The last health line.
#[derive(Debug, Default)]
pub(in crate::console) struct KeptHealth(Mutex<Option<(Instant, HealthLine)>>);

impl KeptHealth {
    fn get(&self) -> Option<HealthLine> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, line)| line.clone())
    }

    fn put(&self, line: &HealthLine) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Instant::now(), line.clone()));
    }
}

impl HealthLine {
    fn read(reader: &Reader, can_write: bool) -> Result<HealthLine, StoreError> {
        let now = now();
        let last = reader.deliveries(None, 1)?.into_iter().next();
        let outputs = reader.output_standings(now)?;
        Ok(HealthLine::new(last.map(|one| one.received_at), &outputs, can_write, now))
    }

    /// The line at `now`. `last` is the time of the last delivery.
    pub(super) fn new(
        last: Option<Millis>,
        outputs: &[OutputStanding],
        can_write: bool,
        now: Millis,
    ) -> HealthLine {
        let (all, behind) = behind_of(outputs, now);
        let last = match last {
            _ if !can_write => "the store cannot be written".to_owned(),
            Some(at) => format!("last delivery {} ago", ago(now.get() - at.get())),
            None => "no delivery yet".to_owned(),
        };
        let outputs = match (all, behind) {
            (0, _) => String::new(),
            (all, 0) => format!("{} up to date", plural(all, "output", "outputs")),
            (_, some) => format!("{} behind", plural(some, "output", "outputs")),
        };
        HealthLine { last, outputs, is_bad: behind > 0 || !can_write }
    }
}

impl Console {
    /// The frame of the page `title`. The tab of `path` is the current one.
    pub(super) async fn shell(&self, title: impl Into<String>, path: &str) -> Shell {
        let health = self.health_line().await;
        Shell {
            log_out: self.guard.asks_for_token(),
            health: health.inspect_err(|error| tracing::warn!(error.detail, "no health line")).ok(),
            ..Shell::new(title, path)
        }
    }

    async fn health_line(&self) -> Result<HealthLine, Problem> {
        if let Some(kept) = self.health_line.get() {
            return Ok(kept);
        }
        let can_write = self.health.trouble().is_none();
        let line = self.read(move |reader| HealthLine::read(reader, can_write)).await?;
        self.health_line.put(&line);
        Ok(line)
    }
}

/// `GET /healthline`: the health line alone.
pub(super) async fn health_line(
    State(console): State<Arc<Console>>,
) -> Result<Response, HtmlProblem> {
    let line = console.health_line().await?;
    Ok(Part::answer("health", html(StatusCode::OK, line.render())))
}
