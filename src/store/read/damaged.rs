//! Segments that cannot be read and are skipped. The answer mentions them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ErrorCode;

use crate::store::error::StoreError;

/// Why segments were skipped, by their first ids.
#[derive(Debug, Default)]
pub(in crate::store) struct LeftOut(Mutex<BTreeMap<u64, String>>);

impl LeftOut {
    /// Skips the segment that starts with `first_id`, if the error is about its file.
    ///
    /// # Errors
    /// Any other error.
    pub(in crate::store) fn add(&self, first_id: u64, error: StoreError) -> Result<(), StoreError> {
        if !is_damage(&error) {
            return Err(error);
        }
        self.segments().entry(first_id).or_insert_with(|| error.to_string());
        Ok(())
    }

    pub(in crate::store) fn contains(&self, first_id: u64) -> bool {
        self.segments().contains_key(&first_id)
    }

    /// What is wrong with each, oldest first.
    pub(in crate::store) fn reasons(&self) -> Vec<String> {
        self.segments().values().cloned().collect()
    }

    fn segments(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error says that a file is not there, or not as it was written.
fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Foreign(_) | StoreError::Io { .. } => true,
        StoreError::Sqlite { source, .. } => match source.sqlite_error_code() {
            Some(code) => matches!(
                code,
                ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::CannotOpen
                    | ErrorCode::SystemIoFailure
                    // A table or a column that is not there.
                    | ErrorCode::Unknown
            ),
            // A value that is not what the schema says.
            None => true,
        },
        _ => false,
    }
}
