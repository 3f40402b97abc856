//! The control API under `/simulate/`, for tests and people: makes events happen on demand.
//!
//! It needs the same token, and leaves no entries. `docs/simulate.md` lists its calls.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::clock::Clock;
use super::core::Core;
use super::response::{ErrorResponse, Result};
use super::router::ControlCall;
use crate::entry::Millis;
use crate::konnect::api::{Time, WebhookScope};
use crate::konnect::request::AuthOutcome;
use crate::random::secret_text;
use crate::settings::Secret;

/// The maximum number of entries per call.
const MAX_ENTRIES: u64 = 1_000_000;
/// The number of entries that are made under one lock, and of trace ids in the response.
const STRETCH: u64 = 1000;
/// The maximum advance of the clock per call: ten years, in milliseconds.
const MAX_ADVANCE: u64 = 3650 * 24 * 60 * 60 * 1000;

pub(super) async fn state(core: Arc<Core>, _: ControlCall) -> Result<Value> {
    let organization = core.organization();
    let portals = organization.scopes().filter_map(|scope| match scope {
        WebhookScope::Portal(id) => Some(id),
        WebhookScope::Organization => None,
    });
    Ok(json!({
        "portals": portals.collect::<Vec<_>>(),
        "entries": organization.log.len(),
        "kid": organization.keys.current().key().kid(),
        "now": core.clock.now(),
    }))
}

pub(super) async fn deliver(core: Arc<Core>, mut call: ControlCall) -> Result<Value> {
    let retries = call.body.boolean("retries").unwrap_or(true);
    call.body.done()?;
    Ok(json!({ "attempts": core.deliver_all(retries).await }))
}

pub(super) async fn rotate_key(core: Arc<Core>, _: ControlCall) -> Result<Value> {
    let mut organization = core.organization();
    organization.keys.rotate().map_err(|_| ErrorResponse::Internal)?;
    Ok(json!({ "kid": organization.keys.current().key().kid() }))
}

pub(super) async fn entries(core: Arc<Core>, call: ControlCall) -> Result<Value> {
    let mut body = call.body;
    let count = body.number("count", 0, MAX_ENTRIES).unwrap_or(1);
    let portal = body.text("portal");
    let now = core.clock.now();
    let since = body.time("since").and_then(Time::millis).filter(|since| *since <= now);
    body.done()?;
    let scope = portal.map_or(WebhookScope::Organization, WebhookScope::Portal);
    core.organization().webhook(&scope)?;
    let (mut made, mut trace_ids) = (0, Vec::new());
    while made < count {
        {
            let (mut organization, now) = (core.organization(), core.clock.now());
            for _ in 0..STRETCH.min(count - made) {
                let at = since.map_or(now, |since| between(since, now, made, count));
                let trace_id = organization.happen_in(&scope, at);
                if (trace_ids.len() as u64) < STRETCH {
                    trace_ids.extend(trace_id);
                }
                made += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    core.organization().end_request();
    Ok(json!({ "count": made, "trace_ids": trace_ids }))
}

/// The time of the entry `made` of `count`, which are spread evenly.
fn between(since: Millis, now: Millis, made: u64, count: u64) -> Millis {
    let span = i128::from(now.get() - since.get()) * i128::from(made) / i128::from(count.max(1));
    Millis::saturating(since.get() + i64::try_from(span).unwrap_or(0))
}

pub(super) async fn login(core: Arc<Core>, call: ControlCall) -> Result<Value> {
    let (portal, mut body) = (call.id.unwrap_or_default(), call.body);
    let developer = body.name("developer").unwrap_or_else(|| "developer@example.com".to_owned());
    let outcome = body.outcome("outcome").unwrap_or(AuthOutcome::Success);
    body.done()?;
    let scope = WebhookScope::Portal(portal.clone());
    let (mut organization, now) = (core.organization(), core.clock.now());
    organization.webhook(&scope)?;
    let event = organization.traffic.login(now, Some(&portal), Some(&developer), outcome);
    let told = json!({
        "trace_id": event.get("trace_id").map(|id| id.as_text()),
        "name": event.name,
        "severity": event.severity,
    });
    organization.record(scope, event);
    Ok(told)
}

pub(super) async fn clock(core: Arc<Core>, _: ControlCall) -> Result<Value> {
    Ok(shown(&core.clock))
}

fn shown(clock: &Clock) -> Value {
    json!({ "now": clock.now(), "held": clock.is_held() })
}

pub(super) async fn set_clock(core: Arc<Core>, call: ControlCall) -> Result<Value> {
    let mut body = call.body;
    let hold = body.boolean("hold");
    let advance = body.number("advance_ms", 0, MAX_ADVANCE);
    let set = body.time("set");
    let set = set.and_then(|time| match time.millis() {
        Some(time) if time >= core.clock.now() => Some(time),
        _ => body.wrong("set", "invalid", "must not be before what the clock shows"),
    });
    body.done()?;
    if let Some(hold) = hold {
        core.clock.hold(hold);
    }
    if let Some(advance) = advance {
        core.clock.advance(Duration::from_millis(advance));
    }
    if let Some(set) = set
        && core.clock.set(set).is_err()
    {
        return Err(ErrorResponse::Conflict("The clock has passed that time meanwhile"));
    }
    Ok(shown(&core.clock))
}

pub(super) async fn token_without_role(core: Arc<Core>, _: ControlCall) -> Result<Value> {
    let token = new_token().ok_or(ErrorResponse::Internal)?;
    let value = json!({ "token": token.expose() });
    core.add_token_without_role(token)?;
    Ok(value)
}

/// A personal access token of 256 random bits. `None` if the system has no random bytes.
pub(super) fn new_token() -> Option<Secret> {
    Secret::new(&format!("kpat_{}", secret_text().ok()?)).ok()
}
