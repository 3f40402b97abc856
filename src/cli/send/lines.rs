//! The lines to send, generated or read, and their batches.

use bytes::Bytes;
use indicatif::ProgressBar;

use super::super::exit::Failure;
use super::super::input::blocks::{Block, Blocks, MAX_KEPT};
use super::super::input::{self, Input};
use crate::clock;
use crate::entry::Millis;
use crate::konnect::batch::{Encoding, LineMaker};

/// The source of the lines.
pub(super) enum Lines {
    /// Generated lines.
    Made {
        maker: Box<LineMaker>,
        seed: u64,
        /// The time of the next line, unless it is the current time.
        time: Option<Millis>,
    },
    /// Lines of a file.
    Read {
        name: String,
        blocks: Blocks<input::Bytes>,
        block: Block,
        /// The number of lines of the block already used.
        given: usize,
    },
}

impl Lines {
    pub(super) fn read(input: &Input) -> Result<Lines, Failure> {
        let bytes = input
            .open(&ProgressBar::hidden())
            .map_err(|error| Failure::failed(format!("cannot read {input}: {error}")))?;
        let (blocks, block) = (Blocks::new(bytes), Block::default());
        Ok(Lines::Read { name: input.to_string(), blocks, block, given: 0 })
    }

    /// The seed that generates these lines.
    pub(super) fn seed(&self) -> Option<u64> {
        match self {
            Lines::Made { seed, .. } => Some(*seed),
            Lines::Read { .. } => None,
        }
    }

    /// Adds the next line and a line end to a body. Returns `false` if there are no more lines.
    fn add_to(&mut self, body: &mut Vec<u8>) -> Result<bool, Failure> {
        match self {
            Lines::Made { maker, time, .. } => {
                let at = time.unwrap_or_else(clock::now);
                *time = time.map(|time| Millis::saturating(time.get().saturating_add(1)));
                body.extend_from_slice(maker.line(at).as_bytes());
            }
            Lines::Read { name, blocks, block, given } => {
                if *given == block.lines.len() {
                    let Some(next) = blocks.next() else { return Ok(false) };
                    let cannot = |error| Failure::failed(format!("cannot read {name}: {error}"));
                    (*block, *given) = (next.map_err(cannot)?, 0);
                }
                let Some(line) = block.lines.get(*given) else { return Ok(false) };
                if line.at.len() == MAX_KEPT {
                    let number = line.number;
                    let error = format!("{name}:{number}: the line is longer than 16 MiB");
                    return Err(Failure::failed(error));
                }
                body.extend_from_slice(block.text(line));
                *given += 1;
            }
        }
        body.push(b'\n');
        Ok(true)
    }
}

/// Creates batches until there are no more lines, or until `entries` is reached.
pub(super) struct Batches {
    pub(super) lines: Lines,
    /// The total number of lines to send.
    pub(super) entries: u64,
    /// The number of lines per batch.
    pub(super) batch: u32,
    pub(super) encoding: Encoding,
    /// Whether to keep the lines until they are acknowledged.
    pub(super) keep_lines: bool,
    /// The number of lines so far.
    pub(super) sent: u64,
}

/// An encoded batch.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) encoded: Bytes,
    /// The lines with their line ends, if they are kept.
    pub(super) lines: Option<Vec<u8>>,
    /// The number of lines before this batch.
    pub(super) before: u64,
    /// The number of lines in this batch.
    pub(super) entries: u64,
}

impl Batches {
    fn body(&mut self) -> Result<Option<Body>, Failure> {
        let (before, mut lines) = (self.sent, Vec::new());
        let end = before.saturating_add(self.batch.into()).min(self.entries);
        while self.sent < end && self.lines.add_to(&mut lines)? {
            self.sent += 1;
        }
        if self.sent == before {
            return Ok(None);
        }
        let kept = self.keep_lines.then(|| lines.clone());
        let encoded = self.encoding.encode(lines)?;
        Ok(Some(Body { encoded, lines: kept, before, entries: self.sent - before }))
    }
}

impl Iterator for Batches {
    type Item = Result<Body, Failure>;

    fn next(&mut self) -> Option<Result<Body, Failure>> {
        self.body().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(file: &str, entries: u64, batch: u32) -> Vec<(u64, u64, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, file).unwrap();
        let batches = Batches {
            lines: Lines::read(&Input::new(path)).unwrap(),
            entries,
            batch,
            encoding: Encoding::Identity,
            keep_lines: true,
            sent: 0,
        };
        batches
            .map(|body| {
                let body = body.unwrap();
                assert_eq!(body.encoded, body.lines.unwrap());
                (body.before, body.entries, String::from_utf8(body.encoded.to_vec()).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_file_is_sent_in_batches() {
        let check = |file, entries, batch, expected: &[(u64, u64, &str)]| {
            let found = batches(file, entries, batch);
            let found: Vec<_> = found.iter().map(|(b, n, text)| (*b, *n, text.as_str())).collect();
            assert_eq!(found, expected);
        };
        check("", u64::MAX, 2, &[]);
        check("a\r\n\nb\nc", u64::MAX, 2, &[(0, 2, "a\nb\n"), (2, 1, "c\n")]);
        check("a\nb\nc\n", 3, 3, &[(0, 3, "a\nb\nc\n")]);
        check("a\nb\nc\n", 2, 5, &[(0, 2, "a\nb\n")]);
    }
}
