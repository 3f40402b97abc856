//! Reading, verifying and writing side by side: one thread reads blocks of lines, all verify them,
//! one writes what is told of them, in order. Between them stand a few blocks at most.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use indicatif::ProgressBar;

use super::super::exit::{Failure, unless_closed};
use super::super::input::blocks::{Block, Blocks};
use super::super::input::column::{Column, ColumnError};
use super::super::input::member::is_record;
use super::super::input::{self, Input};
use super::super::terminal::{Output, tell};
use super::check::{Check, Lines};
use super::tally::Tally;

/// So many blocks wait between two threads.
const WAITING: usize = 2;

/// What is to be done.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) inputs: &'a [Input],
    pub(super) check: &'a Check,
    pub(super) progress: &'a ProgressBar,
}

/// What was done.
pub(super) struct Done {
    /// What was found.
    pub(super) tally: Tally,
    /// Whether all files could be read.
    pub(super) all_read: bool,
    /// Whether every line was looked at: standard output was not closed before the end.
    pub(super) complete: bool,
}

/// Nobody takes what is handed on: the next stage has ended.
struct NobodyListens;

impl Work<'_> {
    /// Does it on so many threads, with 0 on one for each core.
    pub(super) fn run(self, threads: usize) -> Result<Done, Failure> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(Failure::failed)?;
        thread::scope(|scope| {
            let (lines_in, lines_out) = sync_channel(WAITING);
            let (told_in, told_out) = sync_channel(WAITING);
            let reader = scope.spawn(move || self.read(&lines_in));
            let writer = scope.spawn(move || self.write(told_out));
            let (tally, complete) = pool.install(|| self.verify(lines_out, told_in));
            let all_read = joined(reader);
            unless_closed(joined(writer))?;
            Ok(Done { tally, all_read, complete })
        })
    }

    /// Verifies what is read until there is no more, or nobody takes what is told of it. What was
    /// found, and whether that is all.
    fn verify(self, lines: Receiver<Lines>, told: SyncSender<Vec<Vec<u8>>>) -> (Tally, bool) {
        let mut all = Tally::default();
        while let Ok(block) = lines.recv() {
            let (text, tally) = self.check.lines(&block);
            all.merge(&tally);
            if !text.is_empty() && told.send(text).is_err() {
                return (all, lines.recv().is_err());
            }
        }
        (all, true)
    }

    fn write(self, told: Receiver<Vec<Vec<u8>>>) -> Result<(), Failure> {
        let mut output = Output::new();
        for text in told {
            self.progress.suspend(|| {
                text.iter().try_for_each(|text| output.bytes(text))?;
                output.flush()
            })?;
        }
        Ok(())
    }

    /// Reads all files, and says whether that could be done.
    fn read(self, lines: &SyncSender<Lines>) -> bool {
        let mut all_read = true;
        for input in self.inputs {
            match self.read_one(input, lines) {
                Ok(Ok(())) => {}
                Ok(Err(NobodyListens)) => break,
                Err(error) => {
                    all_read = false;
                    self.tell(format_args!("error: cannot read {input}: {error}"));
                }
            }
        }
        all_read
    }

    fn read_one(
        self,
        input: &Input,
        lines: &SyncSender<Lines>,
    ) -> Result<Result<(), NobodyListens>, ColumnError> {
        let send = |block: Block, wrapped: bool| {
            let lines = lines.send(Lines { file: input.to_string(), block, wrapped });
            lines.map_err(|_| NobodyListens)
        };
        let mut bytes = input.open(self.progress)?;
        let Some(field) = &self.check.field else {
            let mut own = None;
            for block in Blocks::new(bytes) {
                let block = block?;
                let own = *own.get_or_insert_with(|| self.is_own(input, &block));
                if let Err(nobody) = send(block, own) {
                    return Ok(Err(nobody));
                }
            }
            return Ok(Ok(()));
        };
        let start;
        (start, bytes) = input::peek(bytes, 4096)?;
        let blocks: Box<dyn Iterator<Item = Result<Block, ColumnError>>> = match sort(&start) {
            Sort::Empty => Box::new(std::iter::empty()),
            Sort::Json => Box::new(Blocks::new(bytes).map(|block| block.map_err(ColumnError::Io))),
            Sort::Csv => Box::new(Column::new(bytes, field)?),
        };
        let wrapped = sort(&start) == Sort::Json;
        for block in blocks {
            if let Err(nobody) = send(block?, wrapped) {
                return Ok(Err(nobody));
            }
        }
        Ok(Ok(()))
    }

    /// Whether the file begins like one of Vidimus's own, and says so: its records are JSON entries
    /// too, none of them signed, and what is asked about is the line in each.
    fn is_own(self, input: &Input, block: &Block) -> bool {
        let own = block.lines.first().is_some_and(|line| is_record(block.text(line)));
        if own {
            self.tell(format_args!(
                "note: {input} has records of vidimus: the lines in them are verified"
            ));
        }
        own
    }

    fn tell(self, text: impl std::fmt::Display) {
        self.progress.suspend(|| tell(text));
    }
}

/// What a file that holds lines in a field is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sort {
    Empty,
    Json,
    Csv,
}

fn sort(start: &[u8]) -> Sort {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    match text.first() {
        None => Sort::Empty,
        Some(b'{') => Sort::Json,
        Some(_) => Sort::Csv,
    }
}

/// What a thread gave; its panic goes on here.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sort_of_a_file_shows_in_its_first_character() {
        for (start, expected) in [
            ("", Sort::Empty),
            ("\n\n", Sort::Empty),
            ("{\"a\":1}", Sort::Json),
            ("\u{feff}\n {", Sort::Json),
            ("_raw,a", Sort::Csv),
            ("\"_raw\"", Sort::Csv),
        ] {
            assert_eq!(sort(start.as_bytes()), expected, "{start:?}");
        }
    }
}
