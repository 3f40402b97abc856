//! The documented operations: they check the query and the body, and change the organization.

use axum::response::Response;
use hyper::StatusCode;
use serde_json::json;

use super::body::JsonBody;
use super::destinations::MAX_DESTINATIONS;
use super::organization::Organization;
use super::portals;
use super::pull::{self, PullRange};
use super::query::ListQuery;
use super::response::{ErrorResponse, Result, json, no_content};
use super::router::Call;
use crate::entry::Format;
use crate::konnect::api::{
    CreateDestination, DestinationPage, ReplayRange, UpdateDestination, UpdateWebhook,
    UpdateWebhookV2, Webhook, WebhookScope,
};
use crate::settings::Secret;

/// The default page size of destinations.
const DESTINATIONS: usize = 10;
/// The default and the maximum page size of entries.
const ENTRIES: (usize, usize) = (20, 1000);
const OK: StatusCode = StatusCode::OK;

pub(super) fn list_destinations(organization: &mut Organization, call: &Call) -> Result<Response> {
    let mut query = ListQuery::of(&call.uri);
    // The documents have no answer 400 here, so what is wrong is ignored. A bad cursor has no page.
    let request = query.page(DESTINATIONS, MAX_DESTINATIONS, false);
    let page = organization.destinations.page(request.position, request.size, &query.names());
    let meta = query.beside(request, &page);
    Ok(json(OK, &DestinationPage { data: page.items, meta }))
}

pub(super) fn create_destination(organization: &mut Organization, call: &Call) -> Result<Response> {
    let create = destination(JsonBody::parse(&call.body)?)?;
    Ok(json(StatusCode::CREATED, &organization.create(create, call.now)?))
}

pub(super) fn get_destination(organization: &mut Organization, call: &Call) -> Result<Response> {
    let stored = organization.destinations.get(&call.destination_id());
    Ok(json(OK, &stored.ok_or(ErrorResponse::NotFound)?.shown))
}

pub(super) fn update_destination(organization: &mut Organization, call: &Call) -> Result<Response> {
    let id = call.destination_id();
    organization.destinations.get(&id).ok_or(ErrorResponse::NotFound)?;
    let update = destination_update(JsonBody::parse_optional(&call.body)?)?;
    Ok(json(OK, &organization.change(&id, update, call.now)?))
}

pub(super) fn delete_destination(organization: &mut Organization, call: &Call) -> Result<Response> {
    organization.delete(&call.destination_id())?;
    Ok(no_content())
}

pub(super) fn get_webhook_v2(organization: &mut Organization, _: &Call) -> Result<Response> {
    Ok(json(OK, &organization.shown_v2()?))
}

pub(super) fn update_webhook_v2(organization: &mut Organization, call: &Call) -> Result<Response> {
    let update = webhook_update_v2(JsonBody::parse_optional(&call.body)?)?;
    Ok(json(OK, &organization.set_v2(update, call.now)?))
}

pub(super) fn get_webhook(organization: &mut Organization, call: &Call) -> Result<Response> {
    webhook(&call.scope(), &organization.shown(&call.scope())?)
}

/// Konnect answers the webhook of a Dev Portal without a destination if it has none.
fn webhook(scope: &WebhookScope, shown: &Webhook) -> Result<Response> {
    match (scope, &shown.audit_log_destination_id) {
        (WebhookScope::Portal(_), None) => Ok(json(OK, &json!({"enabled": shown.enabled}))),
        _ => Ok(json(OK, shown)),
    }
}

pub(super) fn update_webhook(organization: &mut Organization, call: &Call) -> Result<Response> {
    let scope = call.scope();
    organization.webhook(&scope)?;
    let update = webhook_update(JsonBody::parse_optional(&call.body)?)?;
    webhook(&scope, &organization.set(&scope, update, call.now)?)
}

pub(super) fn delete_webhook(organization: &mut Organization, call: &Call) -> Result<Response> {
    organization.unset(&call.scope(), call.now)?;
    Ok(no_content())
}

pub(super) fn get_status(organization: &mut Organization, call: &Call) -> Result<Response> {
    Ok(json(OK, &organization.webhook(&call.scope())?.status()))
}

pub(super) fn get_replay_job(organization: &mut Organization, call: &Call) -> Result<Response> {
    Ok(json(OK, &organization.webhook(&call.scope())?.replay_job()))
}

pub(super) fn start_replay_job(organization: &mut Organization, call: &Call) -> Result<Response> {
    let scope = call.scope();
    organization.webhook(&scope)?;
    let mut body = JsonBody::parse(&call.body)?;
    let mut times = Vec::new();
    for name in ["start_at", "end_at"] {
        let time = body.time(name);
        let Some(time) = body.require(name, time) else { continue };
        if time.millis().is_some_and(|time| organization.is_kept(time, call.now)) {
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
    let [start_at, end_at] = times[..] else { return Err(ErrorResponse::Internal) };
    let job = organization.replay(&scope, ReplayRange { start_at, end_at }, call.now)?;
    Ok(json(StatusCode::ACCEPTED, &job))
}

pub(super) fn list_entries(organization: &mut Organization, call: &Call) -> Result<Response> {
    let mut query = ListQuery::of(&call.uri);
    let request = query.page(ENTRIES.0, ENTRIES.1, true);
    let range = PullRange::read(&mut query, call.now);
    query.check()?;
    organization.log.prune(call.now);
    let page = range.page(&organization.log, request);
    Ok(json(OK, &pull::answer(&query, request, page)))
}

pub(super) fn list_portals(organization: &mut Organization, call: &Call) -> Result<Response> {
    let query = ListQuery::of(&call.uri);
    Ok(json(OK, &portals::list(&organization.portals, query, organization.made_at)?))
}

pub(super) fn get_portal(organization: &mut Organization, call: &Call) -> Result<Response> {
    let id = call.id.as_deref().unwrap_or_default();
    Ok(json(OK, &portals::read(&organization.portals, id, organization.made_at)?))
}

fn destination(mut body: JsonBody) -> Result<CreateDestination> {
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
        // `done` has reported what is missing.
        return Err(ErrorResponse::Internal);
    };
    Ok(CreateDestination { name, endpoint, authorization, log_format, skip_ssl_verification })
}

/// The members that a destination and a webhook of version 2 have in common.
fn target(body: &mut JsonBody) -> (Option<String>, Option<Secret>, Option<Format>, Option<bool>) {
    (
        body.endpoint("endpoint"),
        body.authorization("authorization"),
        body.log_format("log_format"),
        body.boolean("skip_ssl_verification"),
    )
}

fn destination_update(mut body: JsonBody) -> Result<UpdateDestination> {
    let name = body.name("name");
    let (endpoint, authorization, log_format, skip_ssl_verification) = target(&mut body);
    body.done()?;
    Ok(UpdateDestination { name, endpoint, authorization, log_format, skip_ssl_verification })
}

fn webhook_update_v2(mut body: JsonBody) -> Result<UpdateWebhookV2> {
    let enabled = body.boolean("enabled");
    let (endpoint, authorization, log_format, skip_ssl_verification) = target(&mut body);
    body.done()?;
    Ok(UpdateWebhookV2 { endpoint, authorization, enabled, log_format, skip_ssl_verification })
}

fn webhook_update(mut body: JsonBody) -> Result<UpdateWebhook> {
    let audit_log_destination_id = body.destination_id("audit_log_destination_id");
    let enabled = body.boolean("enabled");
    body.done()?;
    Ok(UpdateWebhook { audit_log_destination_id, enabled })
}
