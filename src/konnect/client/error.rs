//! Why a call has no answer that can be used.

use std::fmt;

use hyper::StatusCode;

use crate::konnect::api::Problem;
use crate::net::ClientError;

/// Why a call of Konnect's API came to nothing. Nothing here shows the token.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There was no answer.
    #[error(transparent)]
    Net(#[from] ClientError),
    /// The API refused.
    #[error("{call}: {}", Told { status: *status, problem, advice })]
    Refused {
        /// Method and URL, without the query.
        call: String,
        /// The status of the answer.
        status: StatusCode,
        /// What the API says.
        problem: Box<Problem>,
        /// What to try; may be empty.
        advice: &'static str,
    },
    /// The answer is not of the documented form.
    #[error("{call} gave an answer that is not understood: {}", brief(what))]
    Answer {
        /// Method and URL, without the query.
        call: String,
        /// What is wrong with it.
        what: String,
    },
    /// The call cannot be made.
    #[error("the call cannot be made: {what}")]
    Request {
        /// What is wrong with it.
        what: String,
    },
}

impl ApiError {
    /// The status of the answer, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            ApiError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// What to try; empty if there is nothing to say.
    pub fn advice(&self) -> &'static str {
        match self {
            ApiError::Refused { advice, .. } => advice,
            _ => "",
        }
    }
}

/// How much of each text of the API's an error shows, in characters.
const MAX_TEXT: usize = 500;

/// How many of the parameters that are wrong it shows.
const MAX_PARAMETERS: usize = 20;

/// A text of the API's as a part of one line.
fn brief(text: &str) -> String {
    let mut characters = text.chars().map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c });
    let mut brief: String = characters.by_ref().take(MAX_TEXT).collect();
    if characters.next().is_some() {
        brief.push('…');
    }
    brief
}

/// Status, title, detail, parameters, instance and advice in one line.
struct Told<'a> {
    status: StatusCode,
    problem: &'a Problem,
    advice: &'a str,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { status, problem, advice } = self;
        let (title, detail) = (brief(&problem.title), brief(&problem.detail));
        write!(f, "{} {title}: {detail}", status.as_u16())?;
        for parameter in problem.invalid_parameters.iter().take(MAX_PARAMETERS) {
            write!(f, "; {} {}", brief(&parameter.field), brief(&parameter.reason))?;
        }
        if let more @ 1.. = problem.invalid_parameters.len().saturating_sub(MAX_PARAMETERS) {
            write!(f, "; and {more} more")?;
        }
        if !problem.instance.is_empty() {
            write!(f, " (instance {})", brief(&problem.instance))?;
        }
        match advice.is_empty() {
            true => Ok(()),
            false => write!(f, "; {advice}"),
        }
    }
}
