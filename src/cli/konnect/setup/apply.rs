//! Creates or updates the destination, points the webhook at it, and records both.

use crate::cli::exit::Failure;
use crate::cli::konnect::setup_record::{SetupRecord, SetupRecords};
use crate::cli::konnect::teardown::destination_of;
use crate::cli::terminal::tell;
use crate::konnect::api::{
    CreateDestination, Destination, UpdateDestination, UpdateWebhook, Webhook, WebhookScope,
};
use crate::konnect::client::Client;

/// How a set-up is applied.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::konnect) struct Applied {
    /// Whether the next `konnect listen` undoes it if nothing else does.
    pub(in crate::cli::konnect) temporary: bool,
    /// Whether a webhook that points elsewhere is pointed here.
    pub(in crate::cli::konnect) replace: bool,
}

impl Applied {
    pub(in crate::cli::konnect) async fn apply(
        self,
        client: &Client,
        scope: &WebhookScope,
        wanted: &CreateDestination,
        records: &mut SetupRecords,
    ) -> Result<(), Failure> {
        let webhook = client.webhook(scope).await?;
        let ours = records.of(client, scope).cloned();
        let is_ours = |id: &String| ours.as_ref().is_some_and(|made| made.destination_id == *id);
        let other = webhook.audit_log_destination_id.as_ref().filter(|id| !is_ours(id));
        if let Some(other) = other.filter(|_| webhook.enabled && !self.replace) {
            let whose = scope.portal().map_or("the", |_| "the Dev Portal's");
            return Err(Failure::failed(format!(
                "{whose} webhook is in use: it delivers to the destination {}; use --replace to \
                 point it here instead",
                shown(client, other).await
            )));
        }
        let (destination, changed) =
            self.destination(client, scope, wanted, records, &webhook).await?;
        let id = destination.id;
        if webhook.audit_log_destination_id.as_deref() == Some(&id) && webhook.enabled {
            tell(format_args!("the webhook already delivers to {id}; the destination {changed}"));
            return Ok(());
        }
        let change =
            UpdateWebhook { audit_log_destination_id: Some(id.clone()), enabled: Some(true) };
        client.update_webhook(scope, &change).await.map_err(|error| {
            Failure::failed(format!(
                "{error}\nthe destination {id} was created, but the webhook was not changed: try \
                 again, or undo it with vidimus konnect teardown"
            ))
        })?;
        tell(format_args!(
            "the webhook now delivers to {}: {}",
            wanted.endpoint,
            line(wanted, &id)
        ));
        Ok(())
    }

    /// Updates the recorded destination or creates a new one, and records it. Returns it with a
    /// description of the change.
    async fn destination(
        self,
        client: &Client,
        scope: &WebhookScope,
        wanted: &CreateDestination,
        records: &mut SetupRecords,
        webhook: &Webhook,
    ) -> Result<(Destination, String), Failure> {
        let before = records.of(client, scope).cloned();
        let known = match &before {
            Some(made) => destination_of(client, made).await?.map(|id| (made, id)),
            None => None,
        };
        if let Some((made, id)) = known {
            let change = UpdateDestination {
                name: Some(wanted.name.clone()),
                endpoint: Some(wanted.endpoint.clone()),
                authorization: Some(wanted.authorization.clone()),
                log_format: Some(wanted.log_format),
                skip_ssl_verification: Some(wanted.skip_ssl_verification),
            };
            let old = match client.destination(&id).await {
                Err(error) if !error.is_not_found() => return Err(Failure::failed(error)),
                old => old.ok(),
            };
            match client.update_destination(&id, &change).await {
                Ok(destination) => {
                    let mut made = SetupRecord {
                        destination_name: wanted.name.clone(),
                        endpoint: wanted.endpoint.clone(),
                        temporary: self.temporary,
                        ..made.clone()
                    };
                    if webhook.audit_log_destination_id.as_ref() != Some(&id) {
                        made.previous = webhook.clone();
                    }
                    made.destination_id = id;
                    records.put(client, scope, Some(made))?;
                    let changes = old.map_or_else(Vec::new, |old| changes(&old, &destination));
                    let changed = match changes.is_empty() {
                        true => "is up to date".to_owned(),
                        false => format!("was updated: {}", changes.join(", ")),
                    };
                    return Ok((destination, changed));
                }
                // Somebody deleted the destination.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(Failure::failed(error)),
            }
        }
        let same = client.destinations(Some(&wanted.name)).await?;
        if let Some(same) = same.first() {
            return Err(Failure::failed(format!(
                "a destination {:?} already exists and was not created here: {}; use another \
                 --name, or delete it",
                same.name, same.id
            )));
        }
        let gone = |webhook: &Webhook| {
            let old = before.as_ref().map(|made| &made.destination_id);
            old.is_some() && webhook.audit_log_destination_id.as_ref() == old
        };
        // Do not restore a webhook that points at a destination which no longer exists.
        let previous = match &before {
            Some(made) if gone(webhook) => made.previous.clone(),
            _ => webhook.clone(),
        };
        let made = |id: &str| SetupRecord {
            api: client.hosts().regional().to_owned(),
            portal_id: scope.portal().map(str::to_owned),
            destination_id: id.to_owned(),
            destination_name: wanted.name.clone(),
            endpoint: wanted.endpoint.clone(),
            previous: previous.clone(),
            temporary: self.temporary,
        };
        // If the program is killed before the id is known, the destination is found by its name and
        // endpoint.
        records.put(client, scope, Some(made("")))?;
        let destination = match client.create_destination(wanted).await {
            Ok(destination) => destination,
            Err(error) => {
                // Nothing was created.
                if error.status().is_some_and(|status| status.is_client_error()) {
                    records.put(client, scope, before)?;
                }
                return Err(Failure::failed(error));
            }
        };
        records.put(client, scope, Some(made(&destination.id)))?;
        Ok((destination, "is new".to_owned()))
    }
}

/// The changes of an update. Konnect never returns the Authorization, so a change of it is unknown.
fn changes(old: &Destination, new: &Destination) -> Vec<String> {
    let all = [
        ("name", old.name.clone(), new.name.clone()),
        ("endpoint", old.endpoint.clone(), new.endpoint.clone()),
        ("log format", old.log_format.to_string(), new.log_format.to_string()),
        (
            "skip_ssl_verification",
            old.skip_ssl_verification.to_string(),
            new.skip_ssl_verification.to_string(),
        ),
    ];
    let changed = all.into_iter().filter(|(_, old, new)| old != new);
    changed.map(|(what, old, new)| format!("{what} {new} instead of {old}")).collect()
}

/// A destination as shown in messages.
async fn shown(client: &Client, id: &str) -> String {
    match client.destination(id).await {
        Ok(found) => format!("{:?}, {} ({id})", found.name, found.endpoint),
        Err(_) => id.to_owned(),
    }
}

fn line(wanted: &CreateDestination, id: &str) -> String {
    format!("destination {:?} ({id}), {}", wanted.name, wanted.log_format)
}
