//! The names of the fields that entries have beside the known ones: the senders' own.

use std::collections::BTreeSet;

use crate::search::{self, Filter, Hint};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::Reader;
use crate::store::segment::row;

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

    /// The names of the fields that entries have beside the known ones: all that are among `sought`,
    /// and of the others so many as may be meant instead. Every segment is read for it.
    pub fn extension_names(&self, sought: &[&str]) -> Result<BTreeSet<String>, StoreError> {
        let mut names = self.catalog(|catalog| {
            catalog.overlay().extension_names(sought).doing("read", catalog.path())
        })?;
        for segment in self.segments()? {
            let missing: Vec<_> = sought.iter().filter(|one| !names.contains(**one)).collect();
            let missing: Vec<&str> = missing.into_iter().copied().collect();
            let found = self.read_segment(segment.first_id, |database| {
                row::extension_names(database, &missing)
            })?;
            names.extend(found.into_iter().flatten());
        }
        Ok(names)
    }
}
