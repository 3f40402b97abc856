//! The web page: rendered here, whole without a script, with a script that adds what is live.
//!
//! A file for each page: [`entries`], [`entry`], [`deliveries`], [`keys`], [`overview`], [`verify`],
//! [`login`]. A page is a struct of what it shows, and a template of the same name that only lays it
//! out. [`text`] makes hostile values harmless, [`link`] writes addresses, [`histogram`], [`outputs`]
//! and [`explanation`] are parts of pages, [`assets`] is what pages load.

mod deliveries;
mod entries;
mod entry;
mod explanation;
mod histogram;
mod keys;
mod link;
mod login;
mod overview;
#[cfg(test)]
mod tests;
mod text;
mod verify;

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data_encoding::HEXLOWER;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use ring::digest;

use self::link::Link;
use self::text::{SafeText, TimeTag};
use super::problem::Problem;
use super::{Console, problem_response, raw};
use crate::clock::now;

/// The pages.
pub(super) fn router() -> Router<Arc<Console>> {
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
        .route("/assets/{version}/{name}", get(asset))
}

/// What all pages have around them.
#[derive(Debug)]
struct Shell {
    /// What the page is called.
    title: String,
    /// The pages to go to; none before one is logged in.
    tabs: Vec<Tab>,
    /// The version of what pages load.
    version: &'static str,
    /// Whether there is a way to log out.
    log_out: bool,
    /// The page's path and query, for paper.
    address: String,
    /// When the page was made.
    made: TimeTag,
    /// The version of the program.
    program: &'static str,
}

/// A page to go to.
#[derive(Debug)]
struct Tab {
    /// What it is called.
    name: &'static str,
    /// Where it is.
    path: &'static str,
    /// Whether one is there.
    current: bool,
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
    fn new(title: impl Into<String>, path: &str) -> Shell {
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
        }
    }

    /// The same at an address of its own.
    fn at(self, address: &Link) -> Shell {
        Shell { address: address.to_string(), ..self }
    }

    /// That of a page for whoever is not logged in.
    fn bare(title: &str) -> Shell {
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
fn page(status: StatusCode, template: &impl Template) -> Response {
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
pub(super) struct HtmlProblem(pub(super) Problem);

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

struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "style.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("../assets/style.css"),
    },
    Asset {
        name: "script.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("../assets/script.js"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", text: include_str!("../assets/icon.svg") },
];

/// What changes in the addresses when one of them changes.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: String = ASSETS.iter().map(|asset| asset.text).collect();
    let digest = digest::digest(&digest::SHA256, all.as_bytes());
    HEXLOWER.encode(digest.as_ref().get(..6).unwrap_or_default())
});

/// `GET /assets/{version}/{name}`
async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let found = ASSETS.iter().find(|asset| asset.name == name && version == *VERSION);
    match found {
        Some(asset) => {
            let for_ever = "public, max-age=31536000, immutable";
            let headers = [(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, for_ever)];
            (headers, asset.text).into_response()
        }
        None => {
            problem_response(Problem::not_found("there is no such file; reload the page"), &headers)
        }
    }
}
