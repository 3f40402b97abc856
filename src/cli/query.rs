//! `vidimus query`: print stored entries that match, newest first.

use clap::Args;

use super::archived::{self, ArchiveArgs, Archived};
use super::args::{QueryArgs, StoreArgs, TimeArgs, print_hints, report_unreadable};
use super::exit::{Exit, Failure};
use super::print::{LinePieces, Printer, RecordFormat, ZoneArgs};
use super::terminal::tell;
use crate::archive::read::Order;
use crate::entry::Record;

/// Print stored entries that match, newest first.
///
/// The command also works while `vidimus serve` runs. With `--archive` it reads the archive in object
/// storage. The archive lacks the newest entries, and a query takes seconds rather than milliseconds.
#[derive(Args)]
pub(crate) struct Query {
    #[command(flatten)]
    query: QueryArgs,

    #[command(flatten)]
    range: TimeArgs,

    /// Print at most N entries; 0 means all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: RecordFormat,

    #[command(flatten)]
    zone: ZoneArgs,

    #[command(flatten)]
    archive: ArchiveArgs,

    #[command(flatten)]
    store: StoreArgs,
}

/// How many records are read before they are printed.
const SLICE: usize = 1000;

impl Query {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        if let Some(archived) = self.archive.open(&self.store.flags())? {
            return self.run_on_archive(&archived);
        }
        let (filter, range) = (self.query.filter()?, self.range.range()?);
        let reader = self.store.reader()?.leaving_out_damaged();
        let mut scan = reader.scan(&filter, range, self.most())?;
        let printed =
            self.print(&reader, |wanted| scan.next_slice(wanted).map_err(Failure::failed))?;
        if printed.count == 0 {
            print_hints(&reader, &filter)?;
        }
        self.conclude(printed);
        report_unreadable(&reader)
    }

    fn run_on_archive(self, archived: &Archived) -> Result<Exit, Failure> {
        let filter = self.range.range()?.and(&self.query.filter()?);
        let mut scan = archived.scan(&filter, Order::Newest, self.most())?;
        let printed =
            self.print(archived, |wanted| scan.next_slice(wanted).map_err(Failure::failed))?;
        if printed.count == 0 {
            archived::print_hints(&filter);
        }
        self.conclude(printed);
        Ok(Exit::Done)
    }

    /// One more than are printed: it tells whether that is all.
    fn most(&self) -> usize {
        self.limit().saturating_add(1)
    }

    fn limit(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit }
    }

    /// Prints entries up to the limit. `next` gives at most so many further ones.
    fn print(
        &self,
        lines: &impl LinePieces,
        mut next: impl FnMut(usize) -> Result<Vec<Record>, Failure>,
    ) -> Result<Printed, Failure> {
        let limit = self.limit();
        let mut printer = Printer::new(self.output, &self.zone);
        let mut printed = Printed { count: 0, more: false };
        while printed.count < limit {
            let mut records = next(SLICE.min(self.most() - printed.count))?;
            if records.is_empty() {
                break;
            }
            printed.more = records.len() > limit - printed.count;
            records.truncate(limit - printed.count);
            printer.print(lines, &records)?;
            printed.count += records.len();
        }
        printer.end()?;
        Ok(printed)
    }

    fn conclude(&self, Printed { count, more }: Printed) {
        match self.output {
            RecordFormat::Text if count == 0 => tell("no entry matches"),
            RecordFormat::Text if more => {
                tell(format_args!("showing the newest {count}; use --limit 0 to print all"));
            }
            _ => {}
        }
    }
}

/// The number of entries that were printed, and whether there are more.
#[derive(Clone, Copy)]
struct Printed {
    count: usize,
    more: bool,
}
