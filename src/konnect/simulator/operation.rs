//! The documented operations: what a body and a query have to be, and what comes of them.

use hyper::{Method, StatusCode, Uri};

use super::answer::{Answer, Result, json, no_content};
use super::body::Body;
use super::core::Core;
use super::destinations::MAX_DESTINATIONS;
use super::log::Scope;
use super::organization::Organization;
use super::pull::{self, Range};
use super::query::Query;
use super::refusal::Refusal;
use super::route::Resource;
use crate::entry::Format;
use crate::entry::Millis;
use crate::konnect::api::{
    CreateDestination, DestinationPage, ReplayRange, UpdateDestination, UpdateWebhook,
    UpdateWebhookV2,
};
use crate::settings::Secret;

/// How many destinations a page has, if nothing is said.
const DESTINATIONS: usize = 10;
/// How many entries a page has, if nothing is said, and at most.
const ENTRIES: (usize, usize) = (20, 1000);

/// Does what `method` asks of `resource`.
pub fn perform(
    core: &Core,
    resource: &Resource,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> Result<Answer> {
    const OK: StatusCode = StatusCode::OK;
    let (mut organization, now) = (core.organization(), core.clock.now());
    let organization = &mut *organization;
    let reads = *method == Method::GET;
    match resource {
        Resource::Destinations if reads => {
            let mut query = Query::of(uri);
            let page = query.page(DESTINATIONS, MAX_DESTINATIONS, false);
            query.check()?;
            let slice = organization.destinations.page(page.position, page.size, &query.names());
            let meta = query.beside(page, &slice);
            Ok(json(OK, &DestinationPage { data: slice.items, meta }))
        }
        Resource::Destinations => {
            let created = organization.create(create(Body::parse(body)?)?, now)?;
            Ok(json(StatusCode::CREATED, &created))
        }
        Resource::Destination(id) if reads => {
            let stored = organization.destinations.get(&id.to_ascii_lowercase());
            Ok(json(OK, &stored.ok_or(Refusal::NotFound)?.shown))
        }
        Resource::Destination(id) if *method == Method::PATCH => {
            let id = id.to_ascii_lowercase();
            organization.destinations.get(&id).ok_or(Refusal::NotFound)?;
            let update = update(Body::parse(body)?)?;
            Ok(json(OK, &organization.change(&id, update, now)?))
        }
        Resource::Destination(id) => {
            organization.delete(&id.to_ascii_lowercase())?;
            Ok(no_content())
        }
        Resource::WebhookV2 if reads => Ok(json(OK, &organization.shown_v2()?)),
        Resource::WebhookV2 => {
            let update = update_v2(Body::parse(body)?)?;
            Ok(json(OK, &organization.set_v2(update, now)?))
        }
        Resource::Webhook(scope) if reads => Ok(json(OK, &organization.shown(scope)?)),
        Resource::Webhook(scope) if *method == Method::PATCH => {
            organization.webhook(scope)?;
            let update = webhook(Body::parse(body)?)?;
            Ok(json(OK, &organization.set(scope, update, now)?))
        }
        Resource::Webhook(scope) => {
            organization.unset(scope, now)?;
            Ok(no_content())
        }
        Resource::Status(scope) => Ok(json(OK, &organization.webhook(scope)?.status())),
        Resource::Replay(scope) if reads => {
            Ok(json(OK, &organization.webhook(scope)?.replay_job()))
        }
        Resource::Replay(scope) => replay(organization, scope, body, now),
        Resource::Entries => {
            let mut query = Query::of(uri);
            let page = query.page(ENTRIES.0, ENTRIES.1, true);
            let range = Range::read(&mut query, now);
            query.check()?;
            organization.log.prune(now);
            let slice = range.page(&organization.log, page);
            Ok(json(OK, &pull::answer(&query, page, slice)))
        }
        // They are answered before.
        Resource::KeySet | Resource::Control(_) => Err(Refusal::NotFound),
    }
}

fn create(mut body: Body) -> Result<CreateDestination> {
    let name = body.name("name");
    let name = body.require("name", name);
    let endpoint = body.endpoint("endpoint");
    let endpoint = body.require("endpoint", endpoint);
    let authorization = body.authorization("authorization");
    let authorization = body.require("authorization", authorization);
    let log_format = body.log_format("log_format");
    let log_format = body.require("log_format", log_format);
    let skip_ssl_verification = body.boolean("skip_ssl_verification").unwrap_or(false);
    body.done()?;
    let all = (name, endpoint, authorization, log_format);
    let (Some(name), Some(endpoint), Some(authorization), Some(log_format)) = all else {
        // What is missing was noted.
        return Err(Refusal::Internal);
    };
    Ok(CreateDestination { name, endpoint, authorization, log_format, skip_ssl_verification })
}

/// The members that a destination and the webhook of version 2 have in common.
fn target(body: &mut Body) -> (Option<String>, Option<Secret>, Option<Format>, Option<bool>) {
    (
        body.endpoint("endpoint"),
        body.authorization("authorization"),
        body.log_format("log_format"),
        body.boolean("skip_ssl_verification"),
    )
}

fn update(mut body: Body) -> Result<UpdateDestination> {
    let name = body.name("name");
    let (endpoint, authorization, log_format, skip_ssl_verification) = target(&mut body);
    body.done()?;
    Ok(UpdateDestination { name, endpoint, authorization, log_format, skip_ssl_verification })
}

fn update_v2(mut body: Body) -> Result<UpdateWebhookV2> {
    let enabled = body.boolean("enabled");
    let (endpoint, authorization, log_format, skip_ssl_verification) = target(&mut body);
    body.done()?;
    Ok(UpdateWebhookV2 { endpoint, authorization, enabled, log_format, skip_ssl_verification })
}

fn webhook(mut body: Body) -> Result<UpdateWebhook> {
    let audit_log_destination_id = body.destination_id("audit_log_destination_id");
    let enabled = body.boolean("enabled");
    body.done()?;
    Ok(UpdateWebhook { audit_log_destination_id, enabled })
}

fn replay(
    organization: &mut Organization,
    scope: &Scope,
    body: &[u8],
    now: Millis,
) -> Result<Answer> {
    organization.webhook(scope)?;
    let mut body = Body::parse(body)?;
    let mut times = Vec::new();
    for name in ["start_at", "end_at"] {
        let time = body.time(name);
        let Some(time) = body.require(name, time) else { continue };
        if time.millis().is_some_and(|time| organization.is_kept(time, now)) {
            times.push(time);
        } else {
            body.wrong::<()>(name, "invalid", "must be within the time that entries are kept");
        }
    }
    if let [start, end] = times[..]
        && end < start
    {
        body.wrong::<()>("end_at", "invalid", "must not be before start_at");
    }
    body.done()?;
    let [start_at, end_at] = times[..] else { return Err(Refusal::Internal) };
    let job = organization.replay(scope, ReplayRange { start_at, end_at }, now)?;
    Ok(json(StatusCode::ACCEPTED, &job))
}
