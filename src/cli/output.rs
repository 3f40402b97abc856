//! `vidimus output`: show, reset, forget and test outputs.
//!
//! The commands work with and without a running `vidimus serve`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::StoreArgs;
use super::exit::{Exit, Failure, ignore_closed};
use super::print::grid::{Grid, cut_to, number, time, whole};
use super::print::{PrintFormat, Screen};
use super::terminal::{Output, tell};
use crate::clock::now;
use crate::config;
use crate::entry::Millis;
use crate::output::{ResetTo, Tested, reset};
use crate::search;
use crate::store::{OutputCursors, OutputStanding};

/// Show and manage outputs.
#[derive(Args)]
pub(crate) struct OutputCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Status(Status),
    Reset(Reset),
    Forget(Forget),
    Test(Test),
}

impl OutputCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Status(status) => status.run(),
            Command::Reset(reset) => reset.run(),
            Command::Forget(forget) => forget.run(),
            Command::Test(test) => test.run(),
        }
    }
}

/// Show the position, backlog and speed of each output
///
/// NEXT is the id of the next entry. BEHIND is the number of entries still to process. RATE is the
/// lines per second in the minute before the position was SAVED, or 0 if that was more than a
/// minute ago. DEAD is the number of dead letters. The list includes outputs that were removed from
/// the configuration, because their position is kept.
///
/// Exit codes: 0 all configured outputs work, 1 a configured output has failed.
#[derive(Args)]
struct Status {
    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    store: StoreArgs,
}

impl Status {
    fn run(self) -> Result<Exit, Failure> {
        let reader = self.store.reader()?;
        let standings = reader.output_standings(now())?;
        let failed = standings.iter().any(|one| one.configured && one.error.is_some());
        ignore_closed(self.print(&standings))?;
        Ok(if failed { Exit::Negative } else { Exit::Done })
    }

    fn print(&self, standings: &[OutputStanding]) -> Result<(), Failure> {
        let mut output = Output::new();
        match self.output {
            PrintFormat::Text => {
                output.grid(&grid(standings, Screen::of_standard_output()))?;
                standings.iter().filter_map(remark).try_for_each(|remark| output.line(remark))?;
            }
            PrintFormat::Jsonl => standings.iter().try_for_each(|one| output.json(one))?,
        }
        output.flush()
    }
}

fn grid(standings: &[OutputStanding], screen: Screen) -> Grid<9> {
    let mut grid = Grid::new([
        cut_to("OUTPUT", 10),
        whole("STATE"),
        number("NEXT"),
        number("BEHIND"),
        number("WRITTEN"),
        number("RATE"),
        number("LOST"),
        number("DEAD"),
        whole("SAVED"),
    ]);
    for one in standings {
        let state = match (one.configured, &one.error) {
            (false, _) => "past",
            (true, Some(_)) => "failed",
            (true, None) => "ok",
        };
        grid.row([
            one.name.clone(),
            state.to_owned(),
            one.next_id.to_string(),
            one.behind.to_string(),
            one.written.to_string(),
            format!("{:.1}/s", one.rate),
            one.lost.to_string(),
            one.dead_letters.to_string(),
            time(one.saved_at, None, screen),
        ]);
    }
    grid
}

/// Details that do not fit into the table.
fn remark(standing: &OutputStanding) -> Option<String> {
    let name = &standing.name;
    if !standing.configured {
        return Some(format!(
            "{name}: it is no longer in the configuration; vidimus output forget {name} deletes \
             its position"
        ));
    }
    let (error, at) = standing.error.as_ref().zip(standing.failed_at)?;
    let since = standing.behind_since.map(|since| format!("behind since {since}; "));
    Some(format!("{name}: {}failed {at}: {error}", since.unwrap_or_default()))
}

/// Make an output start again with the entries received since a given time
///
/// Entries that it already wrote since then are written again.
#[derive(Args)]
struct Reset {
    /// The name of the output
    #[arg(value_name = "NAME")]
    name: String,

    /// Start at this time: RFC 3339, a date, or an age (15m, 6h, 7d)
    #[arg(long, value_name = "TIME")]
    since: String,

    #[command(flatten)]
    store: StoreArgs,
}

impl Reset {
    fn run(self) -> Result<Exit, Failure> {
        let since = search::time::parse(&self.since, now().get())
            .map_err(|error| Failure::usage(format!("--since: {error}")))?;
        let to = ResetTo::Since(Millis::saturating(since));
        let position = reset(&self.store.directory()?, &self.name, to)?;
        let position = position.ok_or_else(|| unknown(&self.name))?;
        tell(format_args!("{}: continues with entry {}", self.name, position.next_id));
        Ok(Exit::Done)
    }
}

/// Delete the saved position of an output that was removed from the configuration
///
/// An output that is added later with the same name starts as a new output.
#[derive(Args)]
struct Forget {
    /// The name of the output
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    store: StoreArgs,
}

impl Forget {
    fn run(self) -> Result<Exit, Failure> {
        let directory = self.store.directory()?;
        let cursors = OutputCursors::open(&directory)?;
        if cursors.forget(&self.name)? {
            return Ok(Exit::Done);
        }
        match cursors.load(&self.name)? {
            None => Err(unknown(&self.name)),
            Some(_) => Err(Failure::usage(format!(
                "the output {:?} was in the configuration when `vidimus serve` last read it: \
                 remove it first, and start `vidimus serve` or send it SIGHUP",
                self.name
            ))),
        }
    }
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format!(
        "there is no output {name:?} in the store; `vidimus output status` lists them"
    ))
}

/// Test a configured output with a made-up entry
///
/// The command prints the line. For a file output it checks that a file can be written in the same
/// directory; it does not touch the output's own file, because `vidimus serve` may be writing to
/// it. For syslog and HTTP it sends the entry; the exit code is 1 if the receiver does not accept
/// it.
#[derive(Args)]
struct Test {
    /// The name of the output
    #[arg(value_name = "NAME")]
    name: String,

    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Test {
    fn run(self) -> Result<Exit, Failure> {
        let flags = config::Flags { config: Some(self.config), ..config::Flags::default() };
        let (outputs, warnings) = config::outputs(&flags).map_err(Failure::usage)?;
        for warning in warnings {
            tell(warning);
        }
        let found = outputs.into_iter().find(|output| output.name == self.name);
        let output = found.ok_or_else(|| {
            Failure::usage(format!("there is no output {:?} in the configuration", self.name))
        })?;
        let Tested { line, ignores_filter, trial } = output.test();
        if ignores_filter {
            tell("filter and not_valid are ignored here: they may exclude an entry like this");
        }
        let mut printed = Output::new();
        printed.untrusted(&line)?;
        printed.flush()?;
        let trial = trial?;
        trial.lines.iter().for_each(tell);
        Ok(if trial.is_taken { Exit::Done } else { Exit::Negative })
    }
}
