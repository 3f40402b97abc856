//! Errors of the API: problem objects (RFC 9457, as the documents' `BaseError` narrows them).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the API answers in place of what was asked for, as `application/problem+json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// The status of the answer.
    #[serde(default)]
    pub(crate) status: u16,
    /// What sort of problem it is, always in the same words.
    #[serde(default)]
    pub(crate) title: String,
    /// A URI that stands for the sort.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// What to tell the vendor's support: `kong:trace:` and the trace id.
    #[serde(default)]
    pub(crate) instance: String,
    /// What is wrong this time.
    #[serde(default)]
    pub(crate) detail: String,
    /// What is wrong with the request; of a 400 only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) invalid_parameters: Vec<InvalidParameter>,
}

/// One thing that is wrong with a request. The members after `reason` depend on `rule`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct InvalidParameter {
    /// The member or parameter; `body` for the whole.
    pub(crate) field: String,
    /// What is wrong with it.
    #[serde(default)]
    pub(crate) reason: String,
    /// The rule that it breaks: `required`, `is_string`, `min`, `max_length`, `enum`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    /// Where it stood: `body`, `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The least that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) minimum: Option<i64>,
    /// The most that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) maximum: Option<i64>,
    /// What is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) choices: Option<Vec<Value>>,
    /// What it depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dependents: Option<Vec<Value>>,
}

/// Title, detail and instance, and each thing that is wrong. It holds text of the server's.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.title, self.detail)?;
        for InvalidParameter { field, reason, .. } in &self.invalid_parameters {
            write!(f, "; {field} {reason}")?;
        }
        write!(f, " ({})", self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_one_line() {
        let problem = Problem {
            status: 400,
            title: "Bad Request".into(),
            detail: "Invalid endpoint".into(),
            instance: "konnect:trace:66".into(),
            invalid_parameters: vec![InvalidParameter {
                field: "endpoint".into(),
                reason: "must be a valid URL".into(),
                ..InvalidParameter::default()
            }],
            ..Problem::default()
        };
        assert_eq!(
            problem.to_string(),
            "400 Bad Request: Invalid endpoint; endpoint must be a valid URL (konnect:trace:66)"
        );
    }
}
