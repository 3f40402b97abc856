//! Errors of the API: problem objects (RFC 9457, `BaseError` in the documents).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An error response, as `application/problem+json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) status: u16,
    /// The fixed text for this type of problem.
    #[serde(default)]
    pub(crate) title: String,
    /// The URI of the type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// `kong:trace:` and the trace id, for Kong's support.
    #[serde(default)]
    pub(crate) instance: String,
    /// The text for this occurrence.
    #[serde(default)]
    pub(crate) detail: String,
    /// The invalid parameters of a 400.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) invalid_parameters: Vec<InvalidParameter>,
}

/// An invalid parameter. The members after `reason` depend on `rule`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct InvalidParameter {
    /// The name of the member or parameter; `body` for the whole body.
    pub(crate) field: String,
    #[serde(default)]
    pub(crate) reason: String,
    /// The broken rule: `required`, `is_string`, `min`, `max_length`, `enum`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    /// `body` or `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) minimum: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) maximum: Option<i64>,
    /// The allowed values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) choices: Option<Vec<Value>>,
    /// The member that it depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dependents: Option<Vec<Value>>,
}

/// Title, detail, instance and invalid parameters. The texts come from the server.
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
