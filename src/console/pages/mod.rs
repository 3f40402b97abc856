//! The web page: rendered here, whole without a script, with a script that adds what is live.
//!
//! A file for each page: [`entries`], [`entry`], [`deliveries`], [`keys`], [`overview`], [`verify`],
//! [`login`]. A page is a struct of what it shows, and a template of the same name that only lays it
//! out. [`text`] makes hostile values harmless, [`link`] writes addresses, [`histogram`], [`outputs`]
//! and [`explanation`] are parts of pages, [`assets`] is what pages load.

pub mod assets;
pub mod deliveries;
pub mod entries;
pub mod entry;
pub mod explanation;
pub mod histogram;
pub mod keys;
pub mod link;
pub mod login;
pub mod outputs;
pub mod overview;
#[cfg(test)]
mod tests;
pub mod text;
pub mod verify;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use self::link::Link;
use self::text::{SafeText, TimeTag};
use super::problem::Problem;
use super::{Console, raw};
use crate::clock::now;

/// The pages.
pub fn router() -> Router<Arc<Console>> {
    Router::new()
        .route("/", get(entries::show))
        .route("/entries/{id}", get(entry::show))
        .route("/entries/{id}/raw", get(raw::download))
        .route("/deliveries", get(deliveries::show))
        .route("/keys", get(keys::show))
        .route("/overview", get(overview::show))
        .route("/verify", get(verify::empty).post(verify::verify))
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/assets/{version}/{name}", get(assets::asset))
}

/// What all pages have around them.
#[derive(Debug)]
pub struct Shell {
    /// What the page is called.
    pub title: String,
    /// The pages to go to; none before one is logged in.
    pub tabs: Vec<Tab>,
    /// The version of what pages load.
    pub version: &'static str,
    /// Whether there is a way to log out.
    pub log_out: bool,
    /// The page's path and query, for paper.
    pub address: String,
    /// When the page was made.
    pub made: TimeTag,
    /// The version of the program.
    pub program: &'static str,
}

/// A page to go to.
#[derive(Debug)]
pub struct Tab {
    /// What it is called.
    pub name: &'static str,
    /// Where it is.
    pub path: &'static str,
    /// Whether one is there.
    pub current: bool,
}

const TABS: [(&str, &str); 5] = [
    ("Entries", "/"),
    ("Overview", "/overview"),
    ("Deliveries", "/deliveries"),
    ("Keys", "/keys"),
    ("Verify", "/verify"),
];

impl Shell {
    /// That of the page `title`, below the tab that leads to `path`.
    pub fn new(title: impl Into<String>, path: &str) -> Shell {
        let tab =
            |(name, to): (&'static str, &'static str)| Tab { name, path: to, current: to == path };
        let tabs = TABS.into_iter().map(tab).collect();
        Shell {
            title: title.into(),
            tabs,
            version: &assets::VERSION,
            log_out: false,
            address: path.to_owned(),
            made: TimeTag(now()),
            program: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The same at an address of its own.
    pub fn at(self, address: &Link) -> Shell {
        Shell { address: address.to_string(), ..self }
    }

    /// That of a page for whoever is not logged in.
    pub fn bare(title: &str) -> Shell {
        Shell { tabs: Vec::new(), ..Shell::new(title, "") }
    }
}

impl Console {
    /// What is around the page `title`, below the tab that leads to `path`.
    fn shell(&self, title: impl Into<String>, path: &str) -> Shell {
        Shell { log_out: self.guard.asks_for_token(), ..Shell::new(title, path) }
    }
}

/// A page as an answer.
pub fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => {
            let mut answer = (status, text).into_response();
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            answer.headers_mut().insert(CONTENT_TYPE, html);
            answer
        }
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// A problem, as a page.
#[derive(Debug)]
pub struct HtmlProblem(pub Problem);

impl From<Problem> for HtmlProblem {
    fn from(problem: Problem) -> HtmlProblem {
        HtmlProblem(problem)
    }
}

impl IntoResponse for HtmlProblem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = status.canonical_reason().unwrap_or("Problem");
        let detail = SafeText::truncated(&self.0.detail, 500);
        page(status, &ErrorPage { shell: Shell::new(title, ""), status: status.as_u16(), detail })
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    shell: Shell,
    status: u16,
    detail: SafeText,
}
