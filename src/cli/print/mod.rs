//! Prints records on standard output: as a table, JSON lines, CSV, or the lines as received.

pub(crate) mod grid;
mod table;

use std::io::{self, IsTerminal};

use clap::Args;
use jiff::tz::TimeZone;

use super::colour;
use super::exit::Failure;
use super::terminal::Output;
use crate::entry::Record;
use crate::record_csv::Columns;
use crate::store::Reader;
use table::Table;

/// The output format of everything but records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PrintFormat {
    /// Human-readable text.
    #[default]
    Text,
    /// JSON lines: one object per line.
    #[value(alias = "json")]
    Jsonl,
}

/// The output format of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RecordFormat {
    /// A table.
    #[default]
    Text,
    /// JSON lines: one object per line.
    #[value(alias = "json")]
    Jsonl,
    /// Comma-separated values with a header (RFC 4180). Cells that look like a formula get an
    /// apostrophe prefix.
    Csv,
    /// The lines as received.
    Raw,
}

/// The time zone of times in text output.
#[derive(Debug, Args)]
pub(crate) struct ZoneArgs {
    /// Show times in the local time zone, in text output
    #[arg(long)]
    local: bool,
}

impl ZoneArgs {
    /// The time zone, unless it is UTC.
    pub(crate) fn zone(&self) -> Option<TimeZone> {
        self.local.then(TimeZone::system)
    }
}

/// Where the pieces are of lines that are longer than the receiver parses.
pub(crate) trait LinePieces {
    /// A piece of the line of the entry `id`, numbered from 0. `None` after the last one.
    fn line_piece(&self, id: u64, number: u64) -> Result<Option<Vec<u8>>, Failure>;
}

impl LinePieces for Reader {
    fn line_piece(&self, id: u64, number: u64) -> Result<Option<Vec<u8>>, Failure> {
        Reader::line_piece(self, id, number).map_err(Failure::failed)
    }
}

pub(crate) struct Printer {
    output: Output,
    format: RecordFormat,
    table: Table,
    columns: Columns,
    begun: bool,
}

impl Printer {
    /// Prints stored records. The width of a table depends on the first records.
    pub(crate) fn new(format: RecordFormat, zone: &ZoneArgs) -> Printer {
        Printer {
            output: Output::new(),
            format,
            table: Table::new(Screen::of_standard_output(), zone.zone()),
            columns: Columns::all(),
            begun: false,
        }
    }

    /// Prints new records as they arrive. A table has fixed widths.
    pub(crate) fn for_new_records(
        format: RecordFormat,
        zone: &ZoneArgs,
    ) -> Result<Printer, Failure> {
        let mut printer = Printer::new(format, zone);
        printer.begin(&[])?;
        printer.flush()?;
        Ok(printer)
    }

    /// Prints records that were read where `lines` are.
    pub(crate) fn print(
        &mut self,
        lines: &impl LinePieces,
        records: &[Record],
    ) -> Result<(), Failure> {
        if !self.begun {
            self.begin(records)?;
        }
        match self.format {
            RecordFormat::Text => {
                for record in records {
                    self.output.bytes(self.table.row(record).as_bytes())?;
                }
            }
            RecordFormat::Jsonl => {
                records.iter().try_for_each(|record| self.output.json(record))?
            }
            RecordFormat::Csv => self.output.untrusted(&self.columns.rows(records)?)?,
            RecordFormat::Raw => records.iter().try_for_each(|record| self.raw(lines, record))?,
        }
        Ok(())
    }

    /// Prints the line as received. A line that is too long to be parsed is printed in pieces.
    fn raw(&mut self, lines: &impl LinePieces, record: &Record) -> Result<(), Failure> {
        let Some((id, whole)) = record.id().zip(record.whole) else {
            return self.output.untrusted(&[record.raw.as_slice(), b"\n"].concat());
        };
        let (mut printed, mut number) = (0, 0);
        while let Some(piece) = lines.line_piece(id, number)? {
            self.output.untrusted_part(&piece)?;
            printed += piece.len() as u64;
            number += 1;
        }
        if whole.bytes != Some(printed) {
            return Err(Failure::failed(format!(
                "the line of entry {id} ends after {printed} bytes: its segment or file was deleted \
                 in the meantime, or is damaged"
            )));
        }
        self.output.untrusted_part(b"\n")
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush()
    }

    /// Completes the output.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        // CSV without rows still has a header.
        if !self.begun && self.format == RecordFormat::Csv {
            self.begin(&[])?;
        }
        self.flush()
    }

    fn begin(&mut self, records: &[Record]) -> Result<(), Failure> {
        self.begun = true;
        match self.format {
            RecordFormat::Text => self.output.bytes(self.table.begin(records).as_bytes()),
            RecordFormat::Csv => self.output.bytes(&self.columns.header()?),
            _ => Ok(()),
        }
    }
}

/// The properties of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// The width in columns; `None` for a file or a pipe.
    pub(crate) width: Option<usize>,
    pub(crate) colours: bool,
}

impl Screen {
    /// Detects the properties of standard output.
    pub(crate) fn of_standard_output() -> Screen {
        let output = io::stdout();
        let is_terminal = output.is_terminal();
        let width = terminal_size::terminal_size_of(&output);
        Screen {
            width: is_terminal.then(|| width.map_or(80, |(width, _)| usize::from(width.0))),
            colours: colour::is_wanted(is_terminal),
        }
    }
}
