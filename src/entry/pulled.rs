//! Reads the fields of an entry that was pulled from Konnect's API (`GET /v3/audit-logs`, `AuditLog`
//! in Kong's OpenAPI document "Konnect Audit Log Settings" 3.0.7).
//!
//! Its members have other names than those of a delivered entry. They get the names of delivered
//! entries, so that one query finds both. `signature` is no field: see `docs/signatures.md`.

use std::borrow::Cow;

use super::Warning;
use super::fields::{Fields, SentValue};
use super::json::{self, Member};

/// Adds the fields of a pulled entry.
pub(super) fn fields(payload: &str, fields: &mut Fields, warnings: &mut Vec<Warning>) {
    let members = json::object(payload).unwrap_or_default();
    let of = |name: &str| members.iter().find(|member| member.key == name).and_then(Member::string);
    let kind = of("type").unwrap_or_default();
    let mut add = |name: &str, value: SentValue<'_>| fields.add(name, value, warnings);
    let text = |text: String| SentValue::Text(Cow::Owned(text));
    match &*kind {
        "authorization" => {
            // The resource is a KRN, and the name of a delivered entry is its end.
            let resource = of("resource").unwrap_or_default();
            let end = resource.rsplit(':').next().unwrap_or_default();
            add("name", text(format!("Authz.{end}")));
        }
        "authentication" => {
            for (member, name, prefix) in [
                ("outcome", "name", "AUTHENTICATION_OUTCOME_"),
                ("authentication_type", "event_class_id", "AUTHENTICATION_TYPE_"),
            ] {
                let value = of(member).unwrap_or_default().to_ascii_uppercase();
                add(name, text(format!("{prefix}{value}")));
            }
        }
        "gateway_access" => {
            add("name", text("Ingress".to_owned()));
            add("event_class_id", text("KongGateway".to_owned()));
        }
        _ => {}
    }
    for member in &members {
        let name = match (&*member.key, &*kind) {
            ("type" | "signature", _) => continue,
            ("outcome" | "authentication_type", "authentication") => continue,
            ("ts", _) => "event_ts",
            ("client_ip", _) => "src",
            ("uri", _) => "request",
            ("method", _) => "act",
            ("status_code", _) => "status",
            ("successful", _) => "success",
            ("service", "authorization") => "event_class_id",
            (other, _) => other,
        };
        add(name, member.string().map_or(SentValue::Json(member.value), SentValue::Text));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Kind, Millis, ParsedPayload};

    fn check(line: &str, kind: Kind, expected: &[(&str, &str)]) {
        let read = ParsedPayload::new(line, Format::Pulled);
        assert_eq!(read.kind(), kind, "{line}");
        assert_eq!(read.event_time, Some(Millis::saturating(1_679_390_954_520)));
        let found: Vec<_> =
            read.fields.iter().map(|(name, value)| (name, value.as_text().into_owned())).collect();
        let found: Vec<_> = found.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(found, expected, "{line}");
        assert_eq!(read.warnings, []);
    }

    #[test]
    fn members_get_the_names_of_delivered_fields() {
        let ts = ("event_ts", "2023-03-21T09:29:14.52Z");
        check(
            r#"{"type":"authorization","signature":"MEUC","service":"konnect",
                "resource":"krn:konnect:org/1:control-planes/*","action":"edit","granted":false,
                "org_id":"o","ts":"2023-03-21T09:29:14.52Z","principal_id":"p",
                "client_ip":"192.0.2.1","trace_id":"18446744073709551615"}"#,
            Kind::Authorization,
            &[
                ts,
                ("event_class_id", "konnect"),
                ("name", "Authz.control-planes/*"),
                ("src", "192.0.2.1"),
                ("org_id", "o"),
                ("principal_id", "p"),
                ("action", "edit"),
                ("granted", "false"),
                ("trace_id", "18446744073709551615"),
                ("resource", "krn:konnect:org/1:control-planes/*"),
            ],
        );
        check(
            r#"{"type":"authentication","successful":false,"outcome":"invalid_password",
                "authentication_type":"basic","ts":"2023-03-21T09:29:14.52Z","uri":"/login"}"#,
            Kind::Authentication,
            &[
                ts,
                ("event_class_id", "AUTHENTICATION_TYPE_BASIC"),
                ("name", "AUTHENTICATION_OUTCOME_INVALID_PASSWORD"),
                ("success", "false"),
                ("request", "/login"),
            ],
        );
        check(
            r#"{"type":"gateway_access","method":"POST","status_code":201,"query":"a=b",
                "ts":"2023-03-21T09:29:14.52Z","new":{"a":1}}"#,
            Kind::Access,
            &[
                ts,
                ("event_class_id", "KongGateway"),
                ("name", "Ingress"),
                ("act", "POST"),
                ("status", "201"),
                ("query", "a=b"),
                ("new", r#"{"a":1}"#),
            ],
        );
    }
}
