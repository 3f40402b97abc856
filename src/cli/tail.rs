//! `vidimus tail`: print new entries of the local store.
//!
//! It polls the store and works with and without a running `vidimus serve`.

use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{QueryArgs, StoreArgs, print_hints};
use super::exit::{Exit, Failure};
use super::print::{Printer, RecordFormat, ZoneArgs};
use super::terminal::tell;
use crate::entry::Record;
use crate::store::{Event, Follow, Reader};

/// Print new entries of the local store until interrupted.
///
/// An entry is printed again if its verdict changes because a key arrived.
#[derive(Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    query: QueryArgs,

    /// Start with the newest N entries that match
    #[arg(short = 'n', long = "newest", value_name = "N", default_value_t = 0)]
    newest: usize,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: RecordFormat,

    #[command(flatten)]
    zone: ZoneArgs,

    #[command(flatten)]
    store: StoreArgs,
}

/// How often to poll the store.
const INTERVAL: Duration = Duration::from_millis(200);

impl Tail {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let filter = self.query.filter()?;
        let reader = self.store.reader()?;
        let position = reader.newest(&filter, self.newest)?;
        // A later entry may have a field that no stored entry has.
        print_hints(&reader, &filter)?;
        let printer = Printer::for_new_records(self.output, &self.zone)?;
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let stopped = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            follow(&reader, reader.follow(&filter, position), printer, stopped).await
        })
    }
}

/// Prints new entries until `stopped`, or until the reader of standard output closes it.
pub(super) async fn follow(
    reader: &Reader,
    mut follow: Follow<'_>,
    mut printer: Printer,
    stopped: impl Future<Output = ()>,
) -> Result<Exit, Failure> {
    let output = watched_output();
    tokio::pin!(stopped);
    loop {
        let news = follow.poll()?;
        print(&mut printer, reader, news.events)?;
        let wait = if news.more { Duration::ZERO } else { INTERVAL };
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(Exit::Done),
            () = closed(output.as_ref()) => return Ok(Exit::Done),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn print(printer: &mut Printer, reader: &Reader, events: Vec<Event>) -> Result<(), Failure> {
    let mut records: Vec<Record> = Vec::with_capacity(events.len());
    for event in events {
        match event {
            Event::New(record) | Event::Changed(record) => records.push(record),
            Event::Missed { from, to } => {
                tell(format_args!("entries {from} to {to} were deleted by retention"));
            }
        }
    }
    if records.is_empty() {
        return Ok(());
    }
    printer.print(reader, &records)?;
    printer.flush()
}

/// Standard output, if its reader can close it. Its mode is not changed.
fn watched_output() -> Option<Sender> {
    let output = std::io::stdout().as_fd().try_clone_to_owned().ok()?;
    Sender::from_owned_fd_unchecked(output).ok()
}

/// Returns when the reader has closed standard output.
async fn closed(output: Option<&Sender>) {
    match output {
        Some(output) if output.ready(Interest::ERROR).await.is_ok() => {}
        _ => std::future::pending().await,
    }
}
