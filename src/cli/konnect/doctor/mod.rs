//! `vidimus konnect doctor`: find out why nothing arrives. The checks follow the path of a
//! delivery.

mod finding;
mod reach;
mod receiver;

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::access::{Access, WebhooksArgs, portal_flag};
use super::status;
use super::waiting::{LOOK, run};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::PrintFormat;
use crate::clock::now;
use crate::config::Config;
use crate::entry::time::DAY;
use crate::entry::{Millis, VerdictName};
use crate::konnect::api::WebhookScope;
use crate::konnect::api::webhook::WebhookActivity;
use crate::konnect::api::{Destination, Webhook};
use crate::konnect::client::{ApiError, Client};
use crate::search::{self, Filter};
use crate::settings::units;
use crate::store::{Reader, TimeRange};
use finding::{Finding, Findings};

/// Find out why nothing arrives, and what to do about it.
///
/// The checks are, in this order: the token and its role, the destination, the path to its endpoint
/// as seen from here, the webhook, the requests that this receiver refused, and its keys. At the
/// end it makes one harmless API call and waits for its entry to arrive.
///
/// Exit codes: 0 no problem found, 1 problem found.
#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    whose: WebhooksArgs,

    /// How long to wait for the entry of the API call; 0s skips the call
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = units::duration)]
    timeout: Duration,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

impl Doctor {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let client = self.access.client()?;
        let config = Config::load(&self.access.store.flags(), &|name| std::env::var(name).ok())
            .map_err(Failure::usage)?;
        run(self.whose.each(&client, async |scope| {
            let portal = scope.portal().filter(|_| self.whose.all_portals);
            let mut findings = Findings::new(self.output, portal);
            self.examine(&client, scope, &config, &mut findings).await?;
            Ok(if findings.problems() > 0 { Exit::Negative } else { Exit::Done })
        }))
    }

    async fn examine(
        &self,
        client: &Client,
        scope: &WebhookScope,
        config: &Config,
        findings: &mut Findings<'_>,
    ) -> Result<(), Failure> {
        let Some(webhook) = token(client, scope, findings).await? else { return Ok(()) };
        let is_konnect = self.access.region()?.is_some();
        if let Some(destination) = destination(client, &webhook, findings).await? {
            receiver::endpoint(config, &destination, is_konnect, findings)?;
            reach::endpoint(&destination, findings).await?;
        }
        // All problems so far concern the path to the endpoint.
        let endpoint_is_fine = findings.problems() == 0;
        let reader = self.access.store.reader();
        let stats = match &reader {
            Ok(reader) => Some(reader.stats(1000)?),
            Err(_) => None,
        };
        // What a source pulled is no delivery of the webhook.
        let is_source = |name: &str| config.sources.iter().any(|source| source.name == name);
        let delivered = stats
            .as_ref()
            .and_then(|stats| stats.deliveries.iter().find(|one| !is_source(&one.input)));
        let delivered_at = delivered.map(|one| one.received_at);
        let repair_commands = self.repair_commands(scope, delivered_at);
        self.webhook(client, scope, &webhook, endpoint_is_fine, &repair_commands, findings).await?;
        let (reader, stats) = match (reader, stats) {
            (Ok(reader), Some(stats)) => (reader, stats),
            (reader, _) => {
                let why = reader.err().map_or_else(String::new, |failure| failure.to_string());
                let advice = "start vidimus serve, or set --data-dir to its data directory";
                return findings.add(Finding::problem("store", why, advice));
            }
        };
        receiver::refused(delivered_at, &stats, findings)?;
        receiver::keys(&stats, findings)?;
        if !webhook.enabled || webhook.audit_log_destination_id.is_none() {
            let what = "no call was made, because a webhook that is disabled or has no destination sends \
                 nothing";
            return findings.add(Finding::note("arrival", what));
        }
        self.arrival(client, scope, &reader, findings).await
    }

    async fn webhook(
        &self,
        client: &Client,
        scope: &WebhookScope,
        webhook: &Webhook,
        endpoint_is_fine: bool,
        repair_commands: &str,
        findings: &mut Findings<'_>,
    ) -> Result<(), Failure> {
        if !webhook.enabled {
            return findings.add(Finding::problem("webhook", "it is disabled", repair_commands));
        }
        let status = match client.status(scope).await {
            Ok(status) => status,
            Err(error) => return findings.add(Finding::of_api("webhook", &error)),
        };
        let line = status::line(&status);
        let code = status.last_response_code.filter(|code| *code != 0);
        let finding = match (status.webhook_status, code) {
            (Some(WebhookActivity::Inactive), code) => {
                let first = match (endpoint_is_fine, cause(code.unwrap_or(0))) {
                    (true, None) => "the endpoint answers now, but the webhook is inactive:",
                    (false, None) => "fix the problems above, and then:",
                    (_, Some(cause)) => &format!("{cause}; then:"),
                };
                Finding::problem("webhook", line, format!("{first}\n{repair_commands}"))
            }
            (_, Some(code)) if !(200..300).contains(&code) => {
                Finding::problem("webhook", line, answered(code))
            }
            _ => Finding::ok("webhook", line),
        };
        findings.add(finding)
    }

    /// The commands that enable the webhook again, and fetch the entries since the last received
    /// delivery, or of the last week.
    fn repair_commands(&self, scope: &WebhookScope, delivered: Option<Millis>) -> String {
        /// How much older than its delivery an entry may be, in milliseconds.
        const SLACK: i64 = 10 * 60 * 1000;
        let week_ago = now().get().saturating_sub(7 * DAY);
        let since = delivered.map_or(week_ago, |at| at.get().saturating_sub(SLACK));
        let since = Millis::saturating(since.div_euclid(1000) * 1000);
        let portal = portal_flag(scope);
        let access = self.access.repeated();
        format!(
            "vidimus konnect webhook set --enabled{portal}{access}\n\
             vidimus konnect reconcile --since {since} --replay{portal}{access}"
        )
    }

    /// Makes a call with a unique `User-Agent`, and waits for the entry with this `user_agent`.
    async fn arrival(
        &self,
        client: &Client,
        scope: &WebhookScope,
        reader: &Reader,
        findings: &mut Findings<'_>,
    ) -> Result<(), Failure> {
        const CHECK: &str = "arrival";
        if self.timeout.is_zero() {
            return findings.add(Finding::note(CHECK, "no call was made, because of --timeout 0s"));
        }
        if scope.portal().is_some() {
            let what = "an API call makes no Dev Portal entry: log in there, and watch vidimus \
                tail";
            return findings.add(Finding::note(CHECK, what));
        }
        let name = format!("vidimus-doctor-{:016x}", fastrand::u64(..));
        let filter = search::parse(&format!("user_agent:{name}* AND NOT format:pulled"), 0)?;
        let since = TimeRange::default();
        let newest = reader.newest(&Filter::All, 0)?;
        let (start, began) = (Instant::now(), now());
        let caller = client.clone().with_user_agent(&name);
        if let Err(error) = caller.webhook(scope).await {
            return findings.add(Finding::of_api(CHECK, &error));
        }
        loop {
            let mut scan = reader.scan(&filter, since, 1)?;
            let found = scan.next_slice(1)?;
            let took = now().get().saturating_sub(began.get());
            if let Some(record) = found.first() {
                let verdict = record.verdict;
                let what = format!("the entry of an API call arrived within {took} ms, {verdict}");
                return findings.add(match verdict {
                    VerdictName::Valid => Finding::ok(CHECK, what),
                    VerdictName::Invalid => Finding::problem(
                        CHECK,
                        what,
                        "is the key set that of the region? check --region of vidimus serve",
                    ),
                    _ => Finding::ok(CHECK, what),
                });
            }
            if start.elapsed() + LOOK > self.timeout {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let mut follow = reader.follow(&Filter::All, newest);
        let others = follow.poll()?.events.len();
        let waited = self.timeout;
        findings.add(match others {
            0 => Finding::problem(
                CHECK,
                format!("no entry arrived within {waited:?} of an API call"),
                "fix the problems above; if there are none, wait a few minutes and try again with \
                 a longer --timeout",
            ),
            others => Finding::note(
                CHECK,
                format!(
                    "{others} other entries arrived within {waited:?}, but not the entry of \
                    the API call"
                ),
            ),
        })
    }
}

/// Checks the permissions of the token. Returns the webhook if it has them.
async fn token(
    client: &Client,
    scope: &WebhookScope,
    findings: &mut Findings<'_>,
) -> Result<Option<Webhook>, Failure> {
    let found = match client.webhook(scope).await {
        Ok(webhook) => client.destinations(None).await.map(|_| webhook),
        Err(error) => Err(error),
    };
    match found {
        Ok(webhook) => {
            let what = format!("{} accepts it, and it has the role", client.hosts().regional());
            findings.add(Finding::ok("token", what))?;
            Ok(Some(webhook))
        }
        Err(error) => {
            let check = if matches!(error, ApiError::Net(_)) { "api" } else { "token" };
            findings.add(Finding::of_api(check, &error))?;
            Ok(None)
        }
    }
}

async fn destination(
    client: &Client,
    webhook: &Webhook,
    findings: &mut Findings<'_>,
) -> Result<Option<Destination>, Failure> {
    const CHECK: &str = "destination";
    let Some(id) = &webhook.audit_log_destination_id else {
        let advice = "vidimus konnect setup --endpoint URL";
        findings.add(Finding::problem(CHECK, "the webhook has no destination", advice))?;
        return Ok(None);
    };
    match client.destination(id).await {
        Ok(destination) => {
            let Destination { name, endpoint, log_format, .. } = &destination;
            let what = format!("{name:?} ({id}), {endpoint}, {log_format}");
            findings.add(Finding::ok(CHECK, what))?;
            Ok(Some(destination))
        }
        Err(error) => {
            findings.add(Finding::of_api(CHECK, &error))?;
            Ok(None)
        }
    }
}

/// The advice for the status of the last delivery.
fn answered(code: u16) -> &'static str {
    cause(code).unwrap_or(
        "check the log of vidimus serve; then replay the missing entries: vidimus konnect \
         reconcile",
    )
}

/// The cause of a status that does not go away by itself.
fn cause(code: u16) -> Option<&'static str> {
    match code {
        401 | 403 => Some(
            "the Authorization of the destination is not that of the receiver: set it with \
             vidimus konnect setup, or vidimus konnect destinations update --authorization-file",
        ),
        404 | 405 => Some(
            "the path of the endpoint is not that of the receiver: check --path of vidimus \
                serve",
        ),
        413 => Some("max_body of the receiver, or the limit of a proxy, is too small"),
        _ => None,
    }
}
