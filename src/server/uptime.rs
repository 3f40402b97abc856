//! Records when the server runs, for the coverage.
//!
//! Every minute the time is written into the store. So after a crash the records end at the last sign of
//! life, and a time is recorded only if the store could be written to. Times are those of the clock that
//! can be set, because those of entries are. When it is set, and after the machine slept or the process
//! stood still, a new record begins: nothing was received in between.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clocks, now, since_boot};
use crate::log::coverage::BEAT;
use crate::net::Shutdown;
use crate::store::{Pulse, Store, StoreError, Uptime};

/// A record does not go on after a pause that is longer.
const PAUSE: Duration = Duration::from_millis(3 * BEAT as u64);

/// Records that the server runs.
pub(super) struct Uptimes {
    store: Arc<Store>,
    pulse: Pulse,
    has_receiver: bool,
    has_journal: bool,
    /// The number of the record, and the last time in it.
    current: Option<(i64, Clocks)>,
}

impl Uptimes {
    pub(super) fn new(store: Arc<Store>, has_receiver: bool, has_journal: bool) -> Uptimes {
        let pulse = store.pulse();
        Uptimes { store, pulse, has_receiver, has_journal, current: None }
    }

    /// Records until shutdown.
    pub(super) async fn run(mut self, mut shutdown: Shutdown) {
        self.beat();
        let mut is_over = false;
        while !is_over {
            is_over = tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(BEAT as u64)) => false,
                _ = shutdown.begun() => true,
            };
            // A writer that hangs stores nothing.
            if is_over || self.pulse.is_alive() {
                self.beat();
            }
        }
    }

    /// Records that the server runs now.
    fn beat(&mut self) {
        let clocks = Clocks { now: now(), awake: since_boot() };
        if let Err(error) = tokio::task::block_in_place(|| self.record(clocks)) {
            tracing::warn!(%error, "the coverage will not have this minute");
        }
    }

    fn record(&mut self, clocks: Clocks) -> Result<(), StoreError> {
        let pause = |last: &Clocks| clocks.awake.saturating_sub(last.awake);
        let went_on = self.current.as_ref().filter(|(_, last)| pause(last) <= PAUSE);
        let number = match went_on {
            Some((number, last)) if !is_set(last, clocks) => {
                self.store.extend_uptime(*number, clocks.now)?;
                *number
            }
            went_on => self.store.begin_uptime(&Uptime {
                started_at: clocks.now,
                last_seen_at: clocks.now,
                has_receiver: self.has_receiver,
                has_journal: self.has_journal,
                is_clock_set: went_on.is_some(),
            })?,
        };
        self.current = Some((number, clocks));
        Ok(())
    }
}

/// Whether the clock was set since `last`.
fn is_set(last: &Clocks, clocks: Clocks) -> bool {
    clocks.now < last.now || last.apart(clocks.now, clocks.awake).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Millis;
    use crate::store::{Directory, Options, Reader};

    #[test]
    fn a_record_ends_where_the_clock_was_set_or_the_server_stood_still() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let store = Arc::new(Store::open(&directory, Options::default()).unwrap());
        let mut uptimes = Uptimes::new(store, true, false);
        // The time by the clock, and since boot.
        for (now, awake) in [
            (1_000, 0),
            (1_060, 60),
            (1_123, 120),
            // It was set ahead by an hour, and back.
            (4_780, 180),
            (4_840, 240),
            (1_300, 300),
            // Corrected by two seconds.
            (1_298, 301),
            (1_360, 361),
            // The machine slept for an hour.
            (4_960, 3_961),
            (5_020, 4_021),
        ] {
            let now = Millis::saturating(now * 1000);
            uptimes.record(Clocks { now, awake: Duration::from_secs(awake) }).unwrap();
        }
        let seconds = |one: &Uptime| {
            let ends = (one.started_at.get() / 1000, one.last_seen_at.get() / 1000);
            (ends.0, ends.1, one.is_clock_set)
        };
        let reader = Reader::open(&directory).unwrap();
        let found: Vec<_> = reader.uptimes().unwrap().iter().map(seconds).collect();
        assert_eq!(
            found,
            [
                (1_000, 1_123, false),
                (4_780, 4_840, true),
                (1_300, 1_300, true),
                (1_298, 1_360, true),
                (4_960, 5_020, false)
            ]
        );
    }
}
