//! How far the journal was read: a line, and what keeps it from being read.

use crate::console::pages::text::{SafeText, plural};
use crate::entry::Millis;
use crate::settings::units::show_duration;
use crate::source::journal::status::SourceStanding;

/// A lag below this is usual, in milliseconds: an object waits until it is asked for.
const USUAL_LAG: i64 = 5_000;

/// The source that reads the journal.
pub(in crate::console::pages) struct JournalLine {
    /// The line about it.
    pub(in crate::console::pages) text: SafeText,
    /// What a person must mend.
    pub(in crate::console::pages) faults: Vec<SafeText>,
}

impl JournalLine {
    pub(super) fn new(standing: &SourceStanding, now: Millis) -> JournalLine {
        let mut faults = Vec::new();
        if let Some(why) = &standing.stopped {
            faults.push(SafeText::truncated(&format!("The source has stopped: {why}"), 1000));
        }
        for one in &standing.stopped_epochs {
            let (epoch, number) = (one.epoch, one.number);
            let fault = format!(
                "Epoch {epoch} is stopped at object {number}: {}. Mend the cause, or give the object \
                 up with vidimus journal skip {epoch} {number}",
                one.why
            );
            faults.push(SafeText::truncated(&fault, 1000));
        }
        for (epoch, why) in &standing.waiting_epochs {
            let fault = format!("Epoch {epoch} waits for room: {why}");
            faults.push(SafeText::truncated(&fault, 1000));
        }
        let open = plural(standing.open_epochs, "open epoch", "open epochs");
        let state = match (&standing.stopped, &standing.failing, standing.lag(now)) {
            (Some(_), ..) => "stopped".to_owned(),
            (None, Some(why), _) => format!("trying again: {why}"),
            (None, None, lag) if lag < USUAL_LAG => "up to date".to_owned(),
            (None, None, lag) => {
                let seconds = u64::try_from(lag / 1000).unwrap_or(0);
                format!("{} behind", show_duration(std::time::Duration::from_secs(seconds)))
            }
        };
        let text = format!("Journal ({}): {open}, {state}", standing.name);
        JournalLine { text: SafeText::truncated(&text, 500), faults }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::journal::status::StoppedEpoch;

    #[test]
    fn the_line_says_how_it_stands() {
        let check = |standing: &SourceStanding, line: &str, faults: usize| {
            let shown = JournalLine::new(standing, Millis::saturating(100_000));
            assert_eq!(shown.text.to_string(), line);
            assert_eq!(shown.faults.len(), faults);
        };
        let mut standing =
            SourceStanding { name: "main".into(), open_epochs: 1, ..SourceStanding::default() };
        check(&standing, "Journal (main): 1 open epoch, up to date", 0);
        standing.unread_since = Some(Millis::saturating(10_000));
        check(&standing, "Journal (main): 1 open epoch, 90s behind", 0);
        standing.failing = Some("gone".into());
        check(&standing, "Journal (main): 1 open epoch, trying again: gone", 0);
        standing.stopped_epochs = vec![StoppedEpoch { epoch: 1, number: 2, why: "damaged".into() }];
        standing.waiting_epochs = vec![(2, "the quarantine is full".into())];
        standing.stopped = Some("collision".into());
        check(&standing, "Journal (main): 1 open epoch, stopped", 3);
    }
}
