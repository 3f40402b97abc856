//! `vidimus konnect webhook`: show, change and delete the webhook.

use clap::{Args, Subcommand};
use serde_json::json;

use super::access::{Show, name_or_id};
use super::destinations::destination_id;
use super::waiting::run;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, tell};
use crate::konnect::api::WebhookScope;
use crate::konnect::api::{self, UpdateWebhook};

/// Show, change and delete the webhook of the organization or of a Dev Portal.
#[derive(Args)]
pub(super) struct Webhook {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the webhook
    Show(Show),
    /// Set the destination, enable or disable the webhook; settings that are not given keep their
    /// value
    Set(Set),
    /// Remove the destination and disable the webhook
    Delete(Show),
}

#[derive(Args)]
struct Set {
    /// The name or the id of the destination
    #[arg(long, value_name = "NAME-OR-ID", value_parser = name_or_id)]
    destination: Option<String>,

    /// Whether the webhook delivers entries
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    enabled: Option<bool>,

    #[command(flatten)]
    show: Show,
}

impl Webhook {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Show(show) => {
                let client = show.access.client()?;
                let (scope, found) = run(async {
                    let scope = show.whose.scope(&client).await?;
                    let found = client.webhook(&scope).await?;
                    Ok((scope, found))
                })?;
                print(show.output, &scope, &found)
            }
            Command::Set(Set { destination, enabled, show }) => {
                if destination.is_none() && enabled.is_none() {
                    return Err(Failure::usage(
                        "nothing to set: use --destination, --enabled or \
                        both",
                    ));
                }
                let client = show.access.client()?;
                let (scope, changed) = run(async {
                    let scope = show.whose.scope(&client).await?;
                    let audit_log_destination_id = match &destination {
                        Some(wanted) => Some(destination_id(&client, wanted).await?),
                        None => None,
                    };
                    let change = UpdateWebhook { audit_log_destination_id, enabled };
                    let changed = client.update_webhook(&scope, &change).await?;
                    Ok((scope, changed))
                })?;
                print(show.output, &scope, &changed)
            }
            Command::Delete(show) => {
                let client = show.access.client()?;
                run(async {
                    let scope = show.whose.scope(&client).await?;
                    client.delete_webhook(&scope).await.map_err(Failure::failed)
                })?;
                tell("the webhook has no destination and is disabled");
                Ok(Exit::Done)
            }
        }
    }
}

fn print(
    format: PrintFormat,
    scope: &WebhookScope,
    webhook: &api::Webhook,
) -> Result<Exit, Failure> {
    let mut output = Output::new();
    match format {
        PrintFormat::Jsonl => output.json(&json!({
            "portal_id": scope.portal(),
            "audit_log_destination_id": webhook.audit_log_destination_id,
            "enabled": webhook.enabled,
        }))?,
        PrintFormat::Text => {
            let destination = webhook.audit_log_destination_id.as_deref().unwrap_or("none");
            output.line(format_args!("enabled      {}", webhook.enabled))?;
            output.line(format_args!("destination  {destination}"))?;
        }
    }
    output.flush()?;
    Ok(Exit::Done)
}
