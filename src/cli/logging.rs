//! Where log events go: to standard error, as text or JSON. And which: as the flags say, else the
//! environment, else the configuration, else the command.

use std::fmt::Display;
use std::io;
use std::sync::OnceLock;

use clap::{ArgAction, Args};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::colour;
use super::exit::Failure;
use super::terminal::{is_watched, tell};
use crate::config::Level;

/// The environment variables that say what is logged, the first one first, in the syntax of
/// `EnvFilter`: `debug`, `vidimus::receiver=trace,warn`.
const VARIABLES: [&str; 2] = ["VIDIMUS_LOG", "RUST_LOG"];

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Verbosity {
    /// Log more: -v for debug, -vv for trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

impl Verbosity {
    /// Whether only errors are logged.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    fn filter(self) -> Option<&'static str> {
        match (self.quiet, self.verbose) {
            (true, _) => Some("error"),
            (false, 0) => None,
            // What the libraries say of each connection is rarely what is looked for.
            (false, 1) => Some("info,vidimus=debug"),
            (false, _) => Some("debug,vidimus=trace"),
        }
    }
}

/// How log events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// Human-readable lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How they are written here.
static STYLE: OnceLock<Style> = OnceLock::new();

/// Starts logging, once. `default` is what is logged unless the flags, the environment or the
/// configuration say otherwise.
///
/// # Errors
/// When the environment holds what is no filter.
pub fn start(
    verbosity: Verbosity,
    configured: Option<Level>,
    default: &str,
    style: Style,
) -> Result<(), Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let filter = filter(verbosity, &env, configured.map_or(default, |level| level.as_str()));
    // What is wrong with the filter is told in this style too.
    let (filter, wrong) = match filter {
        Ok(filter) => (filter, None),
        Err(failure) => (EnvFilter::new("error"), Some(failure)),
    };
    let _ = STYLE.set(style);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(io::stderr)
        .with_ansi(colour::is_wanted(is_watched()));
    // An error says that logging was started before.
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

/// Says what stopped the command: an event where events are JSON, for else a line would be none.
pub fn report(failure: &impl Display) {
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
    fn flags_go_before_the_environment_and_that_before_the_rest() {
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
