//! The page of keys: the known keys with the number of entries that each verified, and the key
//! sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use super::link::Link;
use super::shell::Shell;
use super::text::{SafeText, TimeTag, count};
use super::{HtmlProblem, page};
use crate::console::Console;
use crate::signature::KeySet;
use crate::store::{Sighting, Source};

#[derive(Template)]
#[template(path = "keys.html")]
pub(super) struct KeysPage {
    pub(super) shell: Shell,
    pub(super) keys: Vec<KeyRow>,
    pub(super) sources: Vec<SourceRow>,
    pub(super) has_source: bool,
}

pub(super) struct KeyRow {
    pub(super) kid: SafeText,
    pub(super) thumbprint: String,
    pub(super) source: SafeText,
    pub(super) first_seen: TimeTag,
    pub(super) last_seen: TimeTag,
    /// Whether the key verifies new entries.
    pub(super) in_use: bool,
    pub(super) entries: String,
    pub(super) link: Option<Link>,
}

pub(super) struct SourceRow {
    pub(super) source: SafeText,
    pub(super) attempted_at: TimeTag,
    pub(super) succeeded_at: Option<TimeTag>,
    pub(super) error: Option<SafeText>,
}

/// `GET /keys`
pub(super) async fn show(State(console): State<Arc<Console>>) -> Result<Response, HtmlProblem> {
    let (known, counts) =
        console.read(|reader| Ok((reader.keys()?, reader.verified_by()?))).await?;
    let in_use = console.ring.all();
    let shell = console.shell("Keys", "/keys").await;
    let keys = KeysPage::new(shell, known, &counts, &in_use, console.receiver.has_key_source);
    Ok(page(StatusCode::OK, &keys))
}

impl KeysPage {
    pub(super) fn new(
        shell: Shell,
        (sightings, sources): (Vec<Sighting>, Vec<Source>),
        counts: &BTreeMap<String, u64>,
        in_use: &KeySet,
        has_source: bool,
    ) -> KeysPage {
        let key = |sighting: Sighting| {
            let thumbprint = sighting.key.thumbprint().to_string();
            let entries = counts.get(&thumbprint).copied().unwrap_or(0);
            KeyRow {
                kid: SafeText::truncated(sighting.key.kid(), 200),
                source: SafeText::new(&sighting.source),
                first_seen: TimeTag(sighting.first_seen),
                last_seen: TimeTag(sighting.last_seen),
                in_use: in_use.keys().iter().any(|one| one.thumbprint().to_string() == thumbprint),
                entries: count(entries),
                link: Link::to_equal("kid", sighting.key.kid()).filter(|_| entries > 0),
                thumbprint,
            }
        };
        let source = |source: Source| SourceRow {
            source: SafeText::new(&source.source),
            attempted_at: TimeTag(source.attempted_at),
            succeeded_at: source.succeeded_at.map(TimeTag),
            error: source.error.map(|error| SafeText::truncated(&error, 500)),
        };
        KeysPage {
            shell,
            keys: sightings.into_iter().map(key).collect(),
            sources: sources.into_iter().map(source).collect(),
            has_source,
        }
    }
}
