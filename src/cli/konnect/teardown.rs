//! `vidimus konnect teardown`: undo what `setup` created.

use clap::Args;
use hyper::StatusCode;

use super::access::{Access, WebhooksArgs};
use super::setup_record::{SetupRecord, SetupRecords};
use super::waiting::run;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::tell;
use crate::config;
use crate::konnect::api::UpdateWebhook;
use crate::konnect::api::WebhookScope;
use crate::konnect::client::{ApiError, Client};

/// Undo `setup`: restore the webhook and delete the destination.
///
/// A webhook that was pointed elsewhere in the meantime is not changed. A destination that
/// something else uses is not deleted, and the exit code is 1.
#[derive(Args)]
pub(super) struct Teardown {
    #[command(flatten)]
    whose: WebhooksArgs,

    #[command(flatten)]
    access: Access,
}

impl Teardown {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let client = self.access.client()?;
        let data_dir =
            config::data_dir(&self.access.store.flags(), &|name| std::env::var(name).ok())
                .map_err(Failure::usage)?;
        let mut records = SetupRecords::read(&data_dir)?;
        run(self.whose.each(&client, async |scope| {
            let Some(made) = records.of(&client, scope).cloned() else {
                tell(format_args!(
                    "nothing to undo: nothing was set up from {} at {}",
                    data_dir.display(),
                    client.hosts().regional()
                ));
                for other in records.all.iter().filter_map(|made| made.portal_id.as_ref()) {
                    tell(format_args!(
                        "there is a set-up for the Dev Portal {other}: use --portal"
                    ));
                }
                return Ok(Exit::Done);
            };
            let undone = undo(&client, scope, &made).await?;
            if undone == Exit::Done {
                records.put(&client, scope, None)?;
            }
            Ok(undone)
        }))
    }
}

pub(super) async fn undo(
    client: &Client,
    scope: &WebhookScope,
    made: &SetupRecord,
) -> Result<Exit, Failure> {
    let Some(id) = &destination_of(client, made).await? else {
        tell("the destination was not created");
        return Ok(Exit::Done);
    };
    let webhook = match client.webhook(scope).await {
        // The portal was deleted together with its webhook.
        Err(error) if error.is_not_found() => None,
        found => Some(found?),
    };
    match webhook.map(|webhook| webhook.audit_log_destination_id) {
        None => {}
        Some(Some(at)) if at == *id => restore(client, scope, made).await?,
        Some(Some(at)) => {
            tell(format_args!("the webhook now delivers to {at} and is not changed"));
        }
        Some(None) => tell("the webhook no longer has a destination"),
    }
    match client.delete_destination(id).await {
        Ok(()) => tell(format_args!("deleted the destination {:?} ({id})", made.destination_name)),
        Err(error) if error.is_not_found() => tell(format_args!(
            "the destination {id} was already \
            deleted"
        )),
        Err(error) if error.status() == Some(StatusCode::CONFLICT) => {
            tell(format_args!(
                "the destination {id} is not deleted, because something else uses \
                it: {error}"
            ));
            return Ok(Exit::Negative);
        }
        Err(error) => return Err(Failure::failed(error)),
    }
    Ok(Exit::Done)
}

/// The id of the destination; `None` if the set-up was interrupted before it was created.
///
/// # Errors
/// When the id is not known and several destinations have the name and the endpoint.
pub(super) async fn destination_of(
    client: &Client,
    made: &SetupRecord,
) -> Result<Option<String>, Failure> {
    if !made.destination_id.is_empty() {
        return Ok(Some(made.destination_id.clone()));
    }
    let named = client.destinations(Some(&made.destination_name)).await?;
    let mut same = named.into_iter().filter(|one| one.endpoint == made.endpoint);
    match (same.next(), same.next()) {
        (found, None) => Ok(found.map(|one| one.id)),
        (_, Some(_)) => Err(Failure::failed(format!(
            "several destinations have the name {:?} and the endpoint {}: delete the one that an \
             interrupted set-up created, with vidimus konnect destinations delete",
            made.destination_name, made.endpoint
        ))),
    }
}

/// Restores the webhook.
async fn restore(client: &Client, scope: &WebhookScope, made: &SetupRecord) -> Result<(), Failure> {
    if let Some(before) = &made.previous.audit_log_destination_id {
        let change = UpdateWebhook {
            audit_log_destination_id: Some(before.clone()),
            enabled: Some(made.previous.enabled),
        };
        match client.update_webhook(scope, &change).await {
            Ok(_) => {
                tell(format_args!("the webhook delivers to {before} again"));
                return Ok(());
            }
            Err(ApiError::Refused { status, .. })
                if [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND].contains(&status) =>
            {
                tell(format_args!("its previous destination {before} no longer exists"));
            }
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    client.delete_webhook(scope).await?;
    tell("the webhook has no destination and is disabled");
    Ok(())
}
