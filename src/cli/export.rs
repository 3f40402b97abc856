//! `vidimus export`: export stored entries in the order they were stored.

use clap::Args;

use super::archived::{self, ArchiveArgs, Archived};
use super::args::{QueryArgs, StoreArgs, TimeArgs, print_hints, report_unreadable};
use super::exit::{Exit, Failure};
use super::print::{LinePieces, Printer, RecordFormat, ZoneArgs};
use super::terminal::{counted, stderr_is_terminal, tell};
use crate::archive::read::Order;
use crate::entry::Record;

/// Export stored entries in the order they were stored.
///
/// Entries that are stored while the export runs are not included. The format `raw` writes the
/// lines as received, so they can be verified again. With `--archive` the entries come from the
/// archive in object storage.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    query: QueryArgs,

    #[command(flatten)]
    range: TimeArgs,

    /// Write at most N entries; 0 means all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: usize,

    /// The output format
    #[arg(short, long, visible_alias = "format", value_name = "FORMAT", default_value = "jsonl")]
    output: RecordFormat,

    #[command(flatten)]
    zone: ZoneArgs,

    #[command(flatten)]
    archive: ArchiveArgs,

    #[command(flatten)]
    store: StoreArgs,
}

/// How many records of the archive are read before they are written.
const SLICE: usize = 8192;

impl Export {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        if let Some(archived) = self.archive.open(&self.store.flags())? {
            return self.run_on_archive(&archived);
        }
        let (filter, range) = (self.query.filter()?, self.range.range()?);
        let reader = self.store.reader()?.leaving_out_damaged();
        let mut export = reader.export(&filter, range)?;
        let written = self.print(&reader, || export.next_slice().map_err(Failure::failed))?;
        if written == 0 {
            print_hints(&reader, &filter)?;
        }
        report_unreadable(&reader)
    }

    fn run_on_archive(self, archived: &Archived) -> Result<Exit, Failure> {
        let filter = self.range.range()?.and(&self.query.filter()?);
        let mut scan = archived.scan(&filter, Order::Stored, self.limit())?;
        let written = self.print(archived, || scan.next_slice(SLICE).map_err(Failure::failed))?;
        if written == 0 {
            archived::print_hints(&filter);
        }
        Ok(Exit::Done)
    }

    fn limit(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit }
    }

    /// Writes entries up to the limit, and returns their number. `next` gives further ones.
    fn print(
        &self,
        lines: &impl LinePieces,
        mut next: impl FnMut() -> Result<Vec<Record>, Failure>,
    ) -> Result<usize, Failure> {
        let mut printer = Printer::new(self.output, &self.zone);
        let limit = self.limit();
        let mut written = 0_usize;
        while written < limit {
            let mut records = next()?;
            if records.is_empty() {
                break;
            }
            records.truncate(limit - written);
            printer.print(lines, &records)?;
            written += records.len();
        }
        printer.end()?;
        if stderr_is_terminal() {
            tell(counted(written as u64, "entry"));
        }
        Ok(written)
    }
}
