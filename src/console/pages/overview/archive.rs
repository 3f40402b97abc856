//! How much of the store is archived: a line, and what keeps it from being archived.

use crate::archive::archiver::status::ArchiveStanding;
use crate::console::pages::text::{SafeText, plural};
use crate::store::ArchiveProgress;

/// The archive.
pub(in crate::console::pages) struct ArchiveLine {
    /// The line about it.
    pub(in crate::console::pages) text: SafeText,
    /// What a person must mend.
    pub(in crate::console::pages) fault: Option<SafeText>,
}

impl ArchiveLine {
    pub(super) fn new(standing: &ArchiveStanding, progress: &ArchiveProgress) -> ArchiveLine {
        let until = match progress.until {
            Some((id, at)) => format!("up to entry {id}, read back at {at}"),
            None => "nothing yet".to_owned(),
        };
        let lost = match progress.waiting_entries {
            0 => "a rebuild now would lose no entry".to_owned(),
            entries => format!("a rebuild now would lose {}", plural(entries, "entry", "entries")),
        };
        let state = match (&standing.stopped, &standing.failing) {
            (Some(_), _) => "; stopped".to_owned(),
            (None, Some(why)) => format!("; trying again: {why}"),
            (None, None) => String::new(),
        };
        let fault =
            |why: &String| SafeText::truncated(&format!("The archiver has stopped: {why}"), 1000);
        ArchiveLine {
            text: SafeText::truncated(&format!("Archive: {until}; {lost}{state}"), 500),
            fault: standing.stopped.as_ref().map(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Millis;

    #[test]
    fn the_line_says_how_it_stands() {
        let check = |standing: &ArchiveStanding, progress: &ArchiveProgress, expected: &str| {
            let shown = ArchiveLine::new(standing, progress);
            assert_eq!(shown.text.to_string(), expected);
            assert_eq!(shown.fault.is_some(), standing.stopped.is_some());
        };
        let mut standing = ArchiveStanding::default();
        let mut progress = ArchiveProgress::default();
        check(&standing, &progress, "Archive: nothing yet; a rebuild now would lose no entry");
        progress.until = Some((70, Millis::saturating(1000)));
        progress.waiting_entries = 1;
        let line = "Archive: up to entry 70, read back at 1970-01-01T00:00:01.000Z; \
                    a rebuild now would lose 1 entry";
        check(&standing, &progress, line);
        standing.failing = Some("gone".into());
        check(&standing, &progress, &format!("{line}; trying again: gone"));
        standing.stopped = Some("collision".into());
        check(&standing, &progress, &format!("{line}; stopped"));
    }
}
