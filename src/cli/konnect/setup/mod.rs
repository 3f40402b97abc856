//! `vidimus konnect setup`: create the destination and set the webhook, or print the configuration.

mod print;

use std::path::PathBuf;

use clap::Args;
use hyper::Uri;

use self::print::{AuthorizationSource, PrintedSetup, Tool};
use super::access::{Access, WebhookArgs, log_format};
use super::destinations::Authorization;
use super::setup_record::{SetupRecord, SetupRecords};
use super::waiting::run;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::{Output, tell};
use crate::config::{self, AUTHORIZATION_VARIABLE, Config, Input};
use crate::entry::Format;
use crate::konnect::api::WebhookScope;
use crate::konnect::api::{
    CreateDestination, Destination, UpdateDestination, UpdateWebhook, Webhook,
};
use crate::konnect::client::Client;
use crate::settings::Secret;
use crate::store::Directory;

/// Create a destination for this receiver, and point the webhook at it.
///
/// The destination gets the Authorization value of this receiver's input. Running the command again
/// updates the destination. A webhook that points elsewhere is not changed unless --replace is
/// given. The data directory records what was created, so that `teardown` can undo it.
#[derive(Args)]
pub(super) struct Setup {
    /// The URL of this receiver as seen by Konnect, including the path
    #[arg(long, value_name = "URL")]
    endpoint: String,

    #[command(flatten)]
    whose: WebhookArgs,

    /// The name of the destination [default: vidimus, the region and the portal]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The log format of the entries
    #[arg(long, value_name = "FORMAT", default_value = "cef", value_parser = log_format())]
    log_format: Format,

    /// Tell Konnect not to verify the endpoint's certificate (for development only)
    #[arg(long)]
    skip_ssl_verification: bool,

    /// The configured input to set up [default: the input with the path of the endpoint]
    #[arg(long, value_name = "NAME")]
    input: Option<String>,

    #[command(flatten)]
    authorization: Authorization,

    /// Replace a webhook that points elsewhere; `teardown` restores it
    #[arg(long)]
    replace: bool,

    /// Print the set-up as configuration instead of applying it, without secrets
    #[arg(long, value_name = "FORM")]
    print: Option<Tool>,

    #[command(flatten)]
    access: Access,
}

impl Setup {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        self.check_endpoint()?;
        self.warn_of_other_path()?;
        let name = self.name()?;
        if let Some(tool) = self.print {
            return self.print(tool, &name);
        }
        let wanted = CreateDestination {
            name,
            endpoint: self.endpoint.clone(),
            authorization: self.secret()?,
            log_format: self.log_format,
            skip_ssl_verification: self.skip_ssl_verification,
        };
        let (client, scope) = (self.access.client()?, self.whose.scope());
        let data_dir = self.data_dir()?;
        // The directory for the record must exist before anything is created.
        Directory::create(&data_dir)?;
        let mut records = SetupRecords::read(&data_dir)?;
        run(self.apply(&client, &scope, &wanted, &mut records))?;
        Ok(Exit::Done)
    }

    async fn apply(
        &self,
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
            let whose = self.whose.portal.as_ref().map_or("the", |_| "the Dev Portal's");
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
        &self,
        client: &Client,
        scope: &WebhookScope,
        wanted: &CreateDestination,
        records: &mut SetupRecords,
        webhook: &Webhook,
    ) -> Result<(Destination, String), Failure> {
        let before = records.of(client, scope).cloned();
        if let Some(made) = &before {
            let change = UpdateDestination {
                name: Some(wanted.name.clone()),
                endpoint: Some(wanted.endpoint.clone()),
                authorization: Some(wanted.authorization.clone()),
                log_format: Some(wanted.log_format),
                skip_ssl_verification: Some(wanted.skip_ssl_verification),
            };
            let old = match client.destination(&made.destination_id).await {
                Err(error) if !error.is_not_found() => return Err(Failure::failed(error)),
                old => old.ok(),
            };
            match client.update_destination(&made.destination_id, &change).await {
                Ok(destination) => {
                    let mut made = made.clone();
                    made.destination_name = wanted.name.clone();
                    if webhook.audit_log_destination_id.as_ref() != Some(&made.destination_id) {
                        made.previous = webhook.clone();
                    }
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
        let destination = client.create_destination(wanted).await?;
        let gone = |webhook: &Webhook| {
            let old = before.as_ref().map(|made| &made.destination_id);
            old.is_some() && webhook.audit_log_destination_id.as_ref() == old
        };
        // Do not restore a webhook that points at a destination which no longer exists.
        let previous = match &before {
            Some(made) if gone(webhook) => made.previous.clone(),
            _ => webhook.clone(),
        };
        let made = SetupRecord {
            api: client.hosts().regional().to_owned(),
            portal_id: scope.portal().map(str::to_owned),
            destination_id: destination.id.clone(),
            destination_name: wanted.name.clone(),
            previous,
        };
        records.put(client, scope, Some(made))?;
        Ok((destination, "is new".to_owned()))
    }

    fn print(&self, tool: Tool, name: &str) -> Result<Exit, Failure> {
        let hosts = self.access.hosts()?;
        let setup = PrintedSetup {
            endpoint: &self.endpoint,
            name,
            log_format: self.log_format,
            skip_ssl_verification: self.skip_ssl_verification,
            portal: self.whose.portal.as_deref(),
            hosts: &hosts,
            authorization: self.authorization_source()?,
        };
        let mut output = Output::new();
        output.text(setup.render(tool)?)?;
        output.flush()?;
        Ok(Exit::Done)
    }

    /// Konnect delivers to https only. A simulator may deliver to http on this machine.
    fn check_endpoint(&self) -> Result<(), Failure> {
        let bad = |why: &str| {
            let endpoint = &self.endpoint;
            Err(Failure::usage(format!("--endpoint is {endpoint:?}, {why}")))
        };
        let Ok(url) = self.endpoint.parse::<Uri>() else { return bad("which is not a URL") };
        match (url.scheme_str(), url.authority()) {
            (Some("https" | "http"), Some(at)) if at.as_str().contains('@') => {
                bad("which contains credentials: use --authorization instead")
            }
            (Some("http"), Some(_)) if self.access.region()?.is_some() => {
                bad("but Konnect delivers to https only")
            }
            (Some("https" | "http"), Some(_)) => Ok(()),
            _ => bad("expected an https URL such as https://siem.example.com/audit-logs"),
        }
    }

    /// Only a warning, because the flags of `serve` are not known here, and a proxy may change the
    /// path.
    fn warn_of_other_path(&self) -> Result<(), Failure> {
        let config = self.config()?;
        let Ok(url) = self.endpoint.parse::<Uri>() else { return Ok(()) };
        let paths: Vec<_> = config.inputs.iter().map(|input| input.path.as_str()).collect();
        if !paths.contains(&url.path()) {
            tell(format_args!(
                "warning: the path of --endpoint is {}, but the configured path of the receiver \
                 is {}: other paths are answered with 404, unless vidimus serve has --path {0} or \
                 a proxy changes the path",
                url.path(),
                paths.join(", ")
            ));
        }
        Ok(())
    }

    fn name(&self) -> Result<String, Failure> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let region = self.access.region()?.map(|region| region.to_string());
        let parts = ["vidimus".to_owned()].into_iter().chain(region);
        Ok(parts.chain(self.whose.portal.clone()).collect::<Vec<_>>().join("-"))
    }

    fn data_dir(&self) -> Result<PathBuf, Failure> {
        config::data_dir(&self.access.store.flags(), &|name| std::env::var(name).ok())
            .map_err(Failure::usage)
    }

    /// The configuration of the receiver.
    fn config(&self) -> Result<Config, Failure> {
        Config::load(&self.access.store.flags(), &|name| std::env::var(name).ok())
            .map_err(Failure::usage)
    }

    /// The input for the endpoint.
    fn receiver_input(&self) -> Result<Input, Failure> {
        let config = self.config()?;
        config.warnings.iter().for_each(|warning| tell(format_args!("warning: {warning}")));
        let path = self.endpoint.parse::<Uri>().map(|url| url.path().to_owned());
        let path = path.unwrap_or_default();
        let count = config.inputs.len();
        let found = config.inputs.into_iter().find(|input| match &self.input {
            Some(name) => input.name == *name,
            None => count == 1 || input.path == path,
        });
        found.ok_or_else(|| match &self.input {
            Some(name) => {
                Failure::usage(format!("--input is {name:?}, but no [[input]] has this name"))
            }
            None => Failure::usage(format!("no [[input]] has the path {path:?}: use --input")),
        })
    }

    /// The authorization value of the receiver.
    fn secret(&self) -> Result<Secret, Failure> {
        if let Some(secret) = self.authorization.given()? {
            return Ok(secret);
        }
        if let config::Authorization::Given(values) = self.receiver_input()?.authorization
            && let Some(first) = values.into_iter().next()
        {
            return Ok(first);
        }
        let path = self.data_dir()?.join("authorization");
        std::fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| Secret::from_file_contents(&bytes).map_err(|why| why.to_string()))
            .map_err(|why| {
                Failure::usage(format!(
                    "cannot read the authorization value of this receiver in {}: {why}; start \
                     vidimus serve once to create it, or use --authorization-file",
                    path.display()
                ))
            })
    }

    /// The location of the authorization value, for printing without the value.
    fn authorization_source(&self) -> Result<AuthorizationSource, Failure> {
        if let Some(path) = &self.authorization.authorization_file {
            return Ok(AuthorizationSource::File(path.display().to_string()));
        }
        if self.authorization.authorization.is_some()
            || std::env::var_os(AUTHORIZATION_VARIABLE).is_some()
        {
            return Ok(AuthorizationSource::Variable);
        }
        match self.receiver_input()?.authorization {
            config::Authorization::Given(_) => Ok(AuthorizationSource::Variable),
            config::Authorization::Generated => {
                let path = self.data_dir()?.join("authorization");
                Ok(AuthorizationSource::File(path.display().to_string()))
            }
        }
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
