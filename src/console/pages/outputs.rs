//! A part of the overview: the outputs, how far behind each is, and what went wrong.

use super::text::{SafeText, TimeTag, count, plural};
use crate::entry::Millis;
use crate::store::OutputStanding;

/// A lag that is shorter than this is how an output works: nothing to see, in milliseconds.
const NEGLIGIBLE: i64 = 15_000;

pub(super) struct OutputRow {
    pub(super) name: SafeText,
    pub(super) behind: String,
    /// Since when, if that is long ago.
    pub(super) since: Option<TimeTag>,
    pub(super) rate: String,
    pub(super) written: String,
    /// Entries that did not go out and will not.
    pub(super) gone: String,
    pub(super) some_gone: bool,
    pub(super) error: Option<(TimeTag, SafeText)>,
    /// Where the entries are that the other end refused, if there are such.
    pub(super) dead_letters: Option<SafeText>,
}

/// The outputs that there are, in their order.
pub(super) fn rows(standings: &[OutputStanding], now: Millis) -> Vec<OutputRow> {
    standings.iter().filter(|one| one.configured).map(|one| row(one, now)).collect()
}

fn row(standing: &OutputStanding, now: Millis) -> OutputRow {
    let is_long = |since: &Millis| now.get().saturating_sub(since.get()) > NEGLIGIBLE;
    let gone =
        [(standing.dead_letters, "dead letter", "dead letters"), (standing.lost, "lost", "lost")];
    let gone: Vec<_> = gone
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, one, more)| plural(number, one, more))
        .collect();
    OutputRow {
        name: SafeText::new(&standing.name),
        behind: count(standing.behind),
        since: standing.behind_since.filter(is_long).map(TimeTag),
        rate: format!("{:.1}", standing.rate),
        written: count(standing.written),
        some_gone: !gone.is_empty(),
        gone: if gone.is_empty() { "none".to_owned() } else { gone.join(", ") },
        error: standing
            .error
            .as_deref()
            .zip(standing.failed_at)
            .map(|(error, at)| (TimeTag(at), SafeText::new(error))),
        dead_letters: (standing.dead_letters > 0)
            .then(|| SafeText::new(&format!("dead-letters/{}.jsonl", standing.name))),
    }
}
