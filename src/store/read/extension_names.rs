//! The names of the fields that entries have beside the known ones: the senders' own.
//!
//! The names in a file are kept: a sealed file never changes, and only new entries are read from an
//! unsealed one. Names are hostile, and each entry may have its own. So only some are kept of a file
//! that has very many, or very long ones.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use crate::search::{self, Field, Filter, Hint};
use crate::store::catalog::segments::Segment;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::Reader;
use crate::store::read::counts::kept::Kept;
use crate::store::segment::row;
use crate::store::sqlite::Database;

/// The maximum number of names that are kept of a file.
const MAX_NAMES: usize = if cfg!(test) { 8 } else { 1000 };

/// The maximum size of the names that are kept of a file, in bytes.
const MAX_BYTES: usize = 32 << 10;

/// The maximum number of files whose names are kept.
const KEPT: usize = 2048;

/// The names that a reader keeps.
#[derive(Debug)]
pub(super) struct KeptNames {
    files: Kept<(), Names>,
    overlay: Mutex<Option<OverlayNames>>,
}

impl Default for KeptNames {
    fn default() -> KeptNames {
        KeptNames { files: Kept::of(KEPT), overlay: Mutex::new(None) }
    }
}

/// The names in a file.
#[derive(Clone, Debug, Default)]
struct Names {
    names: Arc<BTreeSet<String>>,
    /// Whether there are names that are not kept.
    others: bool,
    /// The last entry whose names were read.
    last_id: u64,
}

/// The names in the overlay.
#[derive(Debug)]
struct OverlayNames {
    names: Names,
    /// The last change, and the files of the segments. Names come with a change, and leave the overlay
    /// when a segment does, or its new file has them.
    state: (u64, Vec<String>),
}

impl Names {
    /// Adds names of a file, as they are read.
    fn add(&mut self, found: Vec<String>) {
        let mut names = BTreeSet::clone(&self.names);
        let mut bytes: usize = names.iter().map(String::len).sum();
        self.others |= found.len() > MAX_NAMES;
        for name in found.into_iter().filter(|name| !self.names.contains(name)) {
            match names.len() < MAX_NAMES && bytes + name.len() <= MAX_BYTES {
                true => {
                    bytes += name.len();
                    names.insert(name);
                }
                false => self.others = true,
            }
        }
        self.names = Arc::new(names);
    }
}

impl Reader {
    /// What a query that matches nothing is likely to have wrong.
    pub fn hints(&self, filter: &Filter) -> Result<Vec<Hint>, StoreError> {
        let undefined = search::undefined_fields(filter);
        let stored = match undefined.is_empty() {
            true => BTreeSet::new(),
            false => self.extension_names(&undefined)?,
        };
        Ok(search::hints(filter, &stored))
    }

    /// The names of the fields that entries have beside the known ones, in order: at most `most` that
    /// begin with `prefix`, whatever the case of ASCII letters. Of a file with very many, only some are
    /// looked at.
    pub fn extension_names_with(
        &self,
        prefix: &str,
        most: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut all = BTreeSet::new();
        for (names, _) in self.names()? {
            let begins = |name: &&String| search::completes(name, prefix);
            // Older segments have fields that became known later. A name that a field of the store has
            // too cannot be asked for.
            let is_own = |name: &&String| matches!(Field::named(name), Field::Extension(_));
            let wanted = names.names.iter().filter(begins).filter(is_own);
            all.extend(wanted.filter(|name| !name.is_empty()).cloned());
        }
        Ok(all.into_iter().take(most).collect())
    }

    /// The names of the fields that entries have beside the known ones: all that are among `sought`,
    /// and of the others so many as may be meant instead.
    pub fn extension_names(&self, sought: &[&str]) -> Result<BTreeSet<String>, StoreError> {
        let (mut all, mut with_others) = (BTreeSet::new(), Vec::new());
        for (names, place) in self.names()? {
            all.extend(names.names.iter().cloned());
            with_others.extend(names.others.then_some(place));
        }
        for name in sought {
            let is_in = |place: &Option<u64>| match place {
                Some(first_id) => self
                    .read_segment(*first_id, |database| row::has_extension(database, name))
                    .map(|found| found == Some(true)),
                None => self.catalog(|catalog| {
                    catalog.overlay().has_extension(name).doing("read", catalog.path())
                }),
            };
            for place in &with_others {
                if !all.contains(*name) && is_in(place)? {
                    all.insert((*name).to_owned());
                }
            }
        }
        Ok(all)
    }

    /// The names in each segment, with its first id, and in the overlay.
    fn names(&self) -> Result<Vec<(Names, Option<u64>)>, StoreError> {
        let segments = self.segments()?;
        let names = |segment: &Segment| {
            let names = self.names_of(segment)?;
            Ok(names.map(|names| (names, Some(segment.first_id))))
        };
        let found = segments.par_iter().map(names).collect::<Result<Vec<_>, StoreError>>()?;
        let files = segments.into_iter().map(|segment| segment.file).collect();
        let overlay = (self.names_of_overlay(files)?, None);
        Ok(found.into_iter().flatten().chain([overlay]).collect())
    }

    /// The names in a segment. `None` if it no longer exists or is skipped.
    fn names_of(&self, segment: &Segment) -> Result<Option<Names>, StoreError> {
        let kept = &self.shared.names.files;
        if segment.is_sealed()
            && !self.leaves_out(segment.first_id)
            && let Some(names) = kept.get(&segment.file, &())
        {
            return Ok(Some(names));
        }
        let read = |database: &Database, segment: &Segment| {
            let mut names = kept.get(&segment.file, &()).unwrap_or_default();
            let sql = "SELECT coalesce(max(id), 0) FROM entries";
            let last_id: u64 = database.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            if !names.others && names.last_id < last_id {
                names.add(row::extension_names(database, names.last_id, MAX_NAMES + 1)?);
            }
            names.last_id = last_id;
            kept.put(&segment.file, &Arc::new(()), names.clone());
            Ok(names)
        };
        self.visit(segment.first_id, |_, _| Ok(()), |database, segment, ()| read(database, segment))
    }

    /// The names in the overlay, when the segments have these files.
    fn names_of_overlay(&self, files: Vec<String>) -> Result<Names, StoreError> {
        self.catalog(|catalog| {
            let overlay = catalog.overlay();
            let last_change = overlay.last_change().doing("read", catalog.path())?;
            let state = (last_change, files);
            if let Some(kept) = self.overlay_names().as_ref().filter(|kept| kept.state == state) {
                return Ok(kept.names.clone());
            }
            let mut names = Names::default();
            names.add(overlay.extension_names(MAX_NAMES + 1).doing("read", catalog.path())?);
            *self.overlay_names() = Some(OverlayNames { names: names.clone(), state });
            Ok(names)
        })
    }

    fn overlay_names(&self) -> MutexGuard<'_, Option<OverlayNames>> {
        self.shared.names.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::store::TimeRange;
    use crate::store::tests::{Both, Known, step};

    #[test]
    fn only_some_of_very_many_names_are_kept() {
        let many = |count: usize| (0..count).map(|n| format!("n{n}")).collect();
        let mut names = Names::default();
        names.add(many(MAX_NAMES));
        assert_eq!((names.names.len(), names.others), (MAX_NAMES, false));
        names.add(many(MAX_NAMES));
        assert_eq!((names.names.len(), names.others), (MAX_NAMES, false));
        names.add(vec!["one more".to_owned()]);
        assert_eq!((names.names.len(), names.others), (MAX_NAMES, true));
        let mut names = Names::default();
        names.add(vec!["x".repeat(MAX_BYTES), "y".to_owned()]);
        assert_eq!((names.names.len(), names.others), (1, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn names_are_those_of_the_entries(steps in vec(step(), 0..120)) {
            let mut both = Both::new();
            // It keeps names while the store changes.
            let reader = both.reader();
            for some in steps.chunks(10) {
                some.iter().for_each(|step| both.step(step));
                let names = reader.extension_names_with("", 10).unwrap();
                let all = reader.extension_names(&["cs1", "NOTE"]).unwrap();
                prop_assert_eq!(names.iter().cloned().collect::<BTreeSet<_>>(), all);
                let shown = both.newest(|_| true, TimeRange::default());
                let noted = both.newest(Known::has_note, TimeRange::default());
                prop_assert!(shown.is_empty() || names.contains(&"cs1".to_owned()));
                prop_assert!(noted.is_empty() || names.contains(&"note".to_owned()));
                prop_assert!(names.iter().all(|name| name == "cs1" || name == "note"));
                let begin = |prefix| reader.extension_names_with(prefix, 1).unwrap();
                prop_assert_eq!(begin("NO").len(), usize::from(names.contains(&"note".to_owned())));
                prop_assert!(begin("s1").is_empty());
            }
        }
    }
}
