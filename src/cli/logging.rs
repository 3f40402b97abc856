//! Where log events go: to standard error, as text or JSON.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::terminal::is_watched;

/// The environment variable that says what is logged, in the syntax of `EnvFilter`: `debug`,
/// `vidimus::receiver=trace,warn`.
pub const VARIABLE: &str = "VIDIMUS_LOG";

/// How log events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// A line for people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// Starts logging. `default` is what is logged unless the environment says otherwise. Only the
/// first call counts.
pub fn start(default: &str, format: Style) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(io::stderr)
        .with_ansi(is_watched());
    // An error says that logging was started before.
    let _ = match format {
        Style::Text => builder.try_init(),
        Style::Json => builder.json().try_init(),
    };
}
