//! Reads, verifies and writes in parallel: one thread reads blocks of lines, all threads verify
//! them, and one thread writes the results in order. Only a few blocks wait in between.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use indicatif::ProgressBar;

use super::super::archived::Archived;
use super::super::exit::{Failure, ignore_closed};
use super::super::input::blocks::{Block, Blocks};
use super::super::input::column::{Column, ColumnError};
use super::super::input::member::{is_record, line_in};
use super::super::input::{self, Input};
use super::super::terminal::{Output, tell};
use super::archived;
use super::check::{Check, Lines};
use super::tally::Tally;
use crate::search::Filter;

/// The maximum number of blocks waiting between two threads.
const WAITING: usize = 2;

/// The number of bytes read to detect the kind of a file. They include the first line, unless it is
/// so long that it is malformed.
const START: u64 = 4 << 20;

/// The files to verify, and how.
#[derive(Clone, Copy)]
pub(super) struct Verification<'a> {
    pub(super) inputs: &'a [Input],
    /// The archive with the entries to verify after the files, and the filter for them.
    pub(super) archived: Option<(&'a Archived, &'a Filter)>,
    pub(super) check: &'a Check,
    pub(super) progress: &'a ProgressBar,
}

/// The result of the verification.
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// Whether all files could be read.
    pub(super) all_read: bool,
    /// Whether every line was checked: standard output was not closed before the end.
    pub(super) complete: bool,
}

/// The next stage has ended and receives nothing more.
struct NextStageEnded;

impl Verification<'_> {
    /// Verifies on `threads` threads; 0 means one per core.
    pub(super) fn run(self, threads: usize) -> Result<Outcome, Failure> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool?;
        thread::scope(|scope| {
            let (lines_in, lines_out) = sync_channel(WAITING);
            let (output_in, output_out) = sync_channel(WAITING);
            let reader = scope.spawn(move || self.read(&lines_in));
            let writer = scope.spawn(move || self.write(output_out));
            let (tally, complete) = pool.install(|| self.verify(lines_out, output_in));
            let all_read = joined(reader);
            ignore_closed(joined(writer))?;
            Ok(Outcome { tally, all_read, complete })
        })
    }

    /// Verifies blocks until there are no more, or until the writer has ended. Returns the counts,
    /// and whether all lines were checked.
    fn verify(
        self,
        lines: Receiver<Lines>,
        output_blocks: SyncSender<Vec<Vec<u8>>>,
    ) -> (Tally, bool) {
        let mut all = Tally::default();
        while let Ok(block) = lines.recv() {
            let (text, tally) = self.check.lines(&block);
            all.merge(&tally);
            if !text.is_empty() && output_blocks.send(text).is_err() {
                return (all, lines.recv().is_err());
            }
        }
        (all, true)
    }

    fn write(self, output_blocks: Receiver<Vec<Vec<u8>>>) -> Result<(), Failure> {
        let mut output = Output::new();
        for text in output_blocks {
            self.progress.suspend(|| {
                text.iter().try_for_each(|text| output.bytes(text))?;
                output.flush()
            })?;
        }
        Ok(())
    }

    /// Reads all files. Returns whether all could be read.
    fn read(self, lines: &SyncSender<Lines>) -> bool {
        let mut all_read = true;
        for input in self.inputs {
            match self.read_one(input, lines) {
                Ok(Ok(())) => {}
                Ok(Err(NextStageEnded)) => break,
                Err(error) => {
                    all_read = false;
                    self.tell(format_args!("error: cannot read {input}: {error}"));
                }
            }
        }
        if let Some((archived, filter)) = self.archived {
            let send = |block: Block| {
                self.progress.inc(block.bytes.len() as u64);
                let file = "archive".to_owned();
                lines.send(Lines { file, block, wrapped: false }).is_ok()
            };
            if let Err(error) = archived::blocks(archived, filter, send) {
                all_read = false;
                self.tell(format_args!("error: cannot read the archive: {error}"));
            }
        }
        all_read
    }

    fn read_one(
        self,
        input: &Input,
        lines: &SyncSender<Lines>,
    ) -> Result<Result<(), NextStageEnded>, ColumnError> {
        let send = |block: Block, wrapped: bool| {
            let lines = lines.send(Lines { file: input.to_string(), block, wrapped });
            lines.map_err(|_| NextStageEnded)
        };
        let (start, bytes) = input::peek(input.open(self.progress)?, START)?;
        let own_kind = if self.check.field.is_none() { own_kind(&start) } else { None };
        if own_kind.is_some() {
            self.tell(format_args!(
                "note: {input} has vidimus records: verifying the lines in them"
            ));
        }
        let field = self.check.field.as_deref().or(own_kind.map(|_| "raw"));
        let file_kind = own_kind.unwrap_or_else(|| file_kind(&start));
        let blocks: Box<dyn Iterator<Item = Result<Block, ColumnError>>> = match (field, file_kind)
        {
            (_, FileKind::Empty) => Box::new(std::iter::empty()),
            (Some(field), FileKind::Csv) => Box::new(Column::new(bytes, field)?),
            (_, FileKind::Json | FileKind::Csv) => {
                Box::new(Blocks::new(bytes).map(|block| block.map_err(ColumnError::Io)))
            }
        };
        if field.is_none()
            && let Some(field) = likely_field(&start)
        {
            self.tell(format_args!(
                "note: {input} seems to have its lines in {field}: if so, use --field {field}"
            ));
        }
        let wrapped = field.is_some() && file_kind == FileKind::Json;
        for block in blocks {
            if let Err(ended) = send(block?, wrapped) {
                return Ok(Err(ended));
            }
        }
        Ok(Ok(()))
    }

    fn tell(self, text: impl std::fmt::Display) {
        self.progress.suspend(|| tell(text));
    }
}

/// The kind of a file with lines in a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FileKind {
    Empty,
    Json,
    Csv,
}

fn file_kind(start: &[u8]) -> FileKind {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    match text.first() {
        None => FileKind::Empty,
        Some(b'{') => FileKind::Json,
        Some(_) => FileKind::Csv,
    }
}

/// The kind of the file, if it looks like output of Vidimus. Its records would also parse as
/// unsigned JSON entries, but the lines in them are what matters.
fn own_kind(start: &[u8]) -> Option<FileKind> {
    let line = first_line(start);
    let is_csv = line.starts_with(b"id,received_at,input,") && line.ends_with(b",raw,raw_base64");
    match is_csv {
        true => Some(FileKind::Csv),
        false => is_record(line).then_some(FileKind::Json),
    }
}

/// The member or column that probably has the lines, as other programs export them.
fn likely_field(start: &[u8]) -> Option<&'static str> {
    const KNOWN: [&str; 5] =
        ["_raw", "result._raw", "event.original", "_source.event.original", "raw"];
    let line = first_line(start);
    let is_csv = file_kind(start) == FileKind::Csv && line.contains(&b',');
    let columns: Vec<_> = line.split(|byte| *byte == b',').map(unquoted).collect();
    KNOWN.into_iter().find(|name| match is_csv {
        true => columns.contains(&name.as_bytes()),
        false => line_in(line, name).is_ok(),
    })
}

fn unquoted(name: &[u8]) -> &[u8] {
    let name = name.trim_ascii();
    name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name)
}

fn first_line(start: &[u8]) -> &[u8] {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end()
}

/// The result of a thread. Its panic is propagated.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_shows_the_kind_of_a_file() {
        for (start, expected) in [
            ("", FileKind::Empty),
            ("\n\n", FileKind::Empty),
            ("{\"a\":1}", FileKind::Json),
            ("\u{feff}\n {", FileKind::Json),
            ("_raw,a", FileKind::Csv),
            ("\"_raw\"", FileKind::Csv),
        ] {
            assert_eq!(file_kind(start.as_bytes()), expected, "{start:?}");
        }
    }

    #[test]
    fn wrapper_fields_are_recognised() {
        let own_csv = "id,received_at,input,time,x,raw,raw_base64\r\n";
        assert_eq!(own_kind(own_csv.as_bytes()), Some(FileKind::Csv));
        assert_eq!(own_kind(br#"{"id":1,"verdict":"valid","raw":"x"}"#), Some(FileKind::Json));
        assert_eq!(own_kind(b"id,received_at\n"), None);
        let check = |start: &str, expected| assert_eq!(likely_field(start.as_bytes()), expected);
        check("_time,\"_raw\"\n1,2", Some("_raw"));
        check("time,raw\r\n", Some("raw"));
        check(r#"{"result":{"_raw":"x"}}"#, Some("result._raw"));
        check(r#"{"event":{"original":"x"}}"#, Some("event.original"));
        for none in ["", "CEF:0|a,raw|b", "raw", "{\"event\":{}}", "{\"sig\":\"x\"}"] {
            check(none, None);
        }
    }
}
