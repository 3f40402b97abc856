//! The result of a check: ok, a note, or a problem with advice.

use serde::Serialize;

use crate::cli::exit::{Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::Output;
use crate::konnect::client::ApiError;

/// The result of a check.
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
    /// The check passed.
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, state: State::Ok, what: what.into(), advice: None }
    }

    /// The check cannot tell whether there is a problem.
    pub(super) fn note(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { state: State::Note, ..Finding::ok(check, what) }
    }

    /// The check failed.
    pub(super) fn problem(
        check: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let advice = Some(advice.into()).filter(|advice| !advice.is_empty());
        Finding { state: State::Problem, advice, ..Finding::ok(check, what) }
    }

    /// An API error. Its text contains the advice.
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

/// Prints findings at once, and counts problems.
pub(super) struct Findings<'a> {
    format: PrintFormat,
    /// The Dev Portal that they are about, if it must be told.
    portal: Option<&'a str>,
    problems: usize,
}

impl<'a> Findings<'a> {
    pub(super) fn new(format: PrintFormat, portal: Option<&'a str>) -> Findings<'a> {
        Findings { format, portal, problems: 0 }
    }

    pub(super) fn problems(&self) -> usize {
        self.problems
    }

    /// Prints a finding. If standard output is closed, the checks continue, because they determine
    /// the exit code.
    pub(super) fn add(&mut self, finding: Finding) -> Result<(), Failure> {
        self.problems += usize::from(finding.state == State::Problem);
        let mut output = Output::new();
        let printed = match (self.format, self.portal) {
            (PrintFormat::Jsonl, None) => output.json(&finding),
            (PrintFormat::Jsonl, Some(portal)) => {
                let mut object = serde_json::to_value(&finding)?;
                object["portal_id"] = portal.into();
                output.json(&object)
            }
            (PrintFormat::Text, None) => output.text(finding.line()),
            (PrintFormat::Text, Some(portal)) => {
                output.text(format!("{portal}  {}", finding.line()))
            }
        };
        ignore_closed(printed.and_then(|()| output.flush()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_with_advice() {
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
