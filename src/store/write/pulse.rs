//! Detects a hung writer thread, for a watchdog.
//!
//! A failed write is no reason to end the process: a full disk is still full after a restart. So
//! only the activity of the writer counts, not its success.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::store::write::observer::Health;
use crate::store::write::writer::Message;

/// Detects whether the writer is active. Does not keep the store open.
#[derive(Debug)]
pub struct Pulse {
    writer: Sender<Message>,
    health: Arc<Health>,
    seen: u64,
}

impl Pulse {
    pub(in crate::store) fn new(writer: Sender<Message>, health: Arc<Health>) -> Pulse {
        Pulse { writer, seen: health.beats(), health }
    }

    /// Whether the writer was active since the last call. Also sends it a message, because it may
    /// have nothing else to do until the next call.
    pub fn is_alive(&mut self) -> bool {
        let beats = self.health.beats();
        let is_alive = beats != self.seen;
        self.seen = beats;
        // If the writer has ended, it is not active.
        let _ = self.writer.send(Message::Beat);
        is_alive
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    use super::*;
    use crate::entry::Millis;
    use crate::store::directory::Directory;
    use crate::store::error::StoreError;
    use crate::store::write::writer::{Delivery, Job};
    use crate::store::{Options, Store};

    /// Asks until the writer is felt; the test hangs where it never is.
    fn feel(pulse: &mut Pulse) {
        while !pulse.is_alive() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_idle_writer_is_felt_and_one_that_hangs_is_not() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let store = Store::open(&directory, Options::default()).unwrap();
        let mut pulse = store.pulse();
        feel(&mut pulse);
        feel(&mut pulse);
        // Answered once it has done what it was asked before.
        let (reply, closed) = sync_channel(1);
        store.writer.send(Message::Close { only_if: None, reply }).unwrap();
        closed.recv().unwrap().unwrap();
        let beats = store.health.beats();

        let delivery = Delivery {
            received_at: Millis::MIN,
            started: Instant::now(),
            input: "one".to_owned(),
            peer: "p".to_owned(),
            bytes: 1,
            decoded_bytes: 1,
            origin: None,
        };
        // Entries that never come: the writer waits for them.
        let (to_chunks, chunks) = sync_channel(0);
        let (reply, answer) = sync_channel(1);
        let job = Job { delivery, lines: 2, chunks, reply };
        store.writer.send(Message::Append(job)).unwrap();
        to_chunks.send(Vec::new()).unwrap();
        // The job, and what came of its entries.
        while store.health.beats() < beats + 2 {
            std::thread::yield_now();
        }
        assert!(pulse.is_alive());
        for _ in 0..1000 {
            assert!(!pulse.is_alive());
        }

        drop(to_chunks);
        let incomplete = answer.recv().unwrap();
        assert!(matches!(incomplete, Err(StoreError::Incomplete { got: 0, expected: 2 })));
        feel(&mut pulse);
        drop(store);
        while pulse.is_alive() {}
        assert!(!pulse.is_alive());
    }
}
