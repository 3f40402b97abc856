//! Logs to standard error, as text or JSON. The level comes from the flags, the environment, the
//! configuration, or the default of the command, in this order.

use std::fmt::Display;
use std::io;
use std::sync::OnceLock;

use clap::{ArgAction, Args};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::colour;
use super::exit::Failure;
use super::terminal::{stderr_is_terminal, tell};
use crate::config::Level;

/// The environment variables with a filter in the syntax of `EnvFilter`, such as `debug` or
/// `vidimus::receiver=trace,warn`. The first one that is set is used.
const VARIABLES: [&str; 2] = ["VIDIMUS_LOG", "RUST_LOG"];

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Verbosity {
    /// Log more: -v for debug, -vv for trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

impl Verbosity {
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    fn filter(self) -> Option<&'static str> {
        match (self.quiet, self.verbose) {
            (true, _) => Some("error"),
            (false, 0) => None,
            // The libraries log each connection at debug, which is rarely useful.
            (false, 1) => Some("info,vidimus=debug"),
            (false, _) => Some("debug,vidimus=trace"),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// Human-readable lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The style in use.
static STYLE: OnceLock<Style> = OnceLock::new();

/// Starts logging, once. `default` is the filter unless the flags, the environment or the
/// configuration set another.
///
/// # Errors
///
/// The environment has an invalid filter.
pub(crate) fn start(
    verbosity: Verbosity,
    configured: Option<Level>,
    default: &str,
    style: Style,
) -> Result<(), Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let filter = filter(verbosity, &env, configured.map_or(default, |level| level.as_str()));
    // An error in the filter is also printed in this style.
    let (filter, wrong) = match filter {
        Ok(filter) => (filter, None),
        Err(failure) => (EnvFilter::new("error"), Some(failure)),
    };
    let _ = STYLE.set(style);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(io::stderr)
        .with_ansi(colour::is_wanted(stderr_is_terminal()));
    // An error means that logging was already started.
    let _ = match style {
        Style::Text => builder.try_init(),
        Style::Json => builder.json().try_init(),
    };
    wrong.map_or(Ok(()), Err)
}

fn filter(
    verbosity: Verbosity,
    env: &dyn Fn(&str) -> Option<String>,
    otherwise: &str,
) -> Result<EnvFilter, Failure> {
    if let Some(filter) = verbosity.filter() {
        return Ok(EnvFilter::new(filter));
    }
    let set = |name| Some((name, env(name).filter(|value| !value.is_empty())?));
    let Some((name, value)) = VARIABLES.into_iter().find_map(set) else {
        return Ok(EnvFilter::new(otherwise));
    };
    EnvFilter::builder().parse(&value).map_err(|error| {
        Failure::usage(format!(
            "{name} is {value:?}, expected a level (error, warn, info, debug, trace) or levels of \
             modules, such as vidimus::receiver=debug,warn: {error}"
        ))
    })
}

/// Prints the error that ended the command. It is a log event if the log is JSON, so that every
/// line is JSON.
pub(crate) fn report(failure: &impl Display) {
    match STYLE.get() {
        Some(Style::Json) => tracing::error!("{failure}"),
        _ => tell(format_args!("error: {failure}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verbosity: Verbosity, env: &[(&str, &str)], expected: &str) {
        let variable = |name: &str| {
            env.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned())
        };
        let found = filter(verbosity, &variable, "warn");
        let found = found.map_or_else(|failure| failure.to_string(), |filter| filter.to_string());
        assert!(found.contains(expected), "{env:?}: {found}");
    }

    #[test]
    fn flags_override_the_environment_and_the_environment_the_rest() {
        let none = Verbosity::default();
        check(none, &[], "warn");
        check(none, &[("RUST_LOG", "info")], "info");
        check(none, &[("RUST_LOG", "info"), ("VIDIMUS_LOG", "trace")], "trace");
        check(none, &[("RUST_LOG", "info"), ("VIDIMUS_LOG", "")], "info");
        check(none, &[("VIDIMUS_LOG", "vidimus::receiver=debug")], "vidimus::receiver=debug");
        check(none, &[("VIDIMUS_LOG", "x=loud")], "VIDIMUS_LOG is \"x=loud\", expected a level");
        let quiet = Verbosity { quiet: true, ..none };
        check(quiet, &[("RUST_LOG", "info")], "error");
        check(Verbosity { verbose: 1, ..none }, &[("RUST_LOG", "warn")], "vidimus=debug");
        check(Verbosity { verbose: 2, ..none }, &[], "vidimus=trace");
    }
}
