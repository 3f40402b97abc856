//! The sections `[[source]]`: what `serve` fetches by itself.

use std::time::Duration;

use super::input::Input;
use super::journal::Journal;
use crate::entry::words::words;
use crate::settings::units::SECOND;
use crate::settings::value::{duration, name, word};
use crate::settings::{ConfigError, Mismatch, Section, optional, or, required, settings};

settings! {
    /// A source.
    pub(crate) struct Source {
        /// Its name: 1 to 64 of `a` to `z`, digits, `_` and `-`; no other source and no input has it.
        pub name: String = required("every source has a name of its own", name);
        /// What it is.
        pub r#type: SourceType =
            required("there are two: konnect-pull and journal", word(SourceType::ALL, SourceType::as_str));
        /// How often it is asked.
        pub interval: Duration = or(Duration::from_secs(5 * 60), duration(SECOND));
        /// The age from which entries are stored that no delivery brought.
        pub delay: Duration = or(Duration::from_secs(30 * 60), duration(SECOND));
        /// How far back the first pull goes. `None`: as far as Konnect does.
        pub since: Option<Duration> = optional(duration(SECOND));
    }
}

words! {
    /// The type of a source.
    pub(crate) enum SourceType {
        /// Entries of Konnect's API that no delivery brought.
        KonnectPull = "konnect-pull",
        /// What receivers put into the journal.
        Journal = "journal",
    }
}

/// Reads the sections. Names are unique, among the inputs too, because a source is the `input` of its
/// entries.
pub(super) fn sources(
    top: &Section<'_>,
    inputs: &[Input],
    journal: &Journal,
) -> Result<Vec<Source>, ConfigError> {
    let mut sources: Vec<Source> = Vec::new();
    for section in top.tables("source")? {
        let source = Source::read(&section)?;
        let is_taken = inputs.iter().map(|input| &input.name).any(|name| *name == source.name)
            || sources.iter().any(|one| one.name == source.name);
        if is_taken {
            let found = format!("{:?}, the name of another source or input", source.name);
            return Err(section.wrong("name", Mismatch::new(found, "a name of its own")));
        }
        if source.r#type == SourceType::Journal {
            let is_second = sources.iter().any(|one| one.r#type == SourceType::Journal);
            if is_second {
                let mismatch = Mismatch::new("a second source of this type", "at most one");
                return Err(section.wrong("type", mismatch));
            }
            if journal.url.is_none() {
                let mismatch =
                    Mismatch::new("\"journal\" without journal.url", "a url in [journal]");
                return Err(section.wrong("type", mismatch));
            }
        }
        sources.push(source);
    }
    Ok(sources)
}
