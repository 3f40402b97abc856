//! `vidimus export`: export stored entries in the order they were stored.

use clap::Args;

use super::args::{QueryArgs, StoreArgs, TimeArgs, print_hints, report_unreadable};
use super::exit::{Exit, Failure};
use super::print::{Printer, RecordFormat, ZoneArgs};
use super::terminal::{counted, stderr_is_terminal, tell};

/// Export stored entries in the order they were stored.
///
/// Entries that are stored while the export runs are not included. The format `raw` writes the
/// lines as received, so they can be verified again.
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
    store: StoreArgs,
}

impl Export {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let (filter, range) = (self.query.filter()?, self.range.range()?);
        let reader = self.store.reader()?.leaving_out_damaged();
        let mut export = reader.export(&filter, range)?;
        let mut printer = Printer::new(self.output, &self.zone);
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut written = 0_usize;
        while written < limit {
            let mut records = export.next_slice()?;
            if records.is_empty() {
                break;
            }
            records.truncate(limit - written);
            printer.print(&reader, &records)?;
            written += records.len();
        }
        printer.end()?;
        if written == 0 {
            print_hints(&reader, &filter)?;
        }
        if stderr_is_terminal() {
            tell(counted(written as u64, "entry"));
        }
        report_unreadable(&reader)
    }
}
