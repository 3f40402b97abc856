//! `vidimus store quarantine`: manage bodies that were authorized but could not be decoded.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand, ValueEnum};
use data_encoding::HEXLOWER;
use ring::digest;

use super::run_task;
use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::grid::{Grid, cut_to, number, time, whole};
use crate::cli::print::{PrintFormat, Screen};
use crate::cli::terminal::{Output, confirm, counted, sanitise, tell};
use crate::clock::now;
use crate::config::Config;
use crate::control::{self, Task, drop_bodies};
use crate::ingest::ExpectedIds;
use crate::keys::{InputVerification, KeyRing};
use crate::server;
use crate::store::{Options, Quarantined, Store};

/// Manage bodies that were authorized but could not be decoded.
#[derive(Args)]
pub(super) struct Quarantine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Retry(Retry),
    Drop(Drop),
}

/// List the bodies in quarantine, oldest first.
#[derive(Args)]
struct List {
    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    store: StoreArgs,
}

/// Show a body in quarantine.
#[derive(Args)]
struct Show {
    /// The id of the body, as printed by `list`
    #[arg(value_name = "ID")]
    id: u64,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Shown,

    #[command(flatten)]
    store: StoreArgs,
}

/// The output format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// The metadata and the first bytes.
    Text,
    /// One JSON object with the body in base64.
    #[value(alias = "json")]
    Jsonl,
    /// The body as received.
    Raw,
}

/// The number of bytes of a body shown as text.
const BEGINNING: usize = 1024;

impl Quarantine {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Retry(retry) => retry.run(),
            Command::Drop(drop) => drop.run(),
        }
    }
}

impl List {
    fn run(self) -> Result<Exit, Failure> {
        let bodies = self.store.reader()?.quarantine()?;
        let mut output = Output::new();
        match self.output {
            PrintFormat::Text => output.grid(&grid(&bodies, Screen::of_standard_output()))?,
            PrintFormat::Jsonl => bodies.iter().try_for_each(|body| output.json(body))?,
        }
        output.flush()?;
        if self.output == PrintFormat::Text {
            let bytes: u64 = bodies.iter().map(|body| body.bytes).sum();
            let bodies = counted(bodies.len() as u64, "body");
            tell(format_args!("{bodies}, {}", counted(bytes, "byte")));
        }
        Ok(Exit::Done)
    }
}

impl Show {
    fn run(self) -> Result<Exit, Failure> {
        let (what, body) = self.store.reader()?.quarantined(self.id)?;
        let mut output = Output::new();
        match self.output {
            Shown::Raw => output.untrusted(&body)?,
            Shown::Jsonl => {
                let mut object = serde_json::to_value(&what)?;
                if let Some(object) = object.as_object_mut() {
                    object.insert("body_base64".into(), STANDARD.encode(&body).into());
                }
                output.json(&object)?;
            }
            Shown::Text => {
                output.text(sanitise(&describe(&what)))?;
                let beginning = body.get(..BEGINNING).unwrap_or(&body);
                for line in beginning.escape_ascii().to_string().split("\\n") {
                    output.text(line)?;
                }
                if beginning.len() < body.len() {
                    tell(format_args!(
                        "showing the first {BEGINNING} of {} bytes; use --output raw to print all",
                        body.len()
                    ));
                }
            }
        }
        output.flush()?;
        Ok(Exit::Done)
    }
}

/// Decode and store bodies in quarantine again
///
/// Entries are verified with the keys in the store. The command also works while `vidimus serve`
/// runs.
#[derive(Args)]
struct Retry {
    #[command(flatten)]
    store: StoreArgs,
    /// The ids of the bodies [default: all]
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
}

impl Retry {
    /// The result is negative if a body cannot be stored.
    fn run(self) -> Result<Exit, Failure> {
        let directory = self.store.directory()?;
        run_task(&directory, &Task::Retry { ids: self.ids.clone() }, || {
            // For the limits, and for the expected organizations and portals of each input.
            let config = Config::load(&self.store.flags(), &|name| std::env::var(name).ok())
                .map_err(Failure::usage)?;
            let store = Store::open(&directory, server::store_options(&config))?;
            let ring = ring(&config, &store)?;
            control::retry(&store, &ring, &server::receiver_limits(&config), self.ids, |_| ())
                .map_err(Failure::failed)
        })
    }
}

/// The keys in the store, for current and former inputs.
fn ring(config: &Config, store: &Store) -> Result<KeyRing, Failure> {
    let mut inputs: HashMap<String, InputVerification> = HashMap::new();
    for (input, source) in store.inputs()? {
        inputs.entry(input).or_default().sources.push(source);
    }
    for input in &config.inputs {
        let expected =
            ExpectedIds { org_ids: input.org_ids.clone(), portal_ids: input.portal_ids.clone() };
        // An input with unknown sources may use every key.
        if let Some(judged) = inputs.get_mut(&input.name) {
            judged.expected = Arc::new(expected);
        }
    }
    let known = store.keys()?;
    let max_line = server::receiver_limits(config).lines.max_line;
    Ok(KeyRing::new(inputs, store.retirements()?, max_line, known, now()))
}

/// Delete bodies from quarantine
///
/// The command lists the bodies and asks for confirmation. The catalog records the id, time of
/// receipt, peer, size and SHA-256 of each deleted body.
///
/// The command also works while `vidimus serve` runs.
#[derive(Args)]
struct Drop {
    #[command(flatten)]
    store: StoreArgs,
    /// The ids of the bodies, as printed by `list`
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<u64>,
    /// Delete all bodies
    #[arg(long)]
    all: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Only list what would be deleted
    #[arg(long)]
    dry_run: bool,
}

impl Drop {
    fn run(self) -> Result<Exit, Failure> {
        let ids = self.list()?;
        if self.dry_run || ids.is_empty() {
            return Ok(Exit::Done);
        }
        if !self.yes && !confirm("Delete these bodies?")? {
            tell("nothing was deleted");
            return Ok(Exit::Done);
        }
        let directory = self.store.directory()?;
        run_task(&directory, &Task::Drop { ids: ids.clone() }, || {
            let store = Store::open(&directory, Options::default())?;
            drop_bodies(&store, &ids).map_err(Failure::failed)
        })
    }

    /// Prints the bodies to delete, and returns their ids.
    fn list(&self) -> Result<Vec<u64>, Failure> {
        let reader = self.store.reader()?;
        let mut ids = self.ids.clone();
        if self.all {
            let bodies = reader.quarantine()?;
            ids = bodies.into_iter().map(|body| body.id).collect();
        }
        ids.sort_unstable();
        ids.dedup();
        let (mut output, mut bytes) = (Output::new(), 0);
        for id in &ids {
            let (what, body) = reader.quarantined(*id)?;
            let sha256 = digest::digest(&digest::SHA256, &body);
            let sha256 = HEXLOWER.encode(sha256.as_ref());
            output.text(sanitise(&format!(
                "{id}  {}  {}  {} bytes  SHA-256 {sha256}  {}",
                what.received_at, what.input, what.bytes, what.reason
            )))?;
            bytes += what.bytes;
        }
        output.flush()?;
        let bodies = counted(ids.len() as u64, "body");
        tell(format_args!("{bodies} to delete, {}", counted(bytes, "byte")));
        Ok(ids)
    }
}

fn grid(bodies: &[Quarantined], screen: Screen) -> Grid<8> {
    let mut grid = Grid::new([
        number("ID"),
        whole("RECEIVED"),
        cut_to("INPUT", 5),
        cut_to("PEER", 8),
        number("BYTES"),
        cut_to("ENCODING", 4),
        number("STATUS"),
        cut_to("REASON", 16),
    ]);
    for body in bodies {
        grid.row([
            body.id.to_string(),
            time(body.received_at, None, screen),
            body.input.clone(),
            body.peer.clone(),
            body.bytes.to_string(),
            body.content_encoding.clone().unwrap_or_else(|| "none".into()),
            body.status.to_string(),
            body.reason.clone(),
        ]);
    }
    grid
}

fn describe(body: &Quarantined) -> String {
    let Quarantined {
        id,
        received_at,
        input,
        peer,
        status,
        reason,
        content_encoding,
        bytes,
        origin,
    } = body;
    let from = origin.map_or_else(String::new, |origin| format!("  from {origin} of the journal"));
    let encoding = content_encoding.as_deref().unwrap_or("none");
    format!(
        "{id}  {received_at}  {input}  {peer}  {bytes} bytes  encoding {encoding}{from}  {status}: {reason}"
    )
}
