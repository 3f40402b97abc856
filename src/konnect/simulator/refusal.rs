//! Why a call is refused, and the problem that says so in the documents' words.

use crate::konnect::api::{InvalidParameter, Problem};

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The token is missing or unknown.
    Unauthorized,
    /// The token has not the role.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There is such a path, but not with this method.
    Method,
    /// It is not possible now, because of this.
    Conflict(&'static str),
    /// The body is too large, in bytes.
    TooLarge(usize),
    /// The request is wrong.
    Invalid {
        /// In a few words.
        detail: &'static str,
        /// What is wrong with what.
        parameters: Vec<InvalidParameter>,
    },
    /// It is the stand-in that failed.
    Internal,
}

impl Refusal {
    /// A request of which one thing is wrong.
    pub fn invalid(detail: &'static str, parameter: InvalidParameter) -> Refusal {
        Refusal::Invalid { detail, parameters: vec![parameter] }
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Invalid { .. } => 400,
            Refusal::Unauthorized => 401,
            Refusal::Forbidden => 403,
            Refusal::NotFound => 404,
            Refusal::Method => 405,
            Refusal::Conflict(_) => 409,
            Refusal::TooLarge(_) => 413,
            Refusal::Internal => 500,
        }
    }

    /// The problem for an answer with this trace id.
    pub fn problem(self, trace_id: u64) -> Problem {
        let status = self.status();
        let (title, detail) = match &self {
            Refusal::Unauthorized => ("Unauthorized", "Unauthorized".to_owned()),
            Refusal::Forbidden => {
                ("Forbidden", "You do not have permission to perform this action".to_owned())
            }
            Refusal::NotFound => ("Not Found", "Not Found".to_owned()),
            Refusal::Method => ("Method Not Allowed", "Method not allowed".to_owned()),
            Refusal::Conflict(detail) => ("Resource Conflict", (*detail).to_owned()),
            Refusal::TooLarge(most) => {
                ("Content Too Large", format!("The body is larger than [{most}] bytes"))
            }
            Refusal::Invalid { detail, .. } => ("Bad Request", (*detail).to_owned()),
            Refusal::Internal => ("Internal Server Error", "Internal server error".to_owned()),
        };
        // The documents show one prefix for what the gateway refuses, and another for the service.
        let prefix = match self {
            Refusal::Invalid { .. } | Refusal::Conflict(_) => "konnect",
            _ => "kong",
        };
        let invalid_parameters = match self {
            Refusal::Invalid { parameters, .. } => parameters,
            _ => Vec::new(),
        };
        Problem {
            status,
            title: title.to_owned(),
            kind: Some(format!("https://httpstatuses.com/{status}")),
            instance: format!("{prefix}:trace:{trace_id}"),
            detail,
            invalid_parameters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_those_of_the_documents() {
        let problem = Refusal::Conflict("A replay job is currently running").problem(7);
        assert_eq!(
            serde_json::to_value(problem).unwrap(),
            serde_json::json!({"status": 409, "title": "Resource Conflict",
                "type": "https://httpstatuses.com/409", "instance": "konnect:trace:7",
                "detail": "A replay job is currently running"})
        );
        assert_eq!(Refusal::Unauthorized.problem(8).instance, "kong:trace:8");
        let parameter = InvalidParameter::default();
        let problem = Refusal::invalid("Invalid endpoint", parameter.clone()).problem(9);
        assert_eq!((problem.status, problem.invalid_parameters), (400, vec![parameter]));
    }
}
