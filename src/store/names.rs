//! The names of the fields that entries have beside the known ones: the senders' own.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::StoreError;
use super::read::Reader;
use crate::search::{self, Filter, Hint};

/// The most names that are read of a segment. Names are hostile: there may be one for each entry.
const MAX_NAMES: usize = 1000;

impl Reader {
    /// What a query that matches nothing is likely to have wrong.
    ///
    /// # Errors
    /// When a file cannot be read.
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
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn extension_names(&self, sought: &[&str]) -> Result<BTreeSet<String>, StoreError> {
        let mut names = self.catalog("read", |catalog| in_file(catalog, sought))?;
        for place in self.places()? {
            let missing: Vec<_> = sought.iter().filter(|one| !names.contains(**one)).collect();
            let missing: Vec<&str> = missing.into_iter().copied().collect();
            let found = self.visit(
                place.first_id,
                |_, _| Ok(()),
                |segment, _, ()| in_file(segment, &missing),
            )?;
            names.extend(found.into_iter().flatten());
        }
        Ok(names)
    }
}

fn in_file(file: &Connection, sought: &[&str]) -> rusqlite::Result<BTreeSet<String>> {
    let mut some = file.prepare_cached("SELECT DISTINCT name FROM extensions LIMIT ?1")?;
    let mut names: BTreeSet<String> =
        some.query_map([MAX_NAMES], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if names.len() == MAX_NAMES {
        let mut one = file.prepare_cached("SELECT 1 FROM extensions WHERE name = ?1 LIMIT 1")?;
        for name in sought {
            if one.exists([name])? {
                names.insert((*name).to_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sought_is_found_among_more_names_than_are_read() {
        let file = Connection::open_in_memory().unwrap();
        file.execute_batch("CREATE TABLE extensions (entry, name TEXT)").unwrap();
        let check = |sought: &[&str], expected: usize| {
            assert_eq!(in_file(&file, sought).unwrap().len(), expected, "{sought:?}");
        };
        check(&["x"], 0);
        for n in 0..2 * MAX_NAMES {
            file.execute("INSERT INTO extensions VALUES (1, ?1)", [format!("n{n}")]).unwrap();
        }
        check(&["x"], MAX_NAMES);
        assert!(in_file(&file, &["n1999"]).unwrap().contains("n1999"));
    }
}
