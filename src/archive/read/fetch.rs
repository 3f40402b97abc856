//! Reads parts of files: ranges of bytes, several at once, with a cache.
//!
//! Parts that are close to each other are read as one. The cache is bounded, and so is each part.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use crate::archive::error::ArchiveError;
use crate::archive::footer::Footer;
use crate::archive::layout::Table;
use crate::objects::Bucket;

/// Gaps up to this many bytes are read with the parts around them, because a request takes longer.
const GAP: u64 = 256 << 10;

/// The most bytes of one part. Row groups have at most 64 MiB.
const MAX_PART: u64 = 192 << 20;

/// The most bytes that the cache holds, besides the newest file's.
const CACHED: usize = 128 << 20;

/// The number of bytes read from the end of a file for its footer.
const TAIL: u64 = 64 << 10;

/// The most bytes of the footers that are kept, as they are in memory, besides the newest.
const FOOTERS: usize = 64 << 20;

/// The number of requests at once.
const AT_ONCE: usize = 8;

/// Reads parts of the files of a place, and keeps the newest.
pub(super) struct Fetcher {
    bucket: Bucket,
    runtime: Handle,
    parts: Mutex<VecDeque<Part>>,
    footers: Mutex<VecDeque<Arc<Footer>>>,
}

#[derive(Clone)]
struct Part {
    key: Arc<str>,
    start: u64,
    bytes: Bytes,
}

impl Part {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    fn has(&self, range: &Range<u64>) -> bool {
        self.start <= range.start && range.end <= self.end()
    }
}

impl Fetcher {
    pub(super) fn new(bucket: Bucket, runtime: Handle) -> Fetcher {
        Fetcher { bucket, runtime, parts: Mutex::default(), footers: Mutex::default() }
    }

    /// Reads these ranges of a file.
    pub(super) fn ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Chunks, ArchiveError> {
        let key: Arc<str> = key.into();
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        {
            let mut parts = held(&self.parts);
            for range in ranges {
                match parts.iter().position(|part| part.key == key && part.has(range)) {
                    // What was used last is given up last.
                    Some(at) => {
                        let part = parts.remove(at).into_iter();
                        part.for_each(|part| {
                            found.push(part.clone());
                            parts.push_back(part);
                        });
                    }
                    None => missing.push(range.clone()),
                }
            }
        }
        let reads = joined(missing).into_iter().map(|range| {
            let key = Arc::clone(&key);
            async move {
                let length = range.end.saturating_sub(range.start);
                if length > MAX_PART {
                    return Err(ArchiveError::damaged(&key, format!("a part has {length} bytes")));
                }
                let start = range.start;
                let bytes = self.bucket.get_range(&key, range).await?;
                match bytes.len() as u64 == length {
                    true => Ok(Part { key, start, bytes }),
                    false => Err(ArchiveError::damaged(&key, "it is shorter than it says")),
                }
            }
        });
        let reads = futures_util::stream::iter(reads).buffered(AT_ONCE).try_collect();
        let read: Vec<Part> = self.runtime.block_on(reads)?;
        found.extend(read.iter().cloned());
        self.keep(read);
        found.sort_by_key(|part| part.start);
        Ok(Chunks { parts: found })
    }

    fn keep(&self, read: Vec<Part>) {
        let mut parts = held(&self.parts);
        parts.extend(read);
        let mut size: usize = parts.iter().map(|part| part.bytes.len()).sum();
        while size > CACHED
            && let Some(oldest) = parts.pop_front()
        {
            size -= oldest.bytes.len();
        }
    }

    /// The footer of a file of `size` bytes.
    pub(super) fn footer(
        &self,
        key: &str,
        table: Table,
        size: u64,
    ) -> Result<Arc<Footer>, ArchiveError> {
        if let Some(footer) = held(&self.footers).iter().find(|one| one.key() == key) {
            return Ok(Arc::clone(footer));
        }
        let mut tail = self.last(key, size, TAIL)?;
        let length = Footer::length(key, &tail, size)?;
        if length > tail.len() as u64 {
            tail = self.last(key, size, length)?;
        }
        let footer = Arc::new(Footer::read(key, table, &tail, size)?);
        let mut footers = held(&self.footers);
        while footers.iter().map(|one| one.size()).sum::<usize>() > FOOTERS {
            footers.pop_front();
        }
        footers.push_back(Arc::clone(&footer));
        Ok(footer)
    }

    /// The last bytes of a file of `size` bytes, at most `most`.
    fn last(&self, key: &str, size: u64, most: u64) -> Result<Bytes, ArchiveError> {
        let start = size.saturating_sub(most);
        let read = self.ranges(key, std::slice::from_ref(&(start..size)))?;
        Ok(read.slice(start, size - start).unwrap_or_default())
    }
}

/// What is kept is whole even after a panic.
fn held<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins ranges that are close to each other.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last)
                if range.start <= last.end.saturating_add(GAP)
                    && range.end.saturating_sub(last.start) <= MAX_PART / 2 =>
            {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// The parts of a file that were read. Other parts cannot be read from it.
pub(super) struct Chunks {
    parts: Vec<Part>,
}

impl Chunks {
    /// The bytes of a range that was read.
    pub(super) fn slice(&self, start: u64, length: u64) -> Option<Bytes> {
        let range = start..start.checked_add(length)?;
        let part = self.parts.iter().find(|part| part.has(&range))?;
        let at = usize::try_from(start - part.start).ok()?;
        Some(part.bytes.slice(at..at + usize::try_from(length).ok()?))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.parts.iter().map(Part::end).max().unwrap_or(0)
    }
}

impl ChunkReader for Chunks {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let part = self.parts.iter().find(|part| part.start <= start && start < part.end());
        let bytes = part.and_then(|part| self.slice(start, part.end() - start));
        bytes.map(Buf::reader).ok_or_else(|| outside(start, 1))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.slice(start, length as u64).ok_or_else(|| outside(start, length))
    }
}

fn outside(start: u64, length: usize) -> ParquetError {
    ParquetError::EOF(format!("{length} bytes at {start} are outside of the column"))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;

    use super::*;

    fn fetcher(bytes: &[u8]) -> (tempfile::TempDir, Runtime, Fetcher) {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display()).parse().unwrap();
        std::fs::write(folder.path().join("x"), bytes).unwrap();
        let fetcher = Fetcher::new(Bucket::open(&url).unwrap(), runtime.handle().clone());
        (folder, runtime, fetcher)
    }

    #[test]
    fn ranges_that_are_close_are_read_as_one() {
        assert_eq!(joined(vec![10..20, 0..5, 15..30]), std::slice::from_ref(&(0..30)));
        let far = GAP + 31;
        assert_eq!(joined(vec![far..far + 1, 0..30]), [0..30, far..far + 1]);
        assert_eq!(joined(vec![]), []);
    }

    #[test]
    fn only_what_was_asked_for_can_be_read() {
        let (_folder, _runtime, fetcher) = fetcher(b"0123456789");
        let chunks = fetcher.ranges("x", std::slice::from_ref(&(2..5))).unwrap();
        assert_eq!(chunks.get_bytes(3, 2).unwrap(), "34");
        assert_eq!(chunks.slice(2, 3).unwrap(), "234");
        for (start, length) in [(1, 2), (3, 3), (9, 1), (u64::MAX, 1)] {
            assert!(chunks.get_bytes(start, length).is_err(), "{start} {length}");
        }
        assert!(chunks.get_read(5).is_err());
        // From the cache, even after the file is gone.
        std::fs::remove_file(_folder.path().join("x")).unwrap();
        assert_eq!(
            fetcher.ranges("x", std::slice::from_ref(&(3..5))).unwrap().slice(3, 2).unwrap(),
            "34"
        );
        assert!(fetcher.ranges("x", std::slice::from_ref(&(3..6))).is_err());
    }

    #[test]
    fn a_part_that_is_too_large_or_not_there_is_an_error() {
        let (_folder, _runtime, fetcher) = fetcher(b"0123456789");
        assert!(fetcher.ranges("x", std::slice::from_ref(&(5..11))).is_err());
        let all = 0..MAX_PART + 1;
        let error = fetcher.ranges("x", std::slice::from_ref(&all)).err().unwrap();
        assert!(error.to_string().contains("a part has"), "{error}");
    }

    #[test]
    fn a_file_without_a_footer_is_damaged() {
        for bytes in [&b""[..], b"PAR1", b"xxxxxxxx", b"\xff\xff\xff\x7fPAR1", b"\x02\0\0\0PAR1"] {
            let (_folder, _runtime, fetcher) = fetcher(bytes);
            assert!(fetcher.footer("x", Table::Entries, bytes.len() as u64).is_err(), "{bytes:?}");
        }
        let (_folder, _runtime, fetcher) = fetcher(b"garbage!\x08\0\0\0PAR1");
        assert!(fetcher.footer("x", Table::Entries, 16).is_err());
    }
}
