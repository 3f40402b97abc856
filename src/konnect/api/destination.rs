//! Destinations: where entries are sent, and in which format.

use serde::{Deserialize, Serialize, Serializer};

use super::time::Time;
use crate::entry::Format;
use crate::settings::Secret;

/// A destination as it is shown: `get-audit-log-destination` and the list. Its `authorization` is
/// write-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    /// Its id, a UUID.
    pub(crate) id: String,
    /// Its name, for people.
    #[serde(default)]
    pub(crate) name: String,
    /// The URL that entries are posted to.
    #[serde(default)]
    pub(crate) endpoint: String,
    /// How entries are written.
    #[serde(default = "cef")]
    pub(crate) log_format: Format,
    /// Whether the endpoint's certificate is not checked.
    #[serde(default)]
    pub(crate) skip_ssl_verification: bool,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<Time>,
    /// When it was changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<Time>,
}

/// The body of `create-audit-log-destination`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CreateDestination {
    /// Its name, for people.
    pub(crate) name: String,
    /// The URL to post entries to.
    pub(crate) endpoint: String,
    /// What the header `Authorization` is to have, whole.
    #[serde(serialize_with = "exposed")]
    pub(crate) authorization: Secret,
    /// How to write entries.
    pub(crate) log_format: Format,
    /// Whether not to check the endpoint's certificate.
    pub(crate) skip_ssl_verification: bool,
}

/// The body of `update-audit-log-destination`: what is `None` stays as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct UpdateDestination {
    /// Its name, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The URL to post entries to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// What the header `Authorization` is to have, whole.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_if_there")]
    pub(crate) authorization: Option<Secret>,
    /// How to write entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<Format>,
    /// Whether not to check the endpoint's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skip_ssl_verification: Option<bool>,
}

/// The default of the documents.
fn cef() -> Format {
    Format::Cef
}

fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

pub(super) fn exposed_if_there<S: Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => exposed(secret, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_holds_the_authorization_and_a_debug_does_not() {
        let create = CreateDestination {
            name: "siem".into(),
            endpoint: "https://example.com/audit-log".into(),
            authorization: Secret::new("Splunk 0123").unwrap(),
            log_format: Format::Cps,
            skip_ssl_verification: true,
        };
        assert_eq!(
            serde_json::to_value(&create).unwrap(),
            json!({"name": "siem", "endpoint": "https://example.com/audit-log",
                   "authorization": "Splunk 0123", "log_format": "cps",
                   "skip_ssl_verification": true})
        );
        assert!(!format!("{create:?}").contains("0123"));
    }

    #[test]
    fn what_is_not_changed_is_not_sent() {
        assert_eq!(serde_json::to_value(UpdateDestination::default()).unwrap(), json!({}));
        let update = UpdateDestination {
            authorization: Some(Secret::new("Bearer x").unwrap()),
            ..UpdateDestination::default()
        };
        assert_eq!(serde_json::to_value(&update).unwrap(), json!({"authorization": "Bearer x"}));
    }
}
