//! The state of the simulated organization: destinations, webhooks, keys and entries.
//!
//! It is one value behind one lock. Both versions of the API show it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;
use serde_json::{Value, json};

use super::destinations::Destinations;
use super::log::EntryLog;
use super::portals::Portal;
use super::response::ErrorResponse;
use super::webhook::WebhookState;
use crate::entry::Format;
use crate::entry::Millis;
use crate::konnect::api::WebhookScope;
use crate::konnect::api::{
    CreateDestination, Destination, ReplayJob, ReplayRange, UpdateDestination, UpdateWebhook,
    UpdateWebhookV2, Webhook, WebhookV2,
};
use crate::konnect::event::Event;
use crate::konnect::request::{AuthOutcome, EntryStyle};
use crate::konnect::sign::{Signer, SignerError};
use crate::konnect::tampering::{Tampering, TamperingPlan};
use crate::konnect::traffic::{ApiCall, Traffic};
use crate::random::uuid;

/// The tolerated clock difference in a range to replay, in milliseconds.
const SKEW: i64 = 60 * 60 * 1000;

#[derive(Debug)]
pub(super) struct Organization {
    pub(super) destinations: Destinations,
    pub(super) log: EntryLog,
    pub(super) keys: SigningKeys,
    pub(super) traffic: Traffic,
    pub(super) portals: Vec<Portal>,
    /// The remaining entries of a request, which are added one by one on demand.
    begun: VecDeque<Event>,
    webhooks: BTreeMap<WebhookScope, WebhookState>,
    /// When it was made.
    pub(super) made_at: Millis,
    tampering: TamperingPlan,
    /// Makes ids.
    ids: Rng,
}

#[derive(Clone, Debug)]
pub(super) struct OrganizationOptions {
    /// Repeats the traffic.
    pub(super) seed: u64,
    pub(super) org_id: String,
    /// The Dev Portals.
    pub(super) portals: Vec<Portal>,
    /// The retention of entries in milliseconds.
    pub(super) retention: i64,
    /// The maximum number of entries.
    pub(super) most: usize,
    /// For made-up traffic.
    pub(super) tampering: TamperingPlan,
    pub(super) style: EntryStyle,
    pub(super) made_at: Millis,
}

impl Organization {
    /// An organization without entries.
    ///
    /// # Errors
    /// When the system gives no random numbers to make a key from.
    pub(super) fn new(options: OrganizationOptions, ids: Rng) -> Result<Organization, SignerError> {
        let OrganizationOptions {
            seed,
            org_id,
            portals,
            retention,
            most,
            tampering,
            style,
            made_at,
        } = options;
        let ids_of = portals.iter().map(|portal| portal.id.clone());
        let traffic = Traffic::new(seed, org_id, ids_of.clone().collect(), style);
        let scopes =
            std::iter::once(WebhookScope::Organization).chain(ids_of.map(WebhookScope::Portal));
        Ok(Organization {
            destinations: Destinations::default(),
            log: EntryLog::new(retention, most),
            keys: SigningKeys::generate()?,
            traffic,
            begun: VecDeque::new(),
            webhooks: scopes.map(|scope| (scope, WebhookState::default())).collect(),
            portals,
            made_at,
            tampering,
            ids,
        })
    }

    pub(super) fn webhook(&self, scope: &WebhookScope) -> Result<&WebhookState, ErrorResponse> {
        self.webhooks.get(scope).ok_or(ErrorResponse::NotFound)
    }

    /// The webhook of `scope`, and the log.
    pub(super) fn webhook_mut(
        &mut self,
        scope: &WebhookScope,
    ) -> Result<(&mut WebhookState, &EntryLog), ErrorResponse> {
        let webhook = self.webhooks.get_mut(scope).ok_or(ErrorResponse::NotFound)?;
        Ok((webhook, &self.log))
    }

    /// The scopes of all webhooks.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &WebhookScope> {
        self.webhooks.keys()
    }

    /// `create-audit-log-destination`.
    pub(super) fn create(
        &mut self,
        create: CreateDestination,
        now: Millis,
    ) -> Result<Destination, ErrorResponse> {
        self.destinations.create(uuid(&mut self.ids), create, now)
    }

    /// `update-audit-log-destination`.
    pub(super) fn change(
        &mut self,
        id: &str,
        update: UpdateDestination,
        now: Millis,
    ) -> Result<Destination, ErrorResponse> {
        let shown = self.destinations.update(id, update, now)?;
        let end = self.log.end();
        for webhook in self.webhooks.values_mut() {
            if webhook.destination() == Some(id) {
                webhook.reactivate(end);
            }
        }
        Ok(shown)
    }

    /// `delete-audit-log-destination`.
    pub(super) fn delete(&mut self, id: &str) -> Result<(), ErrorResponse> {
        self.destinations.get(id).ok_or(ErrorResponse::NotFound)?;
        if self.webhooks.values().any(|webhook| webhook.destination() == Some(id)) {
            return Err(ErrorResponse::Conflict("The destination is in use by a webhook"));
        }
        self.destinations.delete(id);
        Ok(())
    }

    /// A webhook as in version 3. For Dev Portals, version 2 is the same.
    pub(super) fn shown(&self, scope: &WebhookScope) -> Result<Webhook, ErrorResponse> {
        let webhook = self.webhook(scope)?;
        let audit_log_destination_id = webhook.destination().map(str::to_owned);
        Ok(Webhook { audit_log_destination_id, enabled: webhook.is_enabled() })
    }

    /// `update-audit-logs-webhook`, `update-portal-audit-log-webhook`.
    pub(super) fn set(
        &mut self,
        scope: &WebhookScope,
        update: UpdateWebhook,
        now: Millis,
    ) -> Result<Webhook, ErrorResponse> {
        if let Some(id) = &update.audit_log_destination_id {
            self.destinations.get(id).ok_or(ErrorResponse::NotFound)?;
        }
        let (webhook, log) = self.webhook_mut(scope)?;
        webhook.update(update, now, log.end());
        self.shown(scope)
    }

    /// `delete-audit-logs-webhook`, `delete-portal-audit-log-webhook`.
    pub(super) fn unset(&mut self, scope: &WebhookScope, now: Millis) -> Result<(), ErrorResponse> {
        let (webhook, log) = self.webhook_mut(scope)?;
        if matches!(scope, WebhookScope::Portal(_)) && webhook.is_replaying() {
            return Err(ErrorResponse::Conflict(REPLAYING));
        }
        webhook.remove(now, log.end());
        Ok(())
    }

    /// The organization's webhook as in version 2.
    pub(super) fn shown_v2(&self) -> Result<WebhookV2, ErrorResponse> {
        let webhook = self.webhook(&WebhookScope::Organization)?;
        let stored = webhook.destination().and_then(|id| self.destinations.get(id));
        let shown = stored.map(|stored| &stored.shown);
        Ok(WebhookV2 {
            // What Konnect answers, though its document says nothing of it.
            endpoint: shown.map_or_else(|| "unconfigured".to_owned(), |one| one.endpoint.clone()),
            enabled: webhook.is_enabled(),
            log_format: shown.map_or(Format::Cef, |shown| shown.log_format),
            skip_ssl_verification: shown.is_some_and(|shown| shown.skip_ssl_verification),
            updated_at: Some(webhook.updated_at()),
        })
    }

    /// `update-audit-log-webhook` of version 2. It changes endpoint and format of the webhook's
    /// destination, and creates a destination if there is none.
    pub(super) fn set_v2(
        &mut self,
        update: UpdateWebhookV2,
        now: Millis,
    ) -> Result<WebhookV2, ErrorResponse> {
        let UpdateWebhookV2 { endpoint, authorization, enabled, log_format, skip_ssl_verification } =
            update;
        let destination = UpdateDestination {
            name: None,
            endpoint,
            authorization,
            log_format,
            skip_ssl_verification,
        };
        let changes = destination.endpoint.is_some()
            || destination.authorization.is_some()
            || log_format.is_some()
            || skip_ssl_verification.is_some();
        let mut id = self.webhook(&WebhookScope::Organization)?.destination().map(str::to_owned);
        if changes {
            let known = match id.take() {
                Some(id) => id,
                None => {
                    let id = uuid(&mut self.ids);
                    self.destinations.create_unnamed(id.clone(), now)?;
                    id
                }
            };
            self.change(&known, destination, now)?;
            id = Some(known);
        }
        self.set(
            &WebhookScope::Organization,
            UpdateWebhook { audit_log_destination_id: id, enabled },
            now,
        )?;
        self.shown_v2()
    }

    /// `update-audit-log-replay-job`, `update-portal-audit-log-replay-job`.
    pub(super) fn replay(
        &mut self,
        scope: &WebhookScope,
        range: ReplayRange,
        now: Millis,
    ) -> Result<ReplayJob, ErrorResponse> {
        let (webhook, log) = self.webhook_mut(scope)?;
        if webhook.start_replay(range, log, now) {
            Ok(webhook.replay_job())
        } else {
            Err(ErrorResponse::Conflict(REPLAYING))
        }
    }

    /// Whether entries of `time` are kept at `now`, within [`SKEW`].
    pub(super) fn is_kept(&self, time: Millis, now: Millis) -> bool {
        let age = now.get() - time.get();
        (-SKEW..=self.log.retention() + SKEW).contains(&age)
    }

    /// Adds the entries of a made-up request, tampered with as planned, and returns their number.
    pub(super) fn happen(&mut self, at: Millis) -> u128 {
        let mut entries = 0;
        for event in self.traffic.request(at) {
            let scope = match event.get("portal_id") {
                Some(id) => WebhookScope::Portal(id.as_text().into_owned()),
                None => WebhookScope::Organization,
            };
            self.made_up(scope, event);
            entries += 1;
        }
        entries
    }

    /// Adds a made-up entry to `scope`, and returns its trace id.
    pub(super) fn happen_in(&mut self, scope: &WebhookScope, at: Millis) -> Option<String> {
        let event = match scope {
            WebhookScope::Organization => {
                // A request may leave several entries. The next calls take the others.
                if self.begun.is_empty() {
                    self.begun.extend(self.traffic.organization_request(at));
                }
                self.begun.pop_front()?
            }
            WebhookScope::Portal(id) => {
                self.traffic.login(at, Some(id), None, AuthOutcome::Success)
            }
        };
        let trace_id = event.get("trace_id").map(|id| id.as_text().into());
        self.made_up(scope.clone(), event);
        trace_id
    }

    /// Drops the remaining entries of a request.
    pub(super) fn end_request(&mut self) {
        self.begun.clear();
    }

    /// Adds the entries of a call of the simulator's API.
    pub(super) fn called(&mut self, call: &ApiCall<'_>, at: Millis) {
        for event in self.traffic.call(at, call) {
            self.record(WebhookScope::Organization, event);
        }
    }

    /// Adds an entry.
    pub(super) fn record(&mut self, scope: WebhookScope, event: Event) {
        self.log.push(event, scope, Tampering::Genuine, self.keys.current().clone());
    }

    fn made_up(&mut self, scope: WebhookScope, event: Event) {
        let tampering = self.tampering.next().unwrap_or(Tampering::Genuine);
        self.log.push(event, scope, tampering, self.keys.current().clone());
    }
}

/// The documented text.
const REPLAYING: &str = "A replay job is currently running";

/// The maximum number of keys in the set. A receiver takes as many.
const MAX_KEYS: usize = 64;

/// The signing keys. One signs new entries; the earlier ones stay in the set.
#[derive(Debug)]
pub(super) struct SigningKeys {
    current: Arc<Signer>,
    /// Newest first.
    earlier: Vec<Arc<Signer>>,
}

impl SigningKeys {
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn generate() -> Result<SigningKeys, SignerError> {
        Ok(SigningKeys { current: Arc::new(Signer::generate(None)?.0), earlier: Vec::new() })
    }

    /// The key that signs new entries.
    pub(super) fn current(&self) -> &Arc<Signer> {
        &self.current
    }

    /// Replaces the current key. The newest keys stay in the set.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn rotate(&mut self) -> Result<(), SignerError> {
        let new = Arc::new(Signer::generate(None)?.0);
        self.earlier.insert(0, std::mem::replace(&mut self.current, new));
        self.earlier.truncate(MAX_KEYS - 1);
        Ok(())
    }

    /// The JWK set (RFC 7517 section 5): `get-audit-log-jwks`.
    pub(super) fn jwk_set(&self) -> Value {
        let keys = std::iter::once(&self.current).chain(&self.earlier);
        json!({ "keys": keys.map(|signer| json!(signer.key())).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_stays_in_the_set() {
        let mut keys = SigningKeys::generate().unwrap();
        let old = json!(keys.current().key());
        keys.rotate().unwrap();
        let new = json!(keys.current().key());
        assert_ne!(old, new);
        assert_eq!(keys.jwk_set(), json!({"keys": [new, old]}));
        (0..MAX_KEYS).for_each(|_| keys.rotate().unwrap());
        assert_eq!(keys.jwk_set()["keys"].as_array().unwrap().len(), MAX_KEYS);
    }
}
