//! What `vidimus store check` and `vidimus log check` share.

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::terminal::stderr_is_terminal;

/// The progress of a check on standard error, hidden if that is not a terminal.
pub(crate) fn bar() -> ProgressBar {
    if !stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {rate}  {eta} left  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.with_key("rate", whole_rate))
}

/// The rate as a whole number, because fractions change too fast to read.
fn whole_rate(state: &ProgressState, text: &mut dyn std::fmt::Write) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{:.0}/s", state.per_sec());
}

/// Says that not all of `count` are listed, if so.
pub(crate) fn listed(count: u64, listed: u64) -> String {
    match count.saturating_sub(listed) {
        0 => String::new(),
        _ => format!(", of which {listed} are listed"),
    }
}
