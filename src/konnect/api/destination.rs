//! Destinations: where entries are sent, and in which format.

use serde::{Deserialize, Serialize, Serializer};

use super::time::Time;
use crate::entry::Format;
use crate::settings::Secret;

/// A destination in a response: `get-audit-log-destination` and the list. The `authorization` is
/// write-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    /// A UUID.
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) endpoint: String,
    #[serde(default = "cef")]
    pub(crate) log_format: Format,
    #[serde(default)]
    pub(crate) skip_ssl_verification: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<Time>,
}

/// The body of `create-audit-log-destination`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CreateDestination {
    pub(crate) name: String,
    pub(crate) endpoint: String,
    /// The whole value of the header `Authorization`.
    #[serde(serialize_with = "exposed")]
    pub(crate) authorization: Secret,
    pub(crate) log_format: Format,
    pub(crate) skip_ssl_verification: bool,
}

/// The body of `update-audit-log-destination`. `None` leaves a value unchanged.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct UpdateDestination {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// The whole value of the header `Authorization`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_if_there")]
    pub(crate) authorization: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<Format>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skip_ssl_verification: Option<bool>,
}

/// The documented default.
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
    fn only_changes_are_sent() {
        assert_eq!(serde_json::to_value(UpdateDestination::default()).unwrap(), json!({}));
        let update = UpdateDestination {
            authorization: Some(Secret::new("Bearer x").unwrap()),
            ..UpdateDestination::default()
        };
        assert_eq!(serde_json::to_value(&update).unwrap(), json!({"authorization": "Bearer x"}));
    }
}
