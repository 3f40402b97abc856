//! The stylesheet, the script and the icon. Their addresses hold a part of their hash, so that a
//! browser may keep them and gets new ones all the same.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use hyper::HeaderMap;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use ring::digest;

use crate::console::problem::Problem;
use crate::console::problem_response;

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
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: String = ASSETS.iter().map(|asset| asset.text).collect();
    let digest = digest::digest(&digest::SHA256, all.as_bytes());
    HEXLOWER.encode(digest.as_ref().get(..6).unwrap_or_default())
});

/// `GET /assets/{version}/{name}`
pub async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
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
