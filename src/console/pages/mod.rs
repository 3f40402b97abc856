//! The web pages. They are rendered on the server and work without the script. The script adds live
//! entries, local times and copying.
//!
//! Each page has a file: [`entries`], [`entry`], [`deliveries`], [`keys`], [`overview`], [`verify`]
//! and [`login`]; [`outputs`] and [`setup`] have actions, and
//! [`done`] says how one went. A page is a struct with everything that it shows, and a template of the same name
//! with the layout. [`text`] makes hostile values harmless, [`link`] writes addresses, and
//! [`histogram`] and [`explanation`] are parts of pages. The addresses of the stylesheet, the
//! script and the icon contain a part of their hash, so browsers can cache them for ever.

mod deliveries;
mod done;
mod entries;
mod entry;
mod explanation;
mod histogram;
mod keys;
mod link;
mod login;
mod outputs;
mod overview;
mod setup;
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
use super::compress::Uncompressed;
use super::problem::Problem;
use super::{Console, problem_response, raw};
use crate::clock::now;

pub(super) fn router() -> Router<Arc<Console>> {
    Router::new()
        .route("/", get(entries::show))
        .route("/entries/{id}", get(entry::show))
        .route("/entries/{id}/raw", get(raw::download))
        .route("/deliveries", get(deliveries::show))
        .route("/keys", get(keys::show))
        .route("/overview", get(overview::show))
        .route("/outputs", get(outputs::show))
        .route("/outputs/{name}/test", post(outputs::test))
        .route("/outputs/{name}/retry", post(outputs::retry))
        .route("/outputs/{name}/reset", get(outputs::ask_reset).post(outputs::reset))
        .route("/outputs/{name}/dead-letters", get(outputs::dead_letters))
        .route("/setup", get(setup::show))
        .route("/setup/authorization", post(setup::show_authorization))
        .route("/setup/test", post(setup::send_test))
        .route("/verify", get(verify::empty).post(verify::verify))
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/assets/{version}/{name}", get(asset))
}

/// The frame around every page.
#[derive(Debug)]
struct Shell {
    title: String,
    /// The navigation. Empty on the login page.
    tabs: Vec<Tab>,
    /// The version of the assets.
    version: &'static str,
    /// Whether there is a button to log out.
    log_out: bool,
    /// The path and query of the page, for printing.
    address: String,
    made: TimeTag,
    program: &'static str,
}

#[derive(Debug)]
struct Tab {
    name: &'static str,
    path: &'static str,
    current: bool,
}

const TABS: [(&str, &str); 7] = [
    ("Entries", "/"),
    ("Overview", "/overview"),
    ("Deliveries", "/deliveries"),
    ("Outputs", "/outputs"),
    ("Keys", "/keys"),
    ("Verify", "/verify"),
    ("Setup", "/setup"),
];

impl Shell {
    /// The frame of the page `title`. The tab of `path` is the current one.
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

    /// Sets the address of the page, if it is not that of the tab.
    fn at(self, address: &Link) -> Shell {
        Shell { address: address.to_string(), ..self }
    }

    /// The frame of a page for visitors who are not logged in.
    fn bare(title: &str) -> Shell {
        Shell { tabs: Vec::new(), ..Shell::new(title, "") }
    }
}

impl Console {
    /// The frame of the page `title`. The tab of `path` is the current one.
    fn shell(&self, title: impl Into<String>, path: &str) -> Shell {
        Shell { log_out: self.guard.asks_for_token(), ..Shell::new(title, path) }
    }
}

/// Renders a page as a response.
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

/// Renders a page that may have the token of a form or another secret: it is not compressed.
fn secret_page(status: StatusCode, template: &impl Template) -> Response {
    let mut answer = page(status, template);
    answer.extensions_mut().insert(Uncompressed);
    answer
}

/// A problem that is shown as a page.
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

const ASSETS: [Asset; 4] = [
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
    Asset {
        name: "setup.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("../assets/setup.js"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", text: include_str!("../assets/icon.svg") },
];

/// A part of the hash of all assets.
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
