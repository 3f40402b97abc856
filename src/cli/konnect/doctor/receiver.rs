//! Checks this receiver: its address and path, the requests that it refused, its keys.

use std::collections::BTreeMap;

use hyper::Uri;

use super::finding::{Finding, Findings};
use crate::cli::exit::Failure;
use crate::config::Config;
use crate::entry::Millis;
use crate::konnect::api::Destination;
use crate::store::{Refused, Stats};

/// The ports on Kong's page "Networking in Konnect". Whether Konnect delivers to others is not said.
const PORTS: [u16; 3] = [443, 8071, 20010];

/// Compares the endpoint of the destination with the configuration of this receiver.
pub(super) fn endpoint(
    config: &Config,
    destination: &Destination,
    is_konnect: bool,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    for finding in compare(config, &destination.endpoint, is_konnect) {
        findings.add(finding)?;
    }
    Ok(())
}

fn compare(config: &Config, endpoint: &str, is_konnect: bool) -> Vec<Finding> {
    const CHECK: &str = "address";
    let update = "vidimus konnect setup --endpoint URL, or destinations update ID --endpoint URL";
    let Ok(url) = endpoint.parse::<Uri>() else { return Vec::new() };
    let mut findings = Vec::new();
    if is_konnect && url.scheme_str() != Some("https") {
        let what = format!("{endpoint} is not https: Konnect delivers to https only");
        findings.push(Finding::problem(CHECK, what, update));
    }
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    let is_loopback = host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback());
    if is_konnect && is_loopback {
        let what = format!("{endpoint} is this machine: Konnect cannot reach it");
        let advice = "use a tunnel or proxy, and start serve with its --public-url";
        findings.push(Finding::problem(CHECK, what, advice));
    }
    if is_konnect
        && !is_loopback
        && let Some(port) = url.port_u16().filter(|port| !PORTS.contains(port))
    {
        let what = format!(
            "the port of the endpoint is {port}: Konnect's page on its network names 443, and 8071 \
             and 20010 for audit logs"
        );
        findings.push(Finding::note(CHECK, what));
    }
    let paths: Vec<_> = config.inputs.iter().map(|input| input.path.as_str()).collect();
    if !paths.contains(&url.path()) {
        let what = format!(
            "the path of the endpoint is {}, but the configured path of the receiver is {}",
            url.path(),
            paths.join(", ")
        );
        // The flags of `serve` are not known here.
        findings.push(Finding::note(CHECK, what));
    }
    if let Some(public) = &config.receiver.public_url {
        let origin = url.authority().map(|at| format!("{}://{at}", url.scheme_str().unwrap_or("")));
        if origin.as_ref() != Some(public) {
            let what = format!("the endpoint is {endpoint}, but public_url is {public}");
            findings.push(Finding::problem(CHECK, what, update));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "the endpoint and the path match the configuration"));
    }
    findings
}

/// The requests refused since the last good delivery, with the reasons.
pub(super) fn refused(
    delivered: Option<Millis>,
    stats: &Stats,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    findings.add(refusals(delivered.map(Millis::get), &stats.refused))
}

fn refusals(delivered: Option<i64>, refused: &[Refused]) -> Finding {
    const CHECK: &str = "refused";
    // The `GET` of this command is refused too, with 405.
    let newer = |one: &&Refused| delivered.is_none_or(|at| one.time.get() > at);
    let counts = refused.iter().filter(newer).filter(|one| one.status != Some(405));
    let mut reasons: BTreeMap<(Option<u16>, &str, Option<&str>), usize> = BTreeMap::new();
    for one in counts {
        *reasons.entry((one.status, &one.reason, one.scheme.as_deref())).or_default() += 1;
    }
    let since = if delivered.is_some() { "since the last good delivery" } else { "until now" };
    if reasons.is_empty() {
        return Finding::ok(CHECK, format!("nothing was refused {since}"));
    }
    let counts: Vec<_> = reasons
        .iter()
        .map(|((status, reason, scheme), count)| {
            let status = status.map_or_else(|| "no request".to_owned(), |code| code.to_string());
            let scheme = match (status.as_str(), scheme) {
                (_, Some(scheme)) => format!(", with an Authorization of the scheme {scheme}"),
                ("401", None) => ", without a scheme in its Authorization".to_owned(),
                _ => String::new(),
            };
            format!("{count} × {status} {reason}{scheme}")
        })
        .collect();
    let is = |code| reasons.keys().any(|(status, _, _)| *status == Some(code));
    let advice = if is(401) {
        "the Authorization of the destination is not that of the receiver: set it with vidimus \
         konnect setup, or vidimus konnect destinations update ID --authorization-file"
    } else if is(404) {
        "set the path of the destination to that of vidimus serve (--path or [[input]] path)"
    } else if reasons.keys().any(|(status, _, _)| status.is_none()) {
        "the client does not trust the certificate, or does not use TLS"
    } else {
        "see vidimus store stats"
    };
    Finding::problem(CHECK, format!("{since}: {}", counts.join("; ")), advice)
}

pub(super) fn keys(stats: &Stats, findings: &mut Findings<'_>) -> Result<(), Failure> {
    const CHECK: &str = "keys";
    let failed = stats.sources.iter().filter(|source| source.error.is_some());
    let failed: Vec<_> = failed
        .map(|one| format!("{}: {}", one.source, one.error.as_deref().unwrap_or_default()))
        .collect();
    findings.add(match stats.keys {
        0 if failed.is_empty() => Finding::problem(
            CHECK,
            "there are no keys: no signature can be verified",
            "start vidimus serve with --region us (or eu, au, me, in, sg), or --jwks",
        ),
        0 => Finding::problem(
            CHECK,
            format!("there are no keys, because the source cannot be read: {}", failed.join("; ")),
            "try vidimus keys fetch; behind a proxy, set HTTPS_PROXY for vidimus serve",
        ),
        keys => {
            let known = if keys == 1 {
                "1 key is known".to_owned()
            } else {
                format!("{keys} keys are known")
            };
            match failed.is_empty() {
                true => Finding::ok(CHECK, known),
                false => {
                    let failed = failed.join("; ");
                    Finding::note(
                        CHECK,
                        format!("{known}, but the last read of a source failed: {failed}"),
                    )
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn check(endpoint: &str, is_konnect: bool, expected: &[&str]) {
        let config = Config::load(&Flags::default(), &|_| None).unwrap();
        let found = compare(&config, endpoint, is_konnect);
        let states: Vec<_> = found
            .iter()
            .map(|one| serde_json::to_value(one).unwrap()["state"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(states, expected, "{found:?}");
    }

    #[test]
    fn the_endpoint_is_compared_with_the_configuration() {
        check("https://siem.example.com/audit-logs", true, &["ok"]);
        check("http://siem.example.com/audit-logs", true, &["problem"]);
        check("https://127.0.0.1:8443/audit-logs", true, &["problem"]);
        check("https://127.0.0.1:8443/audit-logs", false, &["ok"]);
        check("https://siem.example.com/other", true, &["note"]);
        check("https://siem.example.com:8443/audit-logs", true, &["note"]);
        check("https://siem.example.com:8071/audit-logs", true, &["ok"]);
        check("https://siem.example.com:8443/audit-logs", false, &["ok"]);
        check("https://siem.example.com", true, &["note"]);
    }

    #[test]
    fn a_wrong_authorization_is_shown_by_its_scheme() {
        let refused = |time: i64, status, scheme: Option<&str>| Refused {
            time: Millis::saturating(time),
            peer: "192.0.2.1:1".into(),
            status,
            reason: "authorization".into(),
            scheme: scheme.map(str::to_owned),
        };
        let list = [
            refused(30, Some(401), Some("Splunk")),
            refused(20, Some(401), Some("Splunk")),
            refused(19, Some(405), None),
            refused(5, Some(404), None),
        ];
        let finding = format!("{:?}", refusals(Some(10), &list));
        assert!(finding.contains("since the last good delivery: 2 × 401 authorization, with an"));
        assert!(finding.contains("scheme Splunk\""), "{finding}");
        assert!(finding.contains("set it with vidimus konnect setup"), "{finding}");
        assert!(format!("{:?}", refusals(Some(30), &list)).contains("Ok"));
        assert!(format!("{:?}", refusals(None, &list)).contains("1 × 404"));
    }
}
