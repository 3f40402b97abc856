//! What lines are written to, as the engine sees it.
//!
//! A sink that can be put back says in its state how far it has come. The engine saves that together
//! with the cursor, and after a crash has what was written past the cursor taken back. For that the
//! sink must not write where the saved state knows nothing of: it says when its state has to be saved
//! before anything else is written.

use std::time::Duration;

use super::error::OutputError;
use crate::entry::{Millis, Record};

/// Takes lines.
pub(super) trait Sink: Send {
    /// How often it is synced at most, while there is something to save.
    fn sync_every(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Takes back what was written since `state` was saved.
    fn restore(&mut self, _state: &str) -> Result<(), OutputError> {
        Ok(())
    }

    /// Somebody put the cursor elsewhere: what was known of entries that come again is known no more.
    fn was_reset(&mut self) {}

    /// Whether something has to be rotated before these are written, now that nothing is half done.
    fn is_due(&self, _records: &[&Record], _now: Millis) -> bool {
        false
    }

    /// Rotates it. What was written is synced and saved.
    fn rotate_due(&mut self, _records: &[&Record], _now: Millis) -> Result<(), OutputError> {
        Ok(())
    }

    /// Makes ready for these. `true` if the state has to be saved before they are written.
    fn prepare(&mut self, _records: &[&Record]) -> Result<bool, OutputError> {
        Ok(false)
    }

    /// Whether there is no more room for this line before a rotation, or a batch is full without it.
    fn is_full(&self, _record: &Record, _line: &[u8]) -> bool {
        false
    }

    /// Makes room for this record. What was written is synced and saved.
    fn rotate(&mut self, _record: &Record, _now: Millis) -> Result<(), OutputError> {
        Ok(())
    }

    /// Takes a line, with its line end.
    fn write(&mut self, record: &Record, line: &[u8], now: Millis) -> Result<(), OutputError>;

    /// Hands what it took to the system, so that who follows sees it.
    fn flush(&mut self) -> Result<(), OutputError>;

    /// Makes what was written as durable as was asked for, and says how far it has come.
    fn sync(&mut self) -> Result<String, OutputError>;

    /// How many lines became dead letters since they were counted last.
    fn dead_letters(&self) -> u64 {
        0
    }

    /// They are counted.
    fn counted_dead_letters(&mut self) {}

    /// Lets go of what is open: somebody may have moved it away. What was written is synced.
    fn reopen(&mut self) {}
}
