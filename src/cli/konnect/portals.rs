//! `vidimus konnect portals`: list the Dev Portals.

use clap::{Args, Subcommand};

use super::access::Access;
use super::status;
use super::waiting::run;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::PrintFormat;
use crate::cli::print::grid::{Grid, cut_to, whole};
use crate::cli::terminal::{Output, tell};
use crate::konnect::api::{Portal, WebhookScope, WebhookStatus};
use crate::konnect::client::{ApiError, Client};

/// List the Dev Portals of the region, each with the status of its webhook.
#[derive(Args)]
pub(super) struct Portals {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the Dev Portals, each with the status of its webhook
    List(List),
}

#[derive(Args)]
struct List {
    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

impl Portals {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let Command::List(List { output, access }) = self.command;
        let client = access.client()?;
        let portals = run(portals(&client))?;
        if portals.is_empty() {
            tell(format_args!("there are no Dev Portals at {}", client.hosts().regional()));
        }
        print(output, &portals)
    }
}

/// A Dev Portal, and the status of its webhook or why it is not known.
struct Listed {
    portal: Portal,
    status: Result<WebhookStatus, ApiError>,
}

async fn portals(client: &Client) -> Result<Vec<Listed>, Failure> {
    let mut listed = Vec::new();
    for portal in client.portals().await? {
        let status = client.status(&WebhookScope::Portal(portal.id.clone())).await;
        listed.push(Listed { portal, status });
    }
    Ok(listed)
}

fn print(format: PrintFormat, portals: &[Listed]) -> Result<Exit, Failure> {
    let mut output = Output::new();
    match format {
        PrintFormat::Jsonl => {
            for Listed { portal, status } in portals {
                output.json(&serde_json::json!({
                    "id": portal.id,
                    "name": portal.name,
                    "domain": portal.default_domain,
                    "webhook": status.as_ref().ok(),
                    "error": status.as_ref().err().map(ToString::to_string),
                }))?;
            }
        }
        PrintFormat::Text => {
            let mut grid = Grid::new([whole("ID"), cut_to("NAME", 6), cut_to("WEBHOOK", 16)]);
            for Listed { portal, status } in portals {
                let status = match status {
                    Ok(status) => status::line(status),
                    Err(error) => error.to_string(),
                };
                grid.row([portal.id.clone(), portal.name.clone(), status]);
            }
            output.grid(&grid)?;
        }
    }
    output.flush()?;
    Ok(Exit::Done)
}
