//! `vidimus konnect destinations`: manage webhook destinations.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::access::{Access, find, is_uuid, log_format, name_or_id};
use super::waiting::run;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::PrintFormat;
use crate::cli::print::grid::{Grid, cut_to, whole};
use crate::cli::terminal::{Output, tell};
use crate::config::AUTHORIZATION_VARIABLE;
use crate::entry::Format;
use crate::konnect::api::{CreateDestination, Destination, UpdateDestination};
use crate::konnect::client::Client;
use crate::settings::Secret;

/// List, create, update and delete webhook destinations.
///
/// A destination is an endpoint with an Authorization value and a log format. The webhooks of all
/// regions and Dev Portals share the same list of destinations.
#[derive(Args)]
pub(super) struct Destinations {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List destinations
    List(List),
    /// Create a destination
    Create(Create),
    /// Show a destination
    Show(One),
    /// Update a destination; settings that are not given keep their value
    Update(Update),
    /// Delete a destination that no webhook uses
    Delete(One),
}

#[derive(Args)]
struct List {
    /// List only destinations with this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
struct Create {
    /// The name of the destination
    #[arg(long, value_name = "NAME")]
    name: String,

    /// The URL that Konnect delivers to
    #[arg(long, value_name = "URL")]
    endpoint: String,

    /// The log format of the entries
    #[arg(long, value_name = "FORMAT", default_value = "cef", value_parser = log_format())]
    log_format: Format,

    /// Do not verify the endpoint's certificate (for development only)
    #[arg(long)]
    skip_ssl_verification: bool,

    #[command(flatten)]
    authorization: Authorization,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
struct Update {
    /// The name or the id of the destination
    #[arg(value_name = "NAME-OR-ID", value_parser = name_or_id)]
    destination: String,

    /// The new name of the destination
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The URL that Konnect delivers to
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,

    /// The log format of the entries
    #[arg(long, value_name = "FORMAT", value_parser = log_format())]
    log_format: Option<Format>,

    /// Whether to skip the verification of the endpoint's certificate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    skip_ssl_verification: Option<bool>,

    #[command(flatten)]
    authorization: Authorization,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
struct One {
    /// The name or the id of the destination
    #[arg(value_name = "NAME-OR-ID", value_parser = name_or_id)]
    destination: String,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

/// The `Authorization` of a destination. It has no `Debug`, because it may contain the secret.
#[derive(Args)]
pub(super) struct Authorization {
    /// The full Authorization header of the deliveries [env: VIDIMUS_AUTHORIZATION]
    #[arg(long, value_name = "VALUE")]
    pub(super) authorization: Option<String>,

    /// Read the Authorization value from this file
    #[arg(long, value_name = "FILE", conflicts_with = "authorization")]
    pub(super) authorization_file: Option<PathBuf>,
}

impl Authorization {
    /// The value of the flags.
    pub(super) fn given(&self) -> Result<Option<Secret>, Failure> {
        match (&self.authorization, &self.authorization_file) {
            (Some(value), _) => Secret::new(value)
                .map(Some)
                .map_err(|why| Failure::usage(format!("--authorization: {why}"))),
            (None, Some(path)) => {
                let mut warnings = Vec::new();
                let secret = Secret::read("--authorization-file", path, &mut warnings);
                warnings.iter().for_each(|warning| tell(format_args!("warning: {warning}")));
                secret.map(Some).map_err(Failure::usage)
            }
            (None, None) => Ok(None),
        }
    }

    /// The value of the flags or the environment.
    fn required(&self) -> Result<Secret, Failure> {
        if let Some(secret) = self.given()? {
            return Ok(secret);
        }
        match std::env::var(AUTHORIZATION_VARIABLE) {
            Ok(value) => Secret::new(&value)
                .map_err(|why| Failure::usage(format!("{AUTHORIZATION_VARIABLE}: {why}"))),
            Err(_) => Err(Failure::usage(
                "no Authorization value: use --authorization-file, --authorization, or \
                 VIDIMUS_AUTHORIZATION",
            )),
        }
    }
}

impl Destinations {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Create(create) => create.run(),
            Command::Update(update) => update.run(),
            Command::Show(one) => {
                let client = one.access.client()?;
                let found = run(async {
                    let id = destination_id(&client, &one.destination).await?;
                    client.destination(&id).await.map_err(Failure::failed)
                })?;
                print(one.output, &[found])
            }
            Command::Delete(one) => {
                let client = one.access.client()?;
                let id = run(async {
                    let id = destination_id(&client, &one.destination).await?;
                    client.delete_destination(&id).await?;
                    Ok(id)
                })?;
                tell(format_args!("deleted {id}"));
                Ok(Exit::Done)
            }
        }
    }
}

impl List {
    fn run(self) -> Result<Exit, Failure> {
        let client = self.access.client()?;
        let name = self.name.as_deref();
        let found = run(async { client.destinations(name).await.map_err(Failure::failed) })?;
        if found.is_empty() {
            tell("there are no destinations");
        }
        print(self.output, &found)
    }
}

impl Create {
    fn run(self) -> Result<Exit, Failure> {
        let destination = CreateDestination {
            authorization: self.authorization.required()?,
            name: self.name,
            endpoint: self.endpoint,
            log_format: self.log_format,
            skip_ssl_verification: self.skip_ssl_verification,
        };
        let client = self.access.client()?;
        let made =
            run(async { client.create_destination(&destination).await.map_err(Failure::failed) })?;
        print(self.output, &[made])
    }
}

impl Update {
    fn run(self) -> Result<Exit, Failure> {
        let change = UpdateDestination {
            authorization: self.authorization.given()?,
            name: self.name,
            endpoint: self.endpoint,
            log_format: self.log_format,
            skip_ssl_verification: self.skip_ssl_verification,
        };
        let client = self.access.client()?;
        let changed = run(async {
            let id = destination_id(&client, &self.destination).await?;
            client.update_destination(&id, &change).await.map_err(Failure::failed)
        })?;
        print(self.output, &[changed])
    }
}

/// The id of the destination with this name or id.
pub(super) async fn destination_id(client: &Client, wanted: &str) -> Result<String, Failure> {
    if is_uuid(wanted) {
        return Ok(wanted.to_owned());
    }
    let all = client.destinations(Some(wanted)).await?;
    Ok(find("destination", wanted, &all, |one| (&one.id, &one.name))?.id.clone())
}

fn print(format: PrintFormat, destinations: &[Destination]) -> Result<Exit, Failure> {
    let mut output = Output::new();
    match format {
        PrintFormat::Jsonl => destinations.iter().try_for_each(|one| output.json(one))?,
        PrintFormat::Text => output.grid(&grid(destinations))?,
    }
    output.flush()?;
    Ok(Exit::Done)
}

fn grid(destinations: &[Destination]) -> Grid<5> {
    let mut grid = Grid::new([
        // Other commands need the whole id.
        whole("ID"),
        cut_to("NAME", 6),
        cut_to("ENDPOINT", 16),
        whole("FORMAT"),
        whole("CHECKED"),
    ]);
    for Destination { id, name, endpoint, log_format, skip_ssl_verification, .. } in destinations {
        let checked = if *skip_ssl_verification { "no" } else { "yes" };
        let log_format = log_format.to_string();
        grid.row([id.clone(), name.clone(), endpoint.clone(), log_format, checked.to_owned()]);
    }
    grid
}
