//! The entries that are kept for replays and pulls, in the order of their times.
//!
//! They are in memory, limited by age and by number. An entry keeps its signing key, so it is the
//! same bytes whenever it is sent.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::entry::Format;
use crate::entry::Millis;
use crate::konnect::api::WebhookScope;
use crate::konnect::event::Event;
use crate::konnect::sign::{Signer, place};
use crate::konnect::tampering::Tampering;

#[derive(Debug)]
pub(super) struct LoggedEntry {
    /// Consecutive numbers.
    pub(super) number: u64,
    pub(super) event: Event,
    pub(super) scope: WebhookScope,
    pub(super) tampering: Tampering,
    pub(super) signer: Arc<Signer>,
}

impl LoggedEntry {
    /// Adds its line to `lines`, tampered with as planned.
    pub(super) fn write(&self, format: Format, lines: &mut Vec<String>) {
        let text = self.event.text(format);
        let signature = || self.signer.signature(&text);
        let line = match self.tampering {
            Tampering::Unsigned => place(format, &text, None),
            Tampering::Tampered => {
                place(format, &self.event.tampered().text(format), Some(&signature()))
            }
            Tampering::Genuine | Tampering::Duplicate => place(format, &text, Some(&signature())),
        };
        if self.tampering == Tampering::Duplicate {
            lines.push(line.clone());
        }
        lines.push(line);
    }
}

#[derive(Debug)]
pub(super) struct EntryLog {
    entries: VecDeque<Arc<LoggedEntry>>,
    /// The number of the next entry.
    next: u64,
    /// The maximum age of an entry in milliseconds.
    retention: i64,
    /// The maximum number of entries.
    most: usize,
}

impl EntryLog {
    /// Keeps at most `most` entries for `retention` milliseconds.
    pub(super) fn new(retention: i64, most: usize) -> EntryLog {
        EntryLog { entries: VecDeque::new(), next: 0, retention, most }
    }

    /// Adds an entry. Its time becomes at least that of the entry before it, because pages depend on that.
    pub(super) fn push(
        &mut self,
        mut event: Event,
        scope: WebhookScope,
        tampering: Tampering,
        signer: Arc<Signer>,
    ) {
        if let Some(last) = self.entries.back() {
            event.at = event.at.max(last.event.at);
        }
        let number = self.next;
        self.next += 1;
        self.prune(event.at);
        self.entries.push_back(Arc::new(LoggedEntry { number, event, scope, tampering, signer }));
        if self.entries.len() > self.most {
            self.entries.pop_front();
        }
    }

    /// Removes the entries that are too old at `now`.
    pub(super) fn prune(&mut self, now: Millis) {
        let oldest = now.get() - self.retention;
        while self.entries.front().is_some_and(|entry| entry.event.at.get() < oldest) {
            self.entries.pop_front();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The maximum age of an entry in milliseconds.
    pub(super) fn retention(&self) -> i64 {
        self.retention
    }

    /// The number of the next entry.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// The number of the first entry that is not before `time`.
    pub(super) fn number_at(&self, time: Millis) -> u64 {
        self.first() + self.entries.partition_point(|entry| entry.event.at < time) as u64
    }

    /// The entries from `number` on.
    pub(super) fn from(&self, number: u64) -> impl DoubleEndedIterator<Item = &Arc<LoggedEntry>> {
        self.entries.range(self.index(number)..)
    }

    /// The entries before `number`.
    pub(super) fn before(&self, number: u64) -> impl DoubleEndedIterator<Item = &Arc<LoggedEntry>> {
        self.entries.range(..self.index(number))
    }

    fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    fn index(&self, number: u64) -> usize {
        let index = usize::try_from(number.saturating_sub(self.first())).unwrap_or(usize::MAX);
        index.min(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::konnect::generate::Generator;

    fn log_of(times: &[i64]) -> EntryLog {
        let signer = Arc::new(Signer::generate(None).unwrap().0);
        let mut generator = Generator::new(1, None);
        let mut log = EntryLog::new(1000, 5);
        for time in times {
            let event = generator.event(Millis::saturating(*time));
            log.push(event, WebhookScope::Organization, Tampering::Genuine, Arc::clone(&signer));
        }
        log
    }

    fn numbers(log: &EntryLog) -> Vec<u64> {
        log.from(0).map(|entry| entry.number).collect()
    }

    #[test]
    fn old_and_excess_entries_are_removed() {
        assert_eq!(numbers(&log_of(&[0, 1, 2])), [0, 1, 2]);
        assert_eq!(numbers(&log_of(&[0, 1, 1001])), [1, 2]);
        assert_eq!(numbers(&log_of(&[0, 1, 2, 3, 4, 5, 6])), [2, 3, 4, 5, 6]);
        let mut log = log_of(&[0, 1]);
        log.prune(Millis::saturating(5000));
        assert_eq!(log.len(), 0);
        assert_eq!(log.end(), 2);
    }

    #[test]
    fn entries_are_found_by_number_and_by_time() {
        let log = log_of(&[10, 20, 15, 900, 1015]);
        assert_eq!(numbers(&log), [1, 2, 3, 4]);
        let times: Vec<_> = log.from(0).map(|entry| entry.event.at.get()).collect();
        assert_eq!(times, [20, 20, 900, 1015]);
        let at = |time| log.number_at(Millis::saturating(time));
        assert_eq!([at(0), at(20), at(21), at(900), at(2000)], [1, 1, 3, 3, 5]);
        assert_eq!(log.from(3).map(|entry| entry.number).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(log.from(99).count(), 0);
        assert_eq!(log.before(3).rev().map(|entry| entry.number).collect::<Vec<_>>(), [2, 1]);
    }
}
