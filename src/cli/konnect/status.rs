//! `vidimus konnect status`: show or watch the delivery status of the webhook.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use super::access::{Access, WebhooksArgs};
use super::waiting::{run, run_until_interrupted};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::Output;
use crate::konnect::api::webhook::WebhookActivity;
use crate::konnect::api::{WebhookScope, WebhookStatus};
use crate::settings::units;

/// Show the delivery status of the webhook, or of those of all Dev Portals.
///
/// Exit codes: 0 the webhook works or is disabled, 1 it is `inactive` because deliveries failed.
#[derive(Args)]
pub(super) struct Status {
    /// Keep watching and print changes; exit with 1 when the webhook becomes inactive
    #[arg(long)]
    watch: bool,

    /// How often to poll, with --watch
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration)]
    interval: Duration,

    #[command(flatten)]
    whose: WebhooksArgs,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

impl Status {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let client = self.access.client()?;
        if !self.watch {
            return run(self.whose.each(&client, async |scope| {
                let status = client.status(scope).await?;
                ignore_closed(self.print(scope, &status))?;
                Ok(exit(&status))
            }));
        }
        let ended = run_until_interrupted(async {
            let scopes = self.whose.scopes(&client).await?;
            let mut seen: BTreeMap<&WebhookScope, WebhookStatus> = BTreeMap::new();
            loop {
                for scope in &scopes {
                    let status = client.status(scope).await?;
                    let printed = match seen.get(scope) == Some(&status) {
                        true => Ok(()),
                        false => self.print(scope, &status),
                    };
                    if exit(&status) == Exit::Negative {
                        ignore_closed(printed)?;
                        return Ok(Exit::Negative);
                    }
                    printed?;
                    seen.insert(scope, status);
                }
                tokio::time::sleep(self.interval.max(Duration::from_millis(100))).await;
            }
        })?;
        Ok(ended.unwrap_or(Exit::Done))
    }

    /// Prints a status. With several webhooks, it is told whose it is.
    fn print(&self, scope: &WebhookScope, status: &WebhookStatus) -> Result<(), Failure> {
        let mut output = Output::new();
        match (self.output, self.whose.all_portals.then(|| scope.portal()).flatten()) {
            (PrintFormat::Jsonl, None) => output.json(status)?,
            (PrintFormat::Jsonl, Some(portal)) => {
                let mut object = serde_json::to_value(status)?;
                object["portal_id"] = portal.into();
                output.json(&object)?;
            }
            (PrintFormat::Text, None) => output.line(line(status))?,
            (PrintFormat::Text, Some(portal)) => {
                output.line(format_args!("{portal}  {}", line(status)))?;
            }
        }
        output.flush()
    }
}

fn exit(status: &WebhookStatus) -> Exit {
    match status.webhook_status {
        Some(WebhookActivity::Inactive) => Exit::Negative,
        _ => Exit::Done,
    }
}

pub(super) fn line(status: &WebhookStatus) -> String {
    let enabled = if status.webhook_enabled { "enabled" } else { "disabled" };
    let activity = match status.webhook_status {
        Some(WebhookActivity::Active) => "active",
        Some(WebhookActivity::Inactive) => "inactive",
        Some(WebhookActivity::Unconfigured) => "not configured",
        Some(WebhookActivity::Other) | None => "status unknown",
    };
    let mut line = format!("{enabled}, {activity}");
    match status.last_attempt_at.filter(|time| !time.is_initial()) {
        Some(time) => line += &format!(", last attempt {time}"),
        None => line += ", no attempt yet",
    }
    if let Some(code) = status.last_response_code.filter(|code| *code != 0) {
        line += &format!(": {code}");
    }
    // For successful deliveries the receiver answers with counts.
    let failed = !matches!(status.last_response_code, Some(200..300));
    let message = status.last_response_message.as_ref().filter(|message| !message.is_empty());
    if let Some(message) = message.filter(|_| failed) {
        line += &format!(" {message}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str, code: Exit) {
        let status: WebhookStatus = serde_json::from_str(json).unwrap();
        assert_eq!((line(&status).as_str(), exit(&status)), (expected, code));
    }

    #[test]
    fn a_status_is_one_line_and_inactive_is_negative() {
        check(
            r#"{"webhook_enabled":true,"webhook_status":"inactive","last_attempt_at":"2023-03-21T09:29:14.52Z",
               "last_response_code":401,"last_response_message":"Unauthorized"}"#,
            "enabled, inactive, last attempt 2023-03-21T09:29:14.520Z: 401 Unauthorized",
            Exit::Negative,
        );
        check(
            r#"{"webhook_enabled":true,"webhook_status":"active","last_attempt_at":"0001-01-01T00:00:00Z"}"#,
            "enabled, active, no attempt yet",
            Exit::Done,
        );
        check(
            r#"{"webhook_enabled":true,"webhook_status":"active","last_attempt_at":"2023-03-21T09:29:14.52Z",
               "last_response_code":200,"last_response_message":"{\"received\":1}"}"#,
            "enabled, active, last attempt 2023-03-21T09:29:14.520Z: 200",
            Exit::Done,
        );
        check(
            r#"{"webhook_status":"unconfigured"}"#,
            "disabled, not configured, no attempt yet",
            Exit::Done,
        );
    }
}
