//! The interface between the engine and what an output writes to.
//!
//! A sink that can be restored returns a state when it is synced. The engine saves it together with
//! the cursor, and after a failure gives it back, so that the sink removes what was written since.
//! The sink must not write where the saved state does not reach. So it tells the engine when the
//! state must be saved before the next write.

use std::time::Duration;

use super::error::OutputError;
use crate::entry::{Millis, Record};

/// A destination of lines.
pub(super) trait Sink: Send {
    /// How often the sink is synced while there is something to save.
    fn sync_every(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Removes what was written since `state` was saved.
    fn restore(&mut self, _state: &str) -> Result<(), OutputError> {
        Ok(())
    }

    /// The cursor was reset. Forget which entries were sent.
    fn was_reset(&mut self) {}

    /// Whether a rotation is due before these records. No line is half written now.
    fn is_due(&self, _records: &[&Record], _now: Millis) -> bool {
        false
    }

    /// Rotates. Everything written is synced and saved.
    fn rotate_due(&mut self, _records: &[&Record], _now: Millis) -> Result<(), OutputError> {
        Ok(())
    }

    /// Prepares to write these records. Returns whether the state must be saved first.
    fn prepare(&mut self, _records: &[&Record]) -> Result<bool, OutputError> {
        Ok(false)
    }

    /// Whether this line does not fit before a rotation, or into the current batch.
    fn is_full(&self, _record: &Record, _line: &[u8]) -> bool {
        false
    }

    /// Makes room for this record. Everything written is synced and saved.
    fn rotate(&mut self, _record: &Record, _now: Millis) -> Result<(), OutputError> {
        Ok(())
    }

    /// Writes a line, which has its line end. It may stay in a buffer.
    fn write(&mut self, record: &Record, line: &[u8], now: Millis) -> Result<(), OutputError>;

    /// Hands buffered lines to the system, where a program that follows a file sees them.
    fn flush(&mut self) -> Result<(), OutputError>;

    /// Makes everything written as durable as configured. Returns the state.
    fn sync(&mut self) -> Result<String, OutputError>;

    /// The number of dead letters since they were counted last.
    fn dead_letters(&self) -> u64 {
        0
    }

    /// The engine has counted the dead letters.
    fn counted_dead_letters(&mut self) {}

    /// Closes what is open, since somebody may have renamed it. Everything written is synced.
    fn reopen(&mut self) {}
}
