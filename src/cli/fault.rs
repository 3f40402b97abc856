//! `vidimus fault`: make the running `serve` answer deliveries with faults, to test a sender.

use clap::{Args, Subcommand};

use super::args::StoreArgs;
use super::exit::{Exit, Failure};
use super::print::grid::{Grid, cut_to, number, whole};
use super::terminal::{Output, tell};
use crate::control::{Task, TaskReport, ask};
use crate::receiver::fault::{Fault, FaultCount, PlannedFault};

/// Inject faults into the running `serve`, to test how a sender reacts to them
///
/// It needs `actions = true` under `[console]` in the configuration of `serve`. A restart clears all
/// faults.
#[derive(Args)]
pub(crate) struct FaultCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Set(Set),
    Clear(Clear),
}

/// List the faults that the next deliveries get.
#[derive(Args)]
struct List {
    /// Print JSON lines: one object per input
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Give the next deliveries to an input a fault
///
/// It applies to authorized deliveries, after their body was read, and replaces the fault that the input
/// had before. Nothing is stored of a delivery that gets 500, 429 or reset, and it is listed among the
/// refused requests. A delivery with a delay is stored as usual.
#[derive(Args)]
struct Set {
    /// 500 or 429 (that answer), delay=DURATION (the answer waits, up to 5m), or reset (the connection
    /// is closed without an answer)
    #[arg(value_name = "FAULT")]
    fault: Fault,

    /// The number of deliveries that get the fault, from 1 to 1000000
    #[arg(long, value_name = "N")]
    next: FaultCount,

    /// The name of the input [default: the only one]
    #[arg(long, value_name = "NAME")]
    input: Option<String>,

    #[command(flatten)]
    store: StoreArgs,
}

/// Clear the faults of an input, or of all inputs.
#[derive(Args)]
struct Clear {
    /// The name of the input [default: all]
    #[arg(long, value_name = "NAME")]
    input: Option<String>,

    #[command(flatten)]
    store: StoreArgs,
}

impl FaultCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Set(Set { fault, next, input, store }) => {
                run(&store, &Task::Fault { input, next, fault })
            }
            Command::Clear(Clear { input, store }) => run(&store, &Task::ClearFaults { input }),
        }
    }
}

impl List {
    fn run(self) -> Result<Exit, Failure> {
        let faults = ask_serve(&self.store, &Task::Faults {})?.faults;
        let mut output = Output::new();
        match self.json {
            true => faults.iter().try_for_each(|fault| output.json(fault))?,
            false => output.grid(&grid(&faults))?,
        }
        output.flush()?;
        if faults.is_empty() && !self.json {
            tell("no faults");
        }
        Ok(Exit::Done)
    }
}

/// Performs a task in the running `serve`, and prints the result.
fn run(store: &StoreArgs, task: &Task) -> Result<Exit, Failure> {
    ask_serve(store, task)?.lines.iter().for_each(tell);
    Ok(Exit::Done)
}

/// Performs a task in the running `serve`. Nothing else can do it.
fn ask_serve(store: &StoreArgs, task: &Task) -> Result<TaskReport, Failure> {
    let cannot = |error| Failure::failed(format!("cannot ask the running serve: {error}"));
    match ask(&store.directory()?, task).map_err(cannot)? {
        Some(result) => result.map_err(Failure::failed),
        None => Err(Failure::failed(format!(
            "no vidimus serve runs on {}: only a running one injects faults",
            store.path()?.display()
        ))),
    }
}

fn grid(faults: &[PlannedFault]) -> Grid<4> {
    let mut grid =
        Grid::new([cut_to("INPUT", 5), whole("FAULT"), number("LEFT"), number("INJECTED")]);
    for PlannedFault { input, fault, left, injected } in faults {
        grid.row([input.clone(), fault.to_string(), left.to_string(), injected.to_string()]);
    }
    grid
}
