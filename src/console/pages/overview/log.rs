//! How the transparency log stands: a line, and what keeps checkpoints from being signed.

use crate::console::pages::text::{SafeText, plural};
use crate::log::status::LogStanding;

/// The transparency log.
pub(in crate::console::pages) struct LogLine {
    /// The line about it.
    pub(in crate::console::pages) text: SafeText,
    /// What a person must mend.
    pub(in crate::console::pages) fault: Option<SafeText>,
}

impl LogLine {
    pub(super) fn new(standing: &LogStanding) -> LogLine {
        let covers = match standing.signed {
            0 => "no checkpoint yet".to_owned(),
            signed => format!("a checkpoint covers {}", plural(signed, "leaf", "leaves")),
        };
        let at = match standing.succeeded_at {
            Some(at) => format!(", all of them at {at}"),
            None => String::new(),
        };
        let state = match (&standing.stopped, &standing.failing) {
            (Some(_), _) => "; stopped".to_owned(),
            (None, Some(why)) => format!("; trying again: {why}"),
            (None, None) => String::new(),
        };
        let published = match &standing.publishing {
            None => String::new(),
            Some(one) => match &one.failing {
                Some(why) => format!("; publishing fails: {why}"),
                None if one.leaves == 0 => "; nothing is published yet".to_owned(),
                None => format!("; {} published", plural(one.leaves, "leaf is", "leaves are")),
            },
        };
        let fault =
            |why: &String| SafeText::truncated(&format!("The signer has stopped: {why}"), 1000);
        LogLine {
            text: SafeText::truncated(&format!("Log: {covers}{at}{state}{published}"), 500),
            fault: standing.stopped.as_ref().map(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Millis;
    use crate::log::status::PublishStanding;

    #[test]
    fn the_line_says_how_it_stands() {
        let check = |standing: &LogStanding, expected: &str| {
            let shown = LogLine::new(standing);
            assert_eq!(shown.text.to_string(), expected);
            assert_eq!(shown.fault.is_some(), standing.stopped.is_some());
        };
        let mut standing = LogStanding::default();
        check(&standing, "Log: no checkpoint yet");
        (standing.size, standing.signed) = (9, 1);
        standing.succeeded_at = Some(Millis::saturating(1000));
        let line = "Log: a checkpoint covers 1 leaf, all of them at 1970-01-01T00:00:01.000Z";
        check(&standing, line);
        let mut publishing = PublishStanding::default();
        standing.publishing = Some(publishing.clone());
        check(&standing, &format!("{line}; nothing is published yet"));
        publishing.leaves = 7;
        standing.publishing = Some(publishing.clone());
        check(&standing, &format!("{line}; 7 leaves are published"));
        publishing.failing = Some("gone".into());
        standing.publishing = Some(publishing);
        check(&standing, &format!("{line}; publishing fails: gone"));
        standing.publishing = None;
        standing.failing = Some("full".into());
        check(&standing, &format!("{line}; trying again: full"));
        standing.stopped = Some("changed".into());
        check(&standing, &format!("{line}; stopped"));
    }
}
