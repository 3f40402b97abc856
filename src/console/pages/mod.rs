//! The web pages. They are rendered on the server and work without the script. The script asks for
//! parts of them, and adds live entries, completion, local times, keys and copying.
//!
//! Each page has a file or a folder: [`explore`], [`entry`], [`deliveries`], [`keys`], [`overview`],
//! [`verify`] and [`login`]; [`outputs`] and [`setup`] have actions, and [`done`] says how one went.
//! A page is a struct with everything that it shows, and a template of the same name with the
//! layout. [`shell`] is the frame around all, and [`part`] answers with a part of a page. [`text`]
//! makes hostile values harmless, [`link`] writes addresses, [`explanation`] explains a verdict, and
//! [`histogram`] draws counts over time. The addresses of the stylesheet, the script and the icon
//! contain a part of their hash, so browsers can cache them for ever.

mod deliveries;
mod done;
mod entry;
mod explanation;
mod explore;
mod faults;
mod histogram;
mod keys;
mod link;
mod login;
mod outputs;
mod overview;
mod part;
mod setup;
mod shell;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod verify;

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data_encoding::HEXLOWER;
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::{HeaderMap, StatusCode};
use ring::digest;

use self::shell::Shell;
use self::text::SafeText;
use super::compress::{Uncompressed, gzip_best, takes_gzip};
use super::problem::Problem;
use super::{Console, evidence, problem_response, raw};
pub(super) use shell::KeptHealth;

pub(super) fn router() -> Router<Arc<Console>> {
    Router::new()
        .route("/", get(explore::show))
        .route("/entries/{id}", get(entry::show))
        .route("/entries/{id}/raw", get(raw::download))
        .route("/entries/{id}/evidence.zip", get(evidence::of_entry))
        .route("/deliveries", get(deliveries::show))
        .route("/deliveries/{id}", get(deliveries::delivery::show))
        .route("/deliveries/requests/{number}", get(deliveries::delivery::kept))
        .route("/deliveries/requests/{number}/resend", post(deliveries::actions::resend))
        .route("/deliveries/quarantine/{id}/retry", post(deliveries::actions::retry))
        .route("/deliveries/requests/{number}/body", get(deliveries::delivery::body))
        .route("/deliveries/quarantine/{id}", get(deliveries::delivery::quarantined))
        .route("/deliveries/quarantine/{id}/body", get(deliveries::delivery::quarantined_body))
        .route("/keys", get(keys::show))
        .route("/overview", get(overview::show))
        .route("/healthline", get(shell::health_line))
        .route("/outputs", get(outputs::show))
        .route("/outputs/{name}/test", post(outputs::test))
        .route("/outputs/{name}/retry", post(outputs::retry))
        .route("/outputs/{name}/reset", get(outputs::ask_reset).post(outputs::reset))
        .route("/outputs/{name}/dead-letters", get(outputs::dead_letters))
        .route("/setup", get(setup::show))
        .route("/setup/authorization", post(setup::show_authorization))
        .route("/setup/test", post(setup::send_test))
        .route("/setup/fault", post(faults::set))
        .route("/setup/fault/clear", post(faults::clear))
        .route("/verify", get(verify::empty).post(verify::verify))
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/assets/{version}/{name}", get(asset))
}

/// Renders a page as a response.
fn page(status: StatusCode, template: &impl Template) -> Response {
    html(status, template.render())
}

/// A rendered page or part as a response.
fn html(status: StatusCode, rendered: askama::Result<String>) -> Response {
    match rendered {
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
    uncompressed(page(status, template))
}

/// Marks an answer that may have the token of a form or another secret.
fn uncompressed(mut answer: Response) -> Response {
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

/// A file that the pages load. Its text may be of several files, which are joined.
struct Asset {
    name: &'static str,
    kind: &'static str,
    texts: &'static [&'static str],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// `idiomorph` (0BSD) puts parts in place: it changes only what differs, so that the focus and what
/// is open stay.
const ASSETS: [Asset; 5] = [
    Asset {
        name: "style.css",
        kind: "text/css; charset=utf-8",
        texts: &[include_str!("../assets/style.css")],
    },
    Asset { name: "theme.js", kind: SCRIPT, texts: &[include_str!("../assets/theme.js")] },
    Asset {
        name: "script.js",
        kind: SCRIPT,
        texts: &[
            include_str!("../assets/vendor/idiomorph.min.js"),
            include_str!("../assets/frame.js"),
            include_str!("../assets/explore.js"),
            include_str!("../assets/deliveries.js"),
        ],
    },
    Asset { name: "setup.js", kind: SCRIPT, texts: &[include_str!("../assets/setup.js")] },
    Asset { name: "icon.svg", kind: "image/svg+xml", texts: &[include_str!("../assets/icon.svg")] },
];

/// An asset, joined and compressed once.
struct Packed {
    plain: String,
    gzip: Vec<u8>,
}

static PACKED: LazyLock<Vec<Packed>> = LazyLock::new(|| {
    let pack = |asset: &Asset| {
        let plain = asset.texts.join("\n");
        Packed { gzip: gzip_best(plain.as_bytes()), plain }
    };
    ASSETS.iter().map(pack).collect()
});

/// A part of the hash of all assets.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut all = digest::Context::new(&digest::SHA256);
    PACKED.iter().for_each(|asset| all.update(asset.plain.as_bytes()));
    HEXLOWER.encode(all.finish().as_ref().get(..6).unwrap_or_default())
});

/// `GET /assets/{version}/{name}`
async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let known = ASSETS.iter().zip(PACKED.iter());
    let found = known.into_iter().find(|(asset, _)| asset.name == name && version == *VERSION);
    let Some((asset, packed)) = found else {
        let missing = Problem::not_found("there is no such file; reload the page");
        return problem_response(missing, &headers);
    };
    let for_ever = "public, max-age=31536000, immutable";
    let common = [(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, for_ever)];
    match takes_gzip(&headers) {
        true => {
            let coded = [(CONTENT_ENCODING, "gzip"), (VARY, "accept-encoding")];
            (common, coded, packed.gzip.as_slice()).into_response()
        }
        false => (common, packed.plain.as_str()).into_response(),
    }
}
