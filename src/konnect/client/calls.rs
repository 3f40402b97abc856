//! One function for each operation of the API.

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pages::{Pages, PagingError};
use super::{ApiError, ApiRequest, Client};
use crate::entry::Millis;
use crate::konnect::api::page::encoded;
use crate::konnect::api::{
    CreateDestination, Destination, DestinationPage, PulledPage, ReplayJob, ReplayRange, Time,
    UpdateDestination, UpdateWebhook, Webhook, WebhookScope, WebhookStatus,
};

/// The entries to pull: from `since` to `until`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PullFilter {
    pub(crate) since: Millis,
    pub(crate) until: Millis,
    /// The type: `authorization`, `authentication` or `gateway_access`.
    pub(crate) kind: Option<String>,
}

/// The number of destinations per page.
const PAGE: usize = 100;

/// The number of entries per page.
pub(crate) const PULL_PAGE: usize = 1000;

/// The maximum number of pages of destinations.
const MAX_PAGES: usize = 1000;

const DESTINATIONS: &str = "/v3/audit-log-destinations";
const ENTRIES: &str = "/v3/audit-logs";

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

    /// A page of entries as JSON, and the cursor of the next page. `pages` holds the earlier pages of
    /// this filter.
    pub(crate) async fn pull(
        &self,
        filter: &PullFilter,
        after: Option<&str>,
        pages: &mut Pages,
    ) -> Result<(Vec<Value>, Option<String>), ApiError> {
        let time = |millis| Time::from(millis).to_string();
        let mut target = format!("{ENTRIES}?{}={PULL_PAGE}", encoded("page[size]"));
        target += &parameter("filter[ts][gte]", &time(filter.since));
        target += &parameter("filter[ts][lte]", &time(filter.until));
        if let Some(kind) = &filter.kind {
            target += &parameter("filter[type]", kind);
        }
        if let Some(after) = after {
            target += &parameter("page[after]", after);
        }
        let page: PulledPage<Value> = self.get(self.hosts.regional(), target).await?;
        let next = pages
            .note(after, page.data.len(), &page.meta.page)
            .map_err(|why| paging_error(self.hosts.regional(), ENTRIES, why))?;
        Ok((page.data, next))
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
