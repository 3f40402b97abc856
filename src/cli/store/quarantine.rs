//! `vidimus store quarantine`: manage bodies that were authorized but could not be decoded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand, ValueEnum};

use super::drop::Drop;
use super::retry::Retry;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::OutputFormat;
use crate::cli::print::Screen;
use crate::cli::print::grid::{Grid, cut_to, number, time, whole};
use crate::cli::selection::Place;
use crate::cli::terminal::{Output, counted, sanitise, tell};
use crate::store::Quarantined;

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
    output: OutputFormat,

    #[command(flatten)]
    place: Place,
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
    place: Place,
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
        let bodies = self.place.reader()?.quarantine()?;
        let mut output = Output::new();
        match self.output {
            OutputFormat::Text => output.grid(&grid(&bodies, Screen::of_standard_output()))?,
            OutputFormat::Jsonl => bodies.iter().try_for_each(|body| output.json(body))?,
        }
        output.flush()?;
        if self.output == OutputFormat::Text {
            let bytes: u64 = bodies.iter().map(|body| body.bytes).sum();
            let bodies = counted(bodies.len() as u64, "body");
            tell(format_args!("{bodies}, {}", counted(bytes, "byte")));
        }
        Ok(Exit::Done)
    }
}

impl Show {
    fn run(self) -> Result<Exit, Failure> {
        let (what, body) = self.place.reader()?.quarantined(self.id)?;
        let mut output = Output::new();
        match self.output {
            Shown::Raw => output.foreign(&body)?,
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
    let Quarantined { id, received_at, input, peer, status, reason, content_encoding, bytes } =
        body;
    let encoding = content_encoding.as_deref().unwrap_or("none");
    format!(
        "{id}  {received_at}  {input}  {peer}  {bytes} bytes  encoding {encoding}  {status}: {reason}"
    )
}
