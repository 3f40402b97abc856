//! `vidimus query`: print stored entries that match, newest first.

use clap::Args;

use super::args::{QueryArgs, StoreArgs, TimeArgs, print_hints, report_unreadable};
use super::exit::{Exit, Failure};
use super::print::{Printer, RecordFormat, ZoneArgs};
use super::terminal::tell;

/// Print stored entries that match, newest first.
///
/// The command also works while `vidimus serve` runs.
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
    store: StoreArgs,
}

/// How many records are read before they are printed.
const SLICE: usize = 1000;

impl Query {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let (filter, range) = (self.query.filter()?, self.range.range()?);
        let reader = self.store.reader()?.leaving_out_damaged();
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        // One more tells whether that is all.
        let most = limit.saturating_add(1);
        let mut scan = reader.scan(&filter, range, most)?;
        let mut printer = Printer::new(self.output, &self.zone);
        let (mut printed, mut more) = (0_usize, false);
        while printed < limit {
            let wanted = SLICE.min(most - printed);
            let mut records = scan.next_slice(wanted)?;
            if records.is_empty() {
                break;
            }
            more = records.len() > limit - printed;
            records.truncate(limit - printed);
            printer.print(&reader, &records)?;
            printed += records.len();
        }
        printer.end()?;
        if printed == 0 {
            print_hints(&reader, &filter)?;
        }
        match self.output {
            RecordFormat::Text if printed == 0 => tell("no entry matches"),
            RecordFormat::Text if more => {
                tell(format_args!("showing the newest {printed}; use --limit 0 to print all"));
            }
            _ => {}
        }
        report_unreadable(&reader)
    }
}
