//! The objects of a store's archive: creates them once, and reads them.
//!
//! Its functions block, and must not be called on a thread of the runtime.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::encode::Encoded;
use super::error::ArchiveError;
use super::layout::{self, Table};
use super::leftover::same_rows;
use super::manifest::{self, Delta, File, Manifest};
use crate::objects::{Blocking, BucketUrl, MAX_OBJECT};

/// How many names of a file are tried. Each but the last is taken by another file.
const GENERATIONS: u32 = 100;

/// A place with archives.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    objects: Blocking,
}

/// A file that was written, or found as it would have been written.
pub(crate) struct Written {
    pub(crate) file: File,
    /// The number of the last change of a verdict when the file was written.
    pub(crate) change: u64,
}

impl Place {
    /// Opens a place. Nothing is sent yet.
    pub(crate) fn open(url: &BucketUrl, runtime: Handle) -> Result<Place, ArchiveError> {
        Ok(Place { objects: Blocking::open(url, runtime)? })
    }

    /// The same place, for a thread that ends when `stopping` is set.
    pub(super) fn until(self, stopping: Arc<AtomicBool>) -> Place {
        Place { objects: self.objects.until(stopping) }
    }

    /// Its URL.
    pub(super) fn url(&self) -> &BucketUrl {
        self.objects.url()
    }

    /// Reads an object; `None` if there is none.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        Ok(self.objects.get(key)?)
    }

    /// Reads an object of the archive.
    pub(crate) fn read(&self, key: &str) -> Result<Bytes, ArchiveError> {
        self.get(key)?.ok_or_else(|| ArchiveError::Missing { key: key.to_owned() })
    }

    /// Reads a file, and compares its size and its SHA-256 with the manifest.
    pub(crate) fn read_file(&self, file: &File) -> Result<Bytes, ArchiveError> {
        if file.bytes > MAX_OBJECT as u64 {
            return Err(ArchiveError::damaged(&file.key, "it is larger than Vidimus writes"));
        }
        let body = self.read(&file.key)?;
        if body.len() as u64 != file.bytes {
            let what = format!("it has {} bytes, and the manifest says {}", body.len(), file.bytes);
            return Err(ArchiveError::damaged(&file.key, what));
        }
        match manifest::hash(&body) == file.sha256 {
            true => Ok(body),
            false => {
                let what = "its SHA-256 differs from that in the manifest";
                Err(ArchiveError::damaged(&file.key, what))
            }
        }
    }

    /// The names of all objects under a prefix, with their sizes.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ArchiveError> {
        Ok(self.objects.list(prefix)?)
    }

    /// The ids of the stores that the place has archives of.
    pub(crate) fn stores(&self) -> Result<Vec<String>, ArchiveError> {
        let mut ids: Vec<String> = self
            .list(layout::ROOT)?
            .iter()
            .filter_map(|(key, _)| layout::store_of(key).map(str::to_owned))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// The id of the store that is `wanted`, or else of the only one that the place has an archive of.
    ///
    /// # Errors
    /// [`ArchiveError::WhichStore`] if there is none, or several and none is wanted.
    pub(crate) fn choose(&self, wanted: Option<&str>) -> Result<String, ArchiveError> {
        let url = self.url();
        if let Some(id) = wanted {
            let is_there = layout::is_store_id(id) && self.get(&layout::delta(id, 0))?.is_some();
            return match is_there {
                true => Ok(id.to_owned()),
                false => Err(ArchiveError::WhichStore(format!("{url} has no archive of {id:?}"))),
            };
        }
        match self.stores()?.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(ArchiveError::WhichStore(format!("{url} has no archive"))),
            several => Err(ArchiveError::WhichStore(format!(
                "{url} has archives of {} stores: name one with --store; they are {}",
                several.len(),
                several.join(", ")
            ))),
        }
    }

    /// Reads the manifest of a store.
    pub(crate) fn manifest(&self, store: &str) -> Result<Manifest, ArchiveError> {
        let name = |number| layout::snapshot(store, number);
        let snapshots = self.objects.count(name)?.ok_or_else(|| {
            let what = "the numbers of the snapshots have run out";
            ArchiveError::damaged(&name(u64::MAX), what)
        })?;
        let mut manifest = match snapshots.checked_sub(1) {
            None => Manifest::new(store),
            Some(number) => {
                let key = layout::snapshot(store, number);
                Manifest::from_snapshot(store, number, &key, &self.read(&key)?)?
            }
        };
        self.follow(&mut manifest)?;
        Ok(manifest)
    }

    /// Adds the deltas that follow a manifest.
    fn follow(&self, manifest: &mut Manifest) -> Result<(), ArchiveError> {
        loop {
            let key = layout::delta(&manifest.store, manifest.next);
            let Some(body) = self.get(&key)? else { return Ok(()) };
            manifest.add(&key, &body)?;
        }
    }

    /// Creates the delta that follows a manifest, and adds it, and the snapshot that is due then.
    pub(crate) fn add(&self, manifest: &mut Manifest, delta: &Delta) -> Result<(), ArchiveError> {
        let (key, body) = (layout::delta(&manifest.store, delta.number), delta.to_body()?);
        // A delta that cannot be read again must not be created.
        manifest.check(&key, &body)?;
        if let Some(other) = self.objects.create(&key, &body)?
            && other != body
        {
            return Err(ArchiveError::Conflict { key });
        }
        // What the manifest lists is believed to be there.
        if self.read(&key)? != body {
            return Err(ArchiveError::Conflict { key });
        }
        manifest.add(&key, &body)?;
        self.add_snapshot(manifest)
    }

    /// Creates the snapshot that is due, unless it is there.
    pub(crate) fn add_snapshot(&self, manifest: &Manifest) -> Result<(), ArchiveError> {
        let Some(number) = manifest.due_snapshot() else { return Ok(()) };
        let key = layout::snapshot(&manifest.store, number);
        self.objects.create(&key, &manifest.to_snapshot()?)?;
        Ok(())
    }

    /// Writes a file, and reads it back. `name` gives the name in each generation. If the name is taken
    /// by a file with the same rows, which a run before left that did not end, that file is used.
    pub(crate) fn write(
        &self,
        table: Table,
        segment: Option<u64>,
        encoded: &Encoded,
        change: u64,
        name: impl Fn(u32) -> String,
    ) -> Result<Written, ArchiveError> {
        for generation in 1..=GENERATIONS {
            let key = name(generation);
            let taken = self.objects.create(&key, &encoded.body)?;
            if taken.as_ref().is_some_and(|other| *other != encoded.body) {
                let other = taken.unwrap_or_default();
                if let Some((found, change)) = same_rows(&key, table, encoded, &other) {
                    return Ok(Written { file: described(table, segment, &found, &key), change });
                }
                tracing::warn!(key, "the archive has a file that its manifest does not list");
                continue;
            }
            let file = described(table, segment, encoded, &key);
            self.read_file(&file)?;
            return Ok(Written { file, change });
        }
        Err(ArchiveError::Conflict { key: name(GENERATIONS) })
    }
}

/// What the manifest has of a file.
fn described(table: Table, segment: Option<u64>, encoded: &Encoded, key: &str) -> File {
    let (id, time, stored_at) =
        (encoded.id.unzip(), encoded.time.unzip(), encoded.stored_at.unzip());
    File {
        table: table.name().to_owned(),
        key: key.to_owned(),
        bytes: encoded.body.len() as u64,
        sha256: encoded.sha256.clone(),
        rows: encoded.rows,
        segment,
        min_id: id.0,
        max_id: id.1,
        min_time: time.0,
        max_time: time.1,
        min_stored_at: stored_at.0,
        max_stored_at: stored_at.1,
    }
}
