//! What `serve` shows while it works: on a terminal a line for each delivery, else a structured log.

use std::time::Duration;

use crate::cli::terminal::tell;
use crate::clock::now;
use crate::receiver::Observer;
use crate::store::{Appended, Refused};

/// A line for each delivery.
pub(super) struct Lines;

impl Observer for Lines {
    fn stored(&self, input: &str, peer: &str, bytes: u64, appended: &Appended, took: Duration) {
        let Appended { received, stored, duplicates, malformed, valid, invalid, unsigned, no_key } =
            *appended;
        let counts = [
            ("valid", valid),
            ("INVALID", invalid),
            ("unsigned", unsigned),
            ("no_key", no_key),
            ("malformed", malformed),
            ("duplicate", duplicates),
        ];
        let counts: Vec<_> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        tell(format_args!(
            "{}  {input}  {peer}  {received} received, {stored} stored  ({})  {bytes} bytes in {} ms",
            now(),
            counts.join(", "),
            took.as_millis()
        ));
    }

    fn failed(&self, input: &str, peer: &str, status: u16, reason: &str) {
        let status = if status == 0 { "closed".to_owned() } else { status.to_string() };
        tell(format_args!("{}  {input}  {peer}  NOT STORED {status}: {}", now(), reason));
    }

    fn refused(&self, refused: &Refused) {
        let Refused { time, peer, status, reason, scheme } = refused;
        let status = status.map_or_else(String::new, |status| format!(" {status}"));
        let scheme = scheme.as_ref().map_or_else(String::new, |s| format!(" (its scheme: {s})"));
        tell(format_args!("{time}  {peer}  REFUSED{status}: {}{scheme}", reason));
    }
}

/// An event of the log for each delivery.
pub(super) struct Log;

impl Observer for Log {
    fn stored(&self, input: &str, peer: &str, bytes: u64, appended: &Appended, took: Duration) {
        let Appended { received, stored, duplicates, malformed, valid, invalid, unsigned, no_key } =
            *appended;
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
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

    fn failed(&self, input: &str, peer: &str, status: u16, reason: &str) {
        tracing::warn!(input, peer, status, reason, "delivery not stored");
    }

    fn refused(&self, refused: &Refused) {
        let Refused { peer, status, reason, scheme, .. } = refused;
        tracing::warn!(peer, status, reason, scheme, "refused");
    }
}
