//! The highest ids that were assigned, in a file outside SQLite.
//!
//! If a bit of a write-ahead log is flipped, SQLite silently rolls the database back to before the
//! damage, and ids would be assigned again. So a small file has the highest acknowledged id. It is
//! written before each response and synced once a second. Ids are reserved in blocks, and the block
//! is synced before an id of it is used. After a loss, the next id is therefore one that nobody has
//! seen.
//!
//! The file has two lines of 64 bytes: a word, the highest id of an entry and of a delivery, each 16
//! digits, and the first 16 hexadecimal digits of the SHA-256 of what stands before.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use ring::digest;

use crate::store::directory::{Directory, sync};
use crate::store::error::{SqliteContext, StoreError};

/// The number of ids that are reserved at a time.
pub(in crate::store) const BLOCK: u64 = if cfg!(test) { 100 } else { 10_000 };

/// How long an acknowledged id may stay unsynced.
const SYNC: Duration = Duration::from_secs(1);

const LINE: usize = 64;

/// The highest id of an entry and of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct HighestIds {
    pub(in crate::store) entry: u64,
    pub(in crate::store) delivery: u64,
}

impl HighestIds {
    /// Whether neither is higher than in `other`.
    pub(in crate::store) fn is_within(self, other: HighestIds) -> bool {
        self.entry <= other.entry && self.delivery <= other.delivery
    }

    fn line(self, word: &str) -> String {
        let told = format!("{word:<12} {:016} {:016} ", self.entry, self.delivery);
        let digest = digest::digest(&digest::SHA256, told.as_bytes());
        let check = HEXLOWER.encode(digest.as_ref().get(..8).unwrap_or_default());
        format!("{told}{check}\n")
    }

    /// Parses a line. `None` if it is damaged.
    fn parse(line: &[u8], word: &str) -> Option<HighestIds> {
        let text = std::str::from_utf8(line).ok()?;
        let mut words = text.split_whitespace().skip(1);
        let highest = HighestIds {
            entry: words.next()?.parse().ok()?,
            delivery: words.next()?.parse().ok()?,
        };
        (highest.line(word) == text).then_some(highest)
    }
}

/// The file.
#[derive(Debug)]
pub(in crate::store) struct Ids {
    file: File,
    path: PathBuf,
    reserved: HighestIds,
    acknowledged: HighestIds,
    /// When the first write since the last sync happened. `None` if there was none.
    unsynced_since: Option<Instant>,
}

const RESERVED: &str = "reserved";
const ACKNOWLEDGED: &str = "acknowledged";

impl Ids {
    /// Opens the file. If it does not exist, as in a store of an earlier version, or is damaged, it
    /// is created for a store whose highest ids are `last`.
    pub(in crate::store) fn open(
        directory: &Directory,
        last: HighestIds,
    ) -> Result<Ids, StoreError> {
        let path = directory.ids();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).doing("open", &path)?;
        let read = |at: u64, word: &str| {
            let mut line = [0; LINE];
            file.read_exact_at(&mut line, at).ok()?;
            HighestIds::parse(&line, word)
        };
        let found = read(0, RESERVED).zip(read(LINE as u64, ACKNOWLEDGED));
        let is_new = file.metadata().doing("read", &path)?.len() == 0;
        if found.is_none() && !is_new {
            tracing::error!(
                file = %path.display(),
                "the file of the highest ids is damaged; it is made anew from the newest segment"
            );
        }
        let (reserved, acknowledged) = found.unwrap_or((last, last));
        let mut ids = Ids { file, path, reserved, acknowledged, unsynced_since: None };
        if found.is_none() {
            ids.write(ACKNOWLEDGED, ids.acknowledged)?;
            ids.write(RESERVED, ids.reserved)?;
            ids.sync()?;
            sync(directory.path())?;
        }
        Ok(ids)
    }

    /// The highest acknowledged ids.
    pub(in crate::store) fn acknowledged(&self) -> HighestIds {
        self.acknowledged
    }

    /// The highest reserved ids.
    pub(in crate::store) fn reserved(&self) -> HighestIds {
        self.reserved
    }

    /// Reserves ids up to `highest` on disk.
    pub(in crate::store) fn reserve(&mut self, highest: HighestIds) -> Result<(), StoreError> {
        if highest.is_within(self.reserved) {
            return Ok(());
        }
        let block = |wanted: u64, reserved: u64| match wanted > reserved {
            true => wanted.saturating_add(BLOCK),
            false => reserved,
        };
        let reserved = HighestIds {
            entry: block(highest.entry, self.reserved.entry),
            delivery: block(highest.delivery, self.reserved.delivery),
        };
        self.write(RESERVED, reserved)?;
        self.sync()?;
        self.reserved = reserved;
        Ok(())
    }

    /// Records that ids up to `highest` are acknowledged. Must be called before the response.
    pub(in crate::store) fn acknowledge(&mut self, highest: HighestIds) -> Result<(), StoreError> {
        if highest == self.acknowledged {
            return Ok(());
        }
        self.write(ACKNOWLEDGED, highest)?;
        self.acknowledged = highest;
        let since = *self.unsynced_since.get_or_insert_with(Instant::now);
        match since.elapsed() >= SYNC {
            true => self.sync(),
            false => Ok(()),
        }
    }

    /// Syncs the acknowledged ids if necessary.
    pub(in crate::store) fn sync_if_due(&mut self) -> Result<(), StoreError> {
        match self.unsynced_since {
            Some(_) => self.sync(),
            None => Ok(()),
        }
    }

    /// Whether a sync is necessary.
    pub(in crate::store) fn is_unsynced(&self) -> bool {
        self.unsynced_since.is_some()
    }

    fn write(&self, word: &str, highest: HighestIds) -> Result<(), StoreError> {
        let at = if word == RESERVED { 0 } else { LINE as u64 };
        self.file.write_all_at(highest.line(word).as_bytes(), at).doing("write", &self.path)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file.sync_data().doing("sync", &self.path)?;
        self.unsynced_since = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn highest(entry: u64, delivery: u64) -> HighestIds {
        HighestIds { entry, delivery }
    }

    #[test]
    fn acknowledged_and_reserved_ids_are_read_again() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let mut ids = Ids::open(&directory, highest(7, 2)).unwrap();
        assert_eq!((ids.acknowledged(), ids.reserved()), (highest(7, 2), highest(7, 2)));
        ids.reserve(highest(8, 2)).unwrap();
        assert_eq!(ids.reserved(), highest(8 + BLOCK, 2));
        ids.acknowledge(highest(8, 2)).unwrap();
        drop(ids);
        let ids = Ids::open(&directory, highest(1, 1)).unwrap();
        assert_eq!((ids.acknowledged(), ids.reserved()), (highest(8, 2), highest(8 + BLOCK, 2)));
        let text = std::fs::read_to_string(directory.ids()).unwrap();
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [LINE - 1, LINE - 1], "{text}");
        // One that is damaged is made anew.
        std::fs::write(directory.ids(), text.replace("8 0", "9 0")).unwrap();
        let ids = Ids::open(&directory, highest(9, 3)).unwrap();
        assert_eq!((ids.acknowledged(), ids.reserved()), (highest(9, 3), highest(9, 3)));
    }
}
