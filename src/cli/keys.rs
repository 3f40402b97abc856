//! `vidimus keys`: fetch or list verification keys.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::args::KeyArgs;
use super::args::StoreArgs;
use super::exit::{Exit, Failure};
use super::print::grid::{Grid, cut_to, time, whole};
use super::print::{PrintFormat, Screen};
use super::terminal::{Output, tell};
use crate::clock::now;
use crate::config::{self, Flags, KeySource};
use crate::entry::Millis;
use crate::keys::read;
use crate::net::{Client, ClientOptions};
use crate::signature::{Key, KeySet};
use crate::store::{Directory, Options, Sighting, Source, Store, StoreError, sightings};

/// Fetch or list verification keys.
#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Fetch(Fetch),
    List(List),
}

/// Fetch key sets now, and store their keys in the data directory if it exists.
///
/// A running `vidimus serve` fetches its key sets itself.
#[derive(Args)]
struct Fetch {
    #[command(flatten)]
    keys: KeyArgs,

    /// The data directory [default: vidimus-data] [env: VIDIMUS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Also write the keys to this file, as one JWK set for offline verification
    #[arg(long, value_name = "FILE")]
    jwks_out: Option<PathBuf>,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,
}

/// List all keys seen so far, with their source and when they were first and last seen.
#[derive(Args)]
struct List {
    #[command(flatten)]
    store: StoreArgs,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,
}

impl Keys {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Fetch(fetch) => fetch.run(),
            Command::List(list) => list.run(),
        }
    }
}

impl Fetch {
    fn run(self) -> Result<Exit, Failure> {
        let Fetch { keys, data_dir, jwks_out, output } = self;
        let sources = keys.sources()?;
        let flags = Flags { data_dir, ..keys.into_flags() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(ClientOptions::default())?;
        let store = store(&flags)?;
        let (mut sets, mut failed) = (Vec::new(), false);
        let mut print = Printer::new(output);
        for source in &sources {
            match runtime.block_on(read(source, &client)) {
                Ok((set, bad)) => {
                    bad.iter().for_each(|bad| tell(format_args!("warning: {source}: {bad}")));
                    enter(store.as_ref(), source, Ok(&set))?;
                    for key in set.keys() {
                        print.key(&source.to_string(), key, None)?;
                    }
                    sets.push(set);
                }
                Err(error) => {
                    tell(format_args!("error: {error}"));
                    enter(store.as_ref(), source, Err(&error.to_string()))?;
                    failed = true;
                }
            }
        }
        print.end()?;
        if let Some(path) = jwks_out {
            write_set(&path, &sets)?;
        }
        Ok(if failed { Exit::Failed } else { Exit::Done })
    }
}

/// The store, if it exists and no other process writes to it.
fn store(flags: &Flags) -> Result<Option<Store>, Failure> {
    let path = config::data_dir(flags, &|name| std::env::var(name).ok()).map_err(Failure::usage)?;
    if !path.exists() {
        tell(format_args!("note: {} does not exist, so the keys are not stored", path.display()));
        return Ok(None);
    }
    let directory = Directory::open(&path)?;
    match Store::open(&directory, Options::default()) {
        Ok(store) => Ok(Some(store)),
        Err(StoreError::Locked(_)) => {
            tell(
                "note: the keys are not stored, because a running vidimus uses the data directory \
                 and reads its own sources",
            );
            Ok(None)
        }
        Err(error) => Err(Failure::failed(error)),
    }
}

fn enter(
    store: Option<&Store>,
    source: &KeySource,
    result: Result<&KeySet, &str>,
) -> Result<(), Failure> {
    match store {
        Some(store) => {
            store.enter_keys(&source.to_string(), result, now()).map_err(Failure::failed)
        }
        None => Ok(()),
    }
}

fn write_set(path: &Path, sets: &[KeySet]) -> Result<(), Failure> {
    let all = KeySet::new(sets.iter().flat_map(|set| set.keys().iter().cloned()));
    let json = serde_json::to_string_pretty(&all)?;
    std::fs::write(path, json + "\n")
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

impl List {
    fn run(self) -> Result<Exit, Failure> {
        let directory = self.store.directory()?;
        let (keys, sources) = sightings::read(&directory)?;
        let mut print = Printer::new(self.output);
        for sighting in &keys {
            print.key(&sighting.source, &sighting.key, Some(sighting))?;
        }
        print.end()?;
        for source in &sources {
            report(source);
        }
        match (keys.is_empty(), sources.is_empty()) {
            (true, true) => tell(
                "no keys have been seen yet: use --region or --jwks with serve, or run vidimus \
                 keys fetch",
            ),
            (true, false) => tell("no keys have been seen yet: no key source could be read"),
            (false, _) => {}
        }
        Ok(Exit::Done)
    }
}

/// Prints keys: JSON objects at once, a table at the end.
struct Printer {
    format: PrintFormat,
    output: Output,
    screen: Screen,
    grid: Grid<5>,
}

impl Printer {
    fn new(format: PrintFormat) -> Printer {
        let grid = Grid::new([
            cut_to("KID", 16),
            cut_to("THUMBPRINT", 8),
            cut_to("SOURCE", 20),
            whole("FIRST SEEN"),
            whole("LAST SEEN"),
        ]);
        Printer { format, output: Output::new(), screen: Screen::of_standard_output(), grid }
    }

    fn key(&mut self, source: &str, key: &Key, seen: Option<&Sighting>) -> Result<(), Failure> {
        let (kid, thumbprint) = (key.kid(), key.thumbprint().to_string());
        if self.format == PrintFormat::Jsonl {
            return self.output.json(&serde_json::json!({
                "source": source,
                "kid": kid,
                "thumbprint": thumbprint,
                "jwk": key,
                "first_seen": seen.map(|seen| seen.first_seen),
                "last_seen": seen.map(|seen| seen.last_seen),
            }));
        }
        let at = |at: Option<Millis>| at.map_or_else(String::new, |at| time(at, None, self.screen));
        let (first, last) = (seen.map(|seen| seen.first_seen), seen.map(|seen| seen.last_seen));
        self.grid.row([kid.to_owned(), thumbprint, source.to_owned(), at(first), at(last)]);
        Ok(())
    }

    fn end(mut self) -> Result<(), Failure> {
        self.output.grid(&self.grid)?;
        self.output.flush()
    }
}

/// Prints the last result of a key source.
fn report(source: &Source) {
    let Source { source, attempted_at, succeeded_at, error } = source;
    let last = succeeded_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    match error {
        Some(error) => {
            tell(format_args!("{source}: failed at {attempted_at}: {error}; last read: {last}"))
        }
        None => tell(format_args!("{source}: last read {last}")),
    }
}
