//! Interrupts a query: at a deadline, or when nobody waits for the answer any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::store::error::StoreError;

/// Interrupts queries. SQLite checks it every few thousand steps of a statement.
#[derive(Debug)]
pub struct Interrupt {
    deadline: Instant,
    is_cancelled: AtomicBool,
}

/// The number of steps of SQLite's virtual machine between two checks. They take well under a
/// millisecond.
pub(in crate::store) const STEPS: i32 = 2000;

impl Interrupt {
    /// Interrupts queries at `deadline`.
    pub fn at(deadline: Instant) -> Interrupt {
        Interrupt { deadline, is_cancelled: AtomicBool::new(false) }
    }

    /// Interrupts queries now.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the query is to end.
    pub(in crate::store) fn is_over(&self) -> bool {
        self.check().is_err()
    }

    /// Returns an error if the query is to end.
    pub(in crate::store) fn check(&self) -> Result<(), StoreError> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            return Err(StoreError::Cancelled);
        }
        if Instant::now() >= self.deadline { Err(StoreError::TimedOut) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::store::directory::Directory;
    use crate::store::error::SqliteContext;
    use crate::store::read::Reader;
    use crate::store::sqlite::Access;
    use crate::store::{Options, Store, catalog};

    fn ask(reader: &Reader, sql: &str) -> Result<i64, StoreError> {
        let path = reader.directory().catalog();
        reader.snapshot(&path, &catalog::SCHEMA, Access::Shared, |database| {
            database.query_row(sql, [], |row| row.get(0)).doing("count", &path)
        })
    }

    /// Counts without an end.
    fn count(reader: &Reader) -> Result<i64, StoreError> {
        let sql = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)
                   SELECT count(*) FROM n";
        ask(reader, sql)
    }

    #[test]
    fn a_statement_ends_at_its_time_or_when_it_is_cancelled() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("d")).unwrap();
        drop(Store::open(&directory, Options::default()).unwrap());
        let reader = Reader::open(&directory).unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        let found = count(&reader.until(Arc::new(Interrupt::at(soon))));
        assert!(matches!(found, Err(StoreError::TimedOut)), "{found:?}");

        let interrupt = Arc::new(Interrupt::at(Instant::now() + Duration::from_secs(1000)));
        let limited = reader.until(Arc::clone(&interrupt));
        thread::scope(|scope| {
            let counting = scope.spawn(|| count(&limited));
            interrupt.cancel();
            let found = counting.join().unwrap();
            assert!(matches!(found, Err(StoreError::Cancelled)), "{found:?}");
        });
        // Their connection is used again, and nobody interrupts it.
        assert_eq!(ask(&reader, "SELECT 7").unwrap(), 7);
    }
}
