//! The page after an action: what was done, and how it went.

use askama::Template;

use super::link::Link;
use super::shell::Shell;
use super::text::SafeText;

#[derive(Template)]
#[template(path = "done.html")]
pub(super) struct DonePage {
    pub(super) shell: Shell,
    pub(super) heading: SafeText,
    /// Whether it went well.
    pub(super) is_good: bool,
    pub(super) lines: Vec<SafeText>,
    /// What was sent, with its name.
    pub(super) sent: Option<(&'static str, SafeText)>,
    pub(super) back: (Link, &'static str),
}
