//! What one check found, as a line: ok, a note, or a problem and what to do.

use serde::Serialize;

use crate::cli::exit::{Failure, unless_closed};
use crate::cli::output::OutputFormat;
use crate::cli::terminal::Output;
use crate::konnect::client::ApiError;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    state: State,
    what: String,
    #[serde(rename = "try")]
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Note,
    Problem,
}

impl Finding {
    /// It is as it should be.
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, state: State::Ok, what: what.into(), advice: None }
    }

    /// It may be as it should be, and cannot be told from here.
    pub(super) fn note(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { state: State::Note, ..Finding::ok(check, what) }
    }

    /// It is not as it should be.
    pub(super) fn problem(
        check: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let advice = Some(advice.into()).filter(|advice| !advice.is_empty());
        Finding { state: State::Problem, advice, ..Finding::ok(check, what) }
    }

    /// The API did not answer as it should. Its errors say themselves what to try.
    pub(super) fn of_api(check: &'static str, error: &ApiError) -> Finding {
        let (what, advice) = (error.to_string(), error.advice());
        let what = what.strip_suffix(advice).unwrap_or(&what).trim_end_matches("; ").to_owned();
        Finding::problem(check, what, advice)
    }

    fn line(&self) -> String {
        let state = match self.state {
            State::Ok => "ok",
            State::Note => "note",
            State::Problem => "problem",
        };
        let first = format!("{state:8} {:12} {}", self.check, self.what);
        match &self.advice {
            Some(advice) => {
                let advice = advice.replace('\n', &format!("\n{:27}", ""));
                format!("{first}\n{:22}try: {advice}", "")
            }
            None => first,
        }
    }
}

/// Prints findings as they come.
pub(super) struct Findings {
    format: OutputFormat,
    problems: usize,
}

impl Findings {
    /// None yet.
    pub(super) fn new(format: OutputFormat) -> Findings {
        Findings { format, problems: 0 }
    }

    /// How many of them are problems.
    pub(super) fn problems(&self) -> usize {
        self.problems
    }

    /// Prints one. If nobody reads on, the others are looked for all the same: they count.
    pub(super) fn add(&mut self, finding: Finding) -> Result<(), Failure> {
        self.problems += usize::from(finding.state == State::Problem);
        let mut output = Output::new();
        let printed = match self.format {
            OutputFormat::Jsonl => output.json(&finding),
            OutputFormat::Text => output.text(finding.line()),
        };
        unless_closed(printed.and_then(|()| output.flush()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_what_to_try() {
        assert_eq!(Finding::ok("token", "known").line(), "ok       token        known");
        assert_eq!(
            Finding::problem("webhook", "off", "set it").line(),
            "problem  webhook      off\n                      try: set it"
        );
        assert!(
            Finding::problem("webhook", "off", "first:\nset it").line().ends_with(
                "\n                      try: first:\n                           set it"
            )
        );
        assert_eq!(
            serde_json::to_string(&Finding::note("arrival", "x")).unwrap(),
            r#"{"check":"arrival","state":"note","what":"x","try":null}"#
        );
    }
}
