//! Shows deliveries: as lines on a terminal, else as log events.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::terminal::{counted, tell};
use crate::clock::now;
use crate::entry::Millis;
use crate::ingest::LineCounts;
use crate::journal::object;
use crate::receiver::DeliveryObserver;
use crate::store::{Appended, Delivery, Refused, StoredBatch};

/// The maximum number of refusals and failures to show per second, so that refused requests cannot
/// fill the disk with logs. The store keeps the newest of them.
const PER_SECOND: u64 = 20;

/// Limits the number of messages per second.
#[derive(Default)]
struct Throttle(Mutex<Second>);

#[derive(Default)]
struct Second {
    began: Option<Instant>,
    shown: u64,
}

impl Throttle {
    /// Returns `None` if the limit is reached, else the number of messages suppressed before.
    fn admits(&self) -> Option<u64> {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.is_none_or(|began| began.elapsed() >= Duration::from_secs(1)) {
            let kept_back = second.shown.saturating_sub(PER_SECOND);
            *second = Second { began: Some(Instant::now()), shown: 1 };
            return Some(kept_back);
        }
        second.shown += 1;
        (second.shown <= PER_SECOND).then_some(0)
    }
}

/// Prints a line per delivery.
#[derive(Default)]
pub(in crate::cli) struct DeliveryLines(Throttle);

impl DeliveryObserver for DeliveryLines {
    fn stored(&self, StoredBatch { delivery, appended, .. }: &StoredBatch) {
        let Delivery { input, peer, bytes, started, .. } = delivery;
        let what = summary(appended);
        let took = started.elapsed().as_millis();
        tell(format_args!("{}  {input}  {peer}  {what}  {bytes} B, {took} ms", clock(now())));
    }

    fn journaled(&self, delivery: &object::Delivery, started: Instant, counts: LineCounts) {
        let object::Delivery { input, peer, sent, .. } = delivery;
        let LineCounts { received, malformed } = counts;
        let took = started.elapsed().as_millis();
        let malformed = match malformed {
            0 => String::new(),
            malformed => format!(", {malformed} malformed"),
        };
        let lines = counted(received, "line");
        let what = format!("{lines} journaled{malformed}");
        tell(format_args!("{}  {input}  {peer}  {what}  {sent} B, {took} ms", clock(now())));
    }

    fn failed(&self, input: &str, peer: &str, status: Option<u16>, reason: &str) {
        let Some(kept_back) = self.0.admits() else { return };
        if kept_back > 0 {
            tell(format_args!("… and {kept_back} more refused or not stored"));
        }
        let status = status.map_or_else(|| "closed".to_owned(), |status| status.to_string());
        tell(format_args!("{}  {input}  {peer}  NOT STORED {status}: {reason}", clock(now())));
    }

    fn refused(&self, refused: &Refused) {
        let Some(kept_back) = self.0.admits() else { return };
        if kept_back > 0 {
            tell(format_args!("… and {kept_back} more refused or not stored"));
        }
        let Refused { time, peer, status, reason, scheme } = refused;
        let status = status.map_or_else(String::new, |status| format!(" {status}"));
        let scheme = scheme.as_ref().map_or_else(String::new, |s| format!(" (scheme: {s})"));
        tell(format_args!("{}  {peer}  REFUSED{status}: {reason}{scheme}", clock(*time)));
    }
}

/// The time of day in UTC, without the date.
fn clock(time: Millis) -> String {
    time.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// A summary of a delivery: `2 stored, 1 duplicate: 2 valid, 1 INVALID`.
fn summary(appended: &Appended) -> String {
    let Appended { received, stored, duplicates, malformed, valid, invalid, unsigned, no_key } =
        *appended;
    if received == 0 {
        return "empty".to_owned();
    }
    let verdicts = [
        ("valid", valid),
        ("INVALID", invalid),
        ("unsigned", unsigned),
        ("no_key", no_key),
        ("malformed", malformed),
    ];
    let verdicts = verdicts.iter().filter(|(_, count)| *count > 0);
    let verdicts: Vec<_> = verdicts.map(|(name, count)| format!("{count} {name}")).collect();
    let mut summary = format!("{stored} stored");
    if duplicates > 0 {
        summary += &format!(", {}", counted(duplicates, "duplicate"));
    }
    summary + ": " + &verdicts.join(", ")
}

/// Logs an event per delivery.
#[derive(Default)]
pub(in crate::cli) struct DeliveryLog(Throttle);

impl DeliveryObserver for DeliveryLog {
    fn stored(&self, StoredBatch { delivery, appended, .. }: &StoredBatch) {
        let Delivery { input, peer, bytes, started, .. } = delivery;
        let Appended { received, stored, duplicates, malformed, valid, invalid, unsigned, no_key } =
            *appended;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            input,
            peer,
            bytes,
            received,
            stored,
            duplicates,
            malformed,
            valid,
            invalid,
            unsigned,
            no_key,
            milliseconds,
            "delivery stored"
        );
    }

    fn journaled(&self, delivery: &object::Delivery, started: Instant, counts: LineCounts) {
        let object::Delivery { input, peer, sent: bytes, .. } = delivery;
        let LineCounts { received, malformed } = counts;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(input, peer, bytes, received, malformed, milliseconds, "delivery journaled");
    }

    fn failed(&self, input: &str, peer: &str, status: Option<u16>, reason: &str) {
        let Some(kept_back) = self.0.admits() else { return };
        tracing::warn!(input, peer, status, reason, kept_back, "delivery not stored");
    }

    fn refused(&self, refused: &Refused) {
        let Some(kept_back) = self.0.admits() else { return };
        let Refused { peer, status, reason, scheme, .. } = refused;
        tracing::warn!(peer, status, reason, scheme, kept_back, "refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_has_a_short_summary() {
        let check = |appended: Appended, expected: &str| assert_eq!(summary(&appended), expected);
        check(Appended::default(), "empty");
        let again = Appended { received: 2, duplicates: 2, valid: 2, ..Appended::default() };
        check(again, "0 stored, 2 duplicates: 2 valid");
        let both =
            Appended { received: 3, stored: 2, duplicates: 1, valid: 2, invalid: 1, ..again };
        check(both, "2 stored, 1 duplicate: 2 valid, 1 INVALID");
        let stored = Appended { received: 1, stored: 1, malformed: 1, ..Appended::default() };
        check(stored, "1 stored: 1 malformed");
        assert_eq!(clock(Millis::saturating(1_747_426_194_123)), "20:09:54");
    }

    #[test]
    fn refused_requests_cannot_fill_the_log() {
        let throttle = Throttle::default();
        let shown = (0..1000).filter(|_| throttle.admits().is_some()).count();
        // A second may pass during the loop.
        assert!((20..200).contains(&shown), "{shown}");
    }
}
