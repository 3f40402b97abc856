//! The control surface under `/simulate/`, for tests and people: what Konnect does by itself, or
//! what happens to it, here at once and on demand.
//!
//! It takes the same token, and leaves no entries. `docs/simulate.md` shows its calls.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::answer::{Answer, Result, json as json_answer};
use super::body::Body;
use super::core::Core;
use super::log::Scope;
use super::refusal::Refusal;
use crate::konnect::authentication::Outcome;
use crate::random::secret_text;
use crate::settings::Secret;

/// How many entries one call may make.
const MAX_ENTRIES: u64 = 200_000;
/// How many are made at a stretch, and their trace ids given.
const STRETCH: u64 = 1000;
/// How far one call may advance the clock: ten years, in milliseconds.
const MAX_ADVANCE: u64 = 3650 * 24 * 60 * 60 * 1000;

/// Answers a call of `path`, which is what stands after `/simulate/`.
pub(super) async fn handle(
    core: &Core,
    path: &str,
    method: &Method,
    body: &[u8],
) -> Result<Answer> {
    let segments: Vec<_> = path.split('/').collect();
    let value = if *method == Method::GET {
        match segments.as_slice() {
            ["state"] => state(core),
            ["clock"] => clock(core),
            _ => return Err(Refusal::NotFound),
        }
    } else {
        let body = Body::parse_optional(body)?;
        match segments.as_slice() {
            ["deliver"] => deliver(core, body).await?,
            ["rotate-key"] => rotate_key(core)?,
            ["entries"] => entries(core, body).await?,
            ["portals", id, "login"] => login(core, id, body)?,
            ["clock"] => set_clock(core, body)?,
            ["tokens"] => token_without_role(core)?,
            _ => return Err(Refusal::NotFound),
        }
    };
    Ok(json_answer(StatusCode::OK, &value))
}

fn state(core: &Core) -> Value {
    let organization = core.organization();
    let portals = organization.scopes().filter_map(|scope| match scope {
        Scope::Portal(id) => Some(id),
        Scope::Organization => None,
    });
    json!({
        "portals": portals.collect::<Vec<_>>(),
        "entries": organization.log.len(),
        "kid": organization.keys.current().key().kid(),
        "now": core.clock.now(),
    })
}

async fn deliver(core: &Core, mut body: Body) -> Result<Value> {
    let retries = body.boolean("retries").unwrap_or(true);
    body.done()?;
    Ok(json!({ "attempts": core.deliver_all(retries).await }))
}

fn rotate_key(core: &Core) -> Result<Value> {
    let mut organization = core.organization();
    organization.keys.rotate().map_err(|_| Refusal::Internal)?;
    Ok(json!({ "kid": organization.keys.current().key().kid() }))
}

async fn entries(core: &Core, mut body: Body) -> Result<Value> {
    let count = body.number("count", 0, MAX_ENTRIES).unwrap_or(1);
    let portal = body.text("portal");
    body.done()?;
    let scope = portal.map_or(Scope::Organization, Scope::Portal);
    core.organization().webhook(&scope)?;
    let (mut made, mut trace_ids) = (0, Vec::new());
    while made < count {
        {
            let (mut organization, now) = (core.organization(), core.clock.now());
            for _ in 0..STRETCH.min(count - made) {
                let trace_id = organization.happen_in(&scope, now);
                if (trace_ids.len() as u64) < STRETCH {
                    trace_ids.extend(trace_id);
                }
                made += 1;
            }
        }
        // Others have their turn.
        tokio::task::yield_now().await;
    }
    core.organization().end_request();
    Ok(json!({ "count": made, "trace_ids": trace_ids }))
}

fn login(core: &Core, portal: &str, mut body: Body) -> Result<Value> {
    let developer = body.name("developer").unwrap_or_else(|| "developer@example.com".to_owned());
    let outcome = body.outcome("outcome").unwrap_or(Outcome::Success);
    body.done()?;
    let scope = Scope::Portal(portal.to_owned());
    let (mut organization, now) = (core.organization(), core.clock.now());
    organization.webhook(&scope)?;
    let event = organization.traffic.login(now, Some(portal), Some(&developer), outcome);
    let told = json!({
        "trace_id": event.get("trace_id").map(|id| id.as_text()),
        "name": event.name,
        "severity": event.severity,
    });
    organization.record(scope, event);
    Ok(told)
}

fn clock(core: &Core) -> Value {
    json!({ "now": core.clock.now(), "held": core.clock.is_held() })
}

fn set_clock(core: &Core, mut body: Body) -> Result<Value> {
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
        return Err(Refusal::Conflict("The clock has passed that time meanwhile"));
    }
    Ok(clock(core))
}

fn token_without_role(core: &Core) -> Result<Value> {
    let token = new_token().ok_or(Refusal::Internal)?;
    let value = json!({ "token": token.expose() });
    core.add_token_without_role(token)?;
    Ok(value)
}

/// A personal access token: 256 random bits. `None` if the system has none.
pub(super) fn new_token() -> Option<Secret> {
    Secret::new(&format!("kpat_{}", secret_text().ok()?)).ok()
}
