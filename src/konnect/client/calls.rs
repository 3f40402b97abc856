//! One function for each operation of the API.

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pages::{Pages, PagingError};
use super::{ApiError, ApiRequest, Client};
use crate::entry::Millis;
use crate::entry::time::DAY;
use crate::konnect::api::page::encoded;
use crate::konnect::api::{
    CreateDestination, Destination, DestinationPage, Portal, PortalPage, PulledPage, ReplayJob,
    ReplayRange, Time, UpdateDestination, UpdateWebhook, Webhook, WebhookScope, WebhookStatus,
};

/// The entries to pull: from `since` to `until`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PullFilter {
    pub(crate) since: Millis,
    pub(crate) until: Millis,
    /// The type: `authorization`, `authentication` or `gateway_access`.
    pub(crate) kind: Option<String>,
    /// The number of entries per page, [`PULL_PAGE`] at most.
    pub(crate) page: usize,
}

/// The number of destinations or Dev Portals per page.
const PAGE: usize = 100;

/// The number of entries per page.
pub(crate) const PULL_PAGE: usize = 1000;

/// The longest time that Konnect is thought to keep entries, in milliseconds: two years.
pub(crate) const LONGEST_RETENTION: i64 = 2 * 366 * DAY;

/// The longest time that an entry is thought to take until it is listed, in milliseconds.
pub(crate) const LISTED_LATE: i64 = 10 * 60 * 1000;

/// How exactly the time before the oldest entry is found, in milliseconds.
const STEP: i64 = 60 * 1000;

/// The maximum number of pages of destinations or Dev Portals.
const MAX_PAGES: usize = 1000;

const DESTINATIONS: &str = "/v3/audit-log-destinations";
pub(super) const ENTRIES: &str = "/v3/audit-logs";
pub(super) const PORTALS: &str = "/v3/portals";

impl Client {
    /// All destinations, or those whose name is `name`.
    pub(crate) async fn destinations(
        &self,
        name: Option<&str>,
    ) -> Result<Vec<Destination>, ApiError> {
        let mut target = format!("{DESTINATIONS}?{}={PAGE}", encoded("page[size]"));
        if let Some(name) = name {
            target += &format!("&{}={}", encoded("filter[name][eq]"), encoded(name));
        }
        let (mut all, mut after): (Vec<Destination>, Option<String>) = (Vec::new(), None);
        let mut pages = Pages::default();
        for _ in 0..MAX_PAGES {
            let cursor = after.as_ref().map(|after| parameter("page[after]", after));
            let target = format!("{target}{}", cursor.unwrap_or_default());
            let page: DestinationPage = self.get(self.hosts.global(), target).await?;
            let next = pages
                .note(after.as_deref(), page.data.len(), &page.meta)
                .map_err(|why| paging_error(self.hosts.global(), DESTINATIONS, why))?;
            all.extend(page.data);
            after = next;
            if after.is_none() {
                // A server that does not know the filter ignores it.
                all.retain(|one| name.is_none_or(|name| one.name == name));
                return Ok(all);
            }
        }
        let call = format!("GET {}{DESTINATIONS}", self.hosts.global());
        let what = format!("there are more than {MAX_PAGES} pages of destinations");
        Err(ApiError::Answer { call, what })
    }

    pub(crate) async fn destination(&self, id: &str) -> Result<Destination, ApiError> {
        self.get(self.hosts.global(), format!("{DESTINATIONS}/{}", encoded(id))).await
    }

    pub(crate) async fn create_destination(
        &self,
        destination: &CreateDestination,
    ) -> Result<Destination, ApiError> {
        let (host, target) = (self.hosts.global(), DESTINATIONS.to_owned());
        self.send(Method::POST, host, target, destination).await
    }

    pub(crate) async fn update_destination(
        &self,
        id: &str,
        change: &UpdateDestination,
    ) -> Result<Destination, ApiError> {
        let target = format!("{DESTINATIONS}/{}", encoded(id));
        self.send(Method::PATCH, self.hosts.global(), target, change).await
    }

    pub(crate) async fn delete_destination(&self, id: &str) -> Result<(), ApiError> {
        self.delete(self.hosts.global(), format!("{DESTINATIONS}/{}", encoded(id))).await
    }

    /// All Dev Portals of the region.
    pub(crate) async fn portals(&self) -> Result<Vec<Portal>, ApiError> {
        let (host, mut all) = (self.hosts.regional(), Vec::new());
        for number in 1..=MAX_PAGES {
            let size = format!("{}={PAGE}", encoded("page[size]"));
            let target = format!("{PORTALS}?{size}&{}={number}", encoded("page[number]"));
            let page: PortalPage = self.get(host, target).await?;
            let is_empty = page.data.is_empty();
            all.extend(page.data);
            if is_empty || all.len() as f64 >= page.meta.page.total {
                return Ok(all);
            }
        }
        let what = format!("there are more than {MAX_PAGES} pages of Dev Portals");
        Err(ApiError::Answer { call: format!("GET {host}{PORTALS}"), what })
    }

    /// The webhook. One that was never set is returned as disabled.
    pub(crate) async fn webhook(&self, scope: &WebhookScope) -> Result<Webhook, ApiError> {
        match self.get(self.hosts.regional(), path(scope, "audit-log-webhook")).await {
            // A missing portal is an error, a missing webhook is not.
            Err(error) if error.is_not_found() && *scope == WebhookScope::Organization => {
                Ok(Webhook::default())
            }
            found => found,
        }
    }

    pub(crate) async fn update_webhook(
        &self,
        scope: &WebhookScope,
        change: &UpdateWebhook,
    ) -> Result<Webhook, ApiError> {
        let target = path(scope, "audit-log-webhook");
        self.send(Method::PATCH, self.hosts.regional(), target, change).await
    }

    /// Removes the destination of the webhook, and disables it.
    pub(crate) async fn delete_webhook(&self, scope: &WebhookScope) -> Result<(), ApiError> {
        self.delete(self.hosts.regional(), path(scope, "audit-log-webhook")).await
    }

    /// The delivery status of the webhook.
    pub(crate) async fn status(&self, scope: &WebhookScope) -> Result<WebhookStatus, ApiError> {
        self.get(self.hosts.regional(), path(scope, "audit-log-webhook/status")).await
    }

    pub(crate) async fn start_replay(
        &self,
        scope: &WebhookScope,
        range: &ReplayRange,
    ) -> Result<ReplayJob, ApiError> {
        let target = path(scope, "audit-log-replay-job");
        self.send(Method::PUT, self.hosts.regional(), target, range).await
    }

    /// The status of the replay.
    pub(crate) async fn replay(&self, scope: &WebhookScope) -> Result<ReplayJob, ApiError> {
        self.get(self.hosts.regional(), path(scope, "audit-log-replay-job")).await
    }

    /// A page of entries, as JSON of some type, and the cursor of the next page. `pages` holds the
    /// earlier pages of this filter.
    pub(crate) async fn pull<T: DeserializeOwned>(
        &self,
        filter: &PullFilter,
        after: Option<&str>,
        pages: &mut Pages,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let time = |millis| Time::from(millis).to_string();
        let mut target = format!("{ENTRIES}?{}={}", encoded("page[size]"), filter.page);
        target += &parameter("filter[ts][gte]", &time(filter.since));
        target += &parameter("filter[ts][lte]", &time(filter.until));
        if let Some(kind) = &filter.kind {
            target += &parameter("filter[type]", kind);
        }
        if let Some(after) = after {
            target += &parameter("page[after]", after);
        }
        let page: PulledPage<T> = self.get(self.hosts.regional(), target).await?;
        let next = pages
            .note(after, page.data.len(), &page.meta.page)
            .map_err(|why| paging_error(self.hosts.regional(), ENTRIES, why))?;
        Ok((page.data, next))
    }

    /// A time up to which the API lists no entry, at most [`STEP`] before its oldest. If it lists one
    /// up to `since`, the time of that; `None` if it lists none at all.
    ///
    /// Lists have no order that all versions of the API agree on, so the time is found by halving: is
    /// there an entry up to this time?
    pub(crate) async fn oldest(
        &self,
        since: Millis,
        now: Millis,
    ) -> Result<Option<Millis>, ApiError> {
        let start = now.get().saturating_sub(LONGEST_RETENTION).min(since.get());
        let found = async |until: i64| -> Result<Option<i64>, ApiError> {
            let (since, until) = (Millis::saturating(start), Millis::saturating(until));
            let filter = PullFilter { since, until, kind: None, page: 1 };
            let mut pages = Pages::default();
            let mut after = None;
            loop {
                let (entries, next) =
                    self.pull::<Value>(&filter, after.as_deref(), &mut pages).await?;
                let first = entries.first().map(|entry| time_of(entry).unwrap_or(until));
                if first.is_some() || next.is_none() {
                    return Ok(first.map(Millis::get));
                }
                after = next;
            }
        };
        if let Some(older) = found(since.get()).await? {
            return Ok(Some(Millis::saturating(older)));
        }
        let Some(mut some_until) = found(now.get()).await? else { return Ok(None) };
        let mut none_until = since.get();
        while some_until - none_until > STEP {
            let middle = none_until + (some_until - none_until) / 2;
            match found(middle).await? {
                Some(older) => some_until = older.min(middle),
                None => none_until = middle,
            }
        }
        Ok(Some(Millis::saturating(none_until)))
    }

    async fn get<T: DeserializeOwned>(&self, host: &str, target: String) -> Result<T, ApiError> {
        let call = ApiRequest { method: Method::GET, host, target, body: Bytes::new() };
        self.read(call).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        host: &str,
        target: String,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ApiError::Request { what: error.to_string() })?;
        self.read(ApiRequest { method, host, target, body: body.into() }).await
    }

    async fn delete(&self, host: &str, target: String) -> Result<(), ApiError> {
        self.call(ApiRequest { method: Method::DELETE, host, target, body: Bytes::new() })
            .await
            .map(drop)
    }

    async fn read<T: DeserializeOwned>(&self, call: ApiRequest<'_>) -> Result<T, ApiError> {
        let name = format!("{} {}{}", call.method, call.host, super::path(&call.target));
        let body = self.call(call).await?;
        serde_json::from_slice(&body)
            .map_err(|error| ApiError::Answer { call: name, what: error.to_string() })
    }
}

/// The time of a pulled entry.
fn time_of(entry: &Value) -> Option<Millis> {
    entry.get("ts")?.as_str()?.parse::<Time>().ok()?.millis()
}

fn path(scope: &WebhookScope, rest: &str) -> String {
    match scope {
        WebhookScope::Organization => format!("/v3/{rest}"),
        WebhookScope::Portal(id) => format!("/v3/portals/{}/{rest}", encoded(id)),
    }
}

fn paging_error(host: &str, path: &str, why: PagingError) -> ApiError {
    ApiError::Answer { call: format!("GET {host}{path}"), what: why.to_string() }
}

fn parameter(name: &str, value: &str) -> String {
    format!("&{}={}", encoded(name), encoded(value))
}
