//! The types of Konnect's audit-log API, for the client and the simulator.
//!
//! They follow Kong's OpenAPI documents "Konnect Audit Log Settings" (v2, v3) and "Portal
//! Management" (v2, v3). Each type names its operations. Responses are read leniently: unknown
//! members are ignored, and members that the documents do not require may be missing. The types
//! check nothing; the simulator does.
//!
//! - [`destination`]: where entries are sent. [`page`]: lists and cursors. [`portal`]: Dev Portals.
//! - [`webhook`]: webhooks, their status, and their replay jobs.
//! - [`pulled`]: entries of `GET /v3/audit-logs`, which differ from delivered ones.
//! - [`problem`]: errors. [`time`]: times.

pub(crate) mod destination;
pub(crate) mod page;
pub(crate) mod portal;
pub(crate) mod problem;
pub(crate) mod pulled;
pub(crate) mod time;
pub(crate) mod webhook;

pub(crate) use destination::{CreateDestination, Destination, UpdateDestination};
pub(crate) use page::{CursorPage, DestinationPage, PulledMeta, PulledPage};
pub(crate) use portal::{Portal, PortalPage};
pub(crate) use problem::{InvalidParameter, Problem};
pub(crate) use pulled::{Authentication, Authorization, GatewayAccess, PulledEntry};
pub(crate) use time::Time;
pub(crate) use webhook::{
    ReplayJob, ReplayRange, ReplayStatus, UpdateWebhook, UpdateWebhookV2, Webhook, WebhookActivity,
    WebhookScope, WebhookStatus, WebhookV2,
};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::entry::Format;

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    /// What the documents show as an answer is read, and written as it was.
    fn check<T: Serialize + DeserializeOwned>(example: &str) {
        let read: T = serde_json::from_str(example).unwrap();
        let expected: Value = serde_json::from_str(example).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), expected);
    }

    #[test]
    fn the_documents_examples_survive() {
        const DESTINATION: &str = r#"{"id":"07ec3858-066b-4629-bdc5-d4aa893b424d",
            "name":"My Destination","endpoint":"https://example.com/audit-log","log_format":"cef",
            "skip_ssl_verification":false,"created_at":"2023-03-20T09:29:14.520Z",
            "updated_at":"2023-03-21T09:29:14.520Z"}"#;
        check::<Destination>(DESTINATION);
        check::<DestinationPage>(&format!(
            r#"{{"data":[{DESTINATION}],"meta":{{"next":"/x?page%5Bafter%5D=f1","previous":null,"size":10}}}}"#
        ));
        check::<Webhook>(
            r#"{"audit_log_destination_id":"6945c4c4-3e06-4c5c-87e0-726d0cda4e05","enabled":true}"#,
        );
        check::<Webhook>(r#"{"audit_log_destination_id":"","enabled":false}"#);
        check::<WebhookV2>(
            r#"{"endpoint":"https://example.com/audit-log","enabled":true,"log_format":"cef",
                "skip_ssl_verification":false,"updated_at":"2023-03-21T09:29:14.520Z"}"#,
        );
        check::<WebhookStatus>(
            r#"{"webhook_enabled":true,"webhook_status":"inactive",
                "last_attempt_at":"2023-03-21T09:29:14.520Z","last_response_code":401,
                "last_response_message":"Unauthorized"}"#,
        );
        check::<ReplayJob>(
            r#"{"start_at":"0001-01-01T00:00:00.000Z","end_at":"2017-07-21T17:32:28.000Z",
                "status":"unconfigured","updated_at":"2017-07-21T17:32:28.000Z"}"#,
        );
        check::<Problem>(
            r#"{"status":400,"title":"Bad Request","detail":"Required field missing",
                "instance":"konnect:trace:6644808935508571943",
                "invalid_parameters":[{"field":"authorization","reason":"cannot be blank"}]}"#,
        );
        check::<PulledPage>(
            r#"{"data":[
                {"type":"authorization","signature":"MEUC","service":"servicehub",
                 "resource":"krn:kong:gateway:us-west-2","action":"kong.gateway.request",
                 "granted":true,"org_id":"6945c4c4-3e06-4c5c-87e0-726d0cda4e05",
                 "ts":"2023-03-21T09:29:14.520Z","principal_id":"user_1234567890abcdef",
                 "actor_id":"user_abcdef1234567890","client_ip":"127.0.0.1",
                 "uri":"/v2/api/endpoint","user_agent":"Mozilla/5.0","trace_id":"12345678",
                 "portal_id":"6945c4c4-3e06-4c5c-87e0-726d0cda4e05"},
                {"type":"gateway_access","ts":"2023-03-21T09:30:22.150Z","org_id":"6945c4c4",
                 "principal_id":"user_1","actor_id":"user_a","client_ip":"127.0.0.1",
                 "trace_id":"87654321","user_agent":"Mozilla/5.0","method":"POST",
                 "uri":"/v2/gateway/services","query":"filter=active","status_code":201,
                 "signature":"MEYC","portal_id":"6945c4c4"},
                {"type":"authentication","successful":true,"principal_id":"user_1",
                 "signature":"MEQC","org_id":"6945c4c4","outcome":"success",
                 "authentication_type":"sso","ts":"2023-03-21T09:28:45.780Z",
                 "client_ip":"127.0.0.1","uri":"/v2/auth/login","user_agent":"Mozilla/5.0",
                 "trace_id":"11223344"}],
              "meta":{"page":{"next":"/audit-logs?page[after]=ew","previous":null,"size":10}}}"#,
        );
    }

    #[test]
    fn answers_are_read_leniently() {
        let odd = r#"{"start_at":"0001-01-01T00:00:0Z","status":"later","more":1}"#;
        let job: ReplayJob = serde_json::from_str(odd).unwrap();
        assert!(job.start_at.unwrap().is_initial());
        assert_eq!(job.status, Some(ReplayStatus::Other));
        let entry: PulledEntry = serde_json::from_str(r#"{"type":"new","x":1}"#).unwrap();
        assert_eq!(entry, PulledEntry::Other);
    }
}
