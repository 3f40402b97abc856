//! Several inputs, each with its own path and authorization values.

use crate::harness::{Serve, Setup, Signer, stored};

/// Delivers `body` with this authorization. Returns the status.
fn status(serve: &Serve, path: &str, value: &str, body: &str) -> u16 {
    serve.post(path, &[("authorization", value)], body.as_bytes()).status
}

#[test]
fn each_input_has_its_own_authorization_values() {
    let config = "
[[input]]
name = 'organization'
path = '/audit-logs'
authorization = ['Splunk old', 'Splunk new']
[[input]]
name = 'portal'
path = '/portal'
authorization_file = ['secrets-portal', 'secrets-next']
[[input]]
name = 'lab'
path = '/lab'
authorization_env = 'LAB_AUTHORIZATION'
";
    let serve = Setup::new()
        .file("secrets-portal", "Bearer portal\n")
        .file("secrets-next", "Bearer next\r\n")
        .config(config)
        .variable("LAB_AUTHORIZATION", "a value without a scheme")
        .start();
    let values = [
        ("/audit-logs", "Splunk old", "organization"),
        ("/audit-logs", "Splunk new", "organization"),
        ("/portal", "Bearer portal", "portal"),
        ("/portal", "Bearer next", "portal"),
        ("/lab", "a value without a scheme", "lab"),
    ];
    for (n, (path, value, _)) in values.iter().enumerate() {
        for (_, other, _) in values.iter().filter(|(other, ..)| other != path) {
            assert_eq!(status(&serve, path, other, "{}"), 401, "{path} {other}");
        }
        assert_eq!(status(&serve, path, value, &format!("{{\"n\":{n}}}")), 200, "{path} {value}");
    }
    let found: Vec<_> = serve.stored().into_iter().map(|entry| entry.input).collect();
    let expected: Vec<_> = values.iter().map(|(.., input)| *input).collect();
    assert_eq!(found, expected);
    let found: Vec<_> = stored::deliveries(&serve.data()).into_iter().map(|d| d.input).collect();
    assert_eq!(found, expected);
    // No value was generated.
    assert!(!serve.data().join("authorization").exists());
}

#[test]
fn the_flags_override_the_environment() {
    let variable = || Setup::new().variable("VIDIMUS_AUTHORIZATION", "Splunk environment");
    let serve = variable().arguments("--path /elsewhere").start();
    assert_eq!(status(&serve, "/elsewhere", "Splunk environment", "{}"), 200);
    assert_eq!(status(&serve, "/audit-logs", "Splunk environment", "{}"), 404);
    let serve = variable().argument("--authorization", "Splunk flag").start();
    assert_eq!(status(&serve, "/audit-logs", "Splunk environment", "{}"), 401);
    assert_eq!(status(&serve, "/audit-logs", "Splunk flag", "{}"), 200);
    let file = variable().file("value", "Splunk file\n").arguments("--authorization-file value");
    let serve = file.start();
    assert_eq!(status(&serve, "/audit-logs", "Splunk environment", "{}"), 401);
    assert_eq!(status(&serve, "/audit-logs", "Splunk file", "{}"), 200);
}

#[test]
fn inputs_together_with_input_flags_are_wrong_usage() {
    let input = "[[input]]\nname = 'a'\npath = '/a'\nauthorization = 'Splunk hidden-1'\n";
    for flags in ["--authorization=hidden-2", "--authorization-file=f", "--path=/b"] {
        let (status, stderr) = Setup::new().config(input).arguments(flags).fail();
        assert_eq!(status.code(), Some(2), "{stderr}");
        let name = flags.split_once('=').unwrap().0;
        assert!(stderr.contains(name) && !stderr.contains("hidden"), "{stderr}");
    }
}

#[test]
fn entries_of_other_organizations_are_stored_with_a_warning() {
    let signer = Signer::new("k1");
    let config = "
[[input]]
name = 'default'
path = '/audit-logs'
authorization = 'x'
org_ids = ['org-1', 'org-2']
portal_ids = ['portal-1']
";
    let mut serve = Setup::new()
        .file("jwks.json", crate::harness::jwks(&[&signer]))
        .arguments("--jwks jwks.json")
        .config(config)
        .start();
    serve.authorization = "x".to_owned();
    let cases = [
        ("org_id=org-1", ""),
        ("org_id=org-2 portal_id=portal-1", ""),
        ("org_id=org-3", "foreign_org"),
        ("org_id=org-1 portal_id=portal-2", "foreign_portal"),
        ("org_id=ORG-1 portal_id=portal-2", "foreign_org foreign_portal"),
        ("act=POST", ""),
    ];
    let lines: Vec<_> = cases
        .iter()
        .map(|(extensions, _)| signer.sign(&format!("CEF:0|a|b|c|d|Ingress|1|{extensions}")))
        .collect();
    assert_eq!(serve.deliver(lines.join("\n"))["verdicts"]["valid"], cases.len());
    let found: Vec<_> = serve.stored().into_iter().map(|entry| entry.warnings).collect();
    assert_eq!(found, cases.map(|(_, warnings)| warnings));
}

#[test]
fn a_trusted_proxy_names_the_peer() {
    let peers = |proxies: &str| {
        let config = format!("[receiver]\ntrusted_proxies = {proxies}\n");
        let mut serve = Setup::new().config(&config).arguments("--no-tls").start();
        let value = serve.authorization.clone();
        for forwarded in [
            &["203.0.113.7"][..],
            &["198.51.100.1, 203.0.113.8"],
            &["198.51.100.1", "203.0.113.9, 127.0.0.2"],
            &["nonsense"],
            &[],
        ] {
            let mut headers = vec![("authorization", value.as_str())];
            headers.extend(forwarded.iter().map(|value| ("x-forwarded-for", *value)));
            assert_eq!(serve.post("/audit-logs", &headers, b"").status, 200);
        }
        serve.post("/audit-logs", &[("x-forwarded-for", "203.0.113.6")], b"");
        serve.stop();
        let delivered = stored::deliveries(&serve.data()).into_iter().map(|one| one.peer);
        let refused = stored::refused(&serve.data()).into_iter().map(|one| one.peer);
        delivered.chain(refused).collect::<Vec<_>>()
    };
    let trusted = peers("['127.0.0.0/8']");
    assert_eq!(trusted[..3], ["203.0.113.7", "203.0.113.8", "203.0.113.9"], "{trusted:?}");
    assert!(trusted[3..5].iter().all(|peer| peer.starts_with("127.0.0.1:")), "{trusted:?}");
    assert_eq!(trusted[5..], ["203.0.113.6"]);
    for proxies in ["[]", "['192.0.2.0/24', '::1']"] {
        let direct = peers(proxies);
        assert_eq!(direct.len(), 6);
        assert!(direct.iter().all(|peer| peer.starts_with("127.0.0.1:")), "{direct:?}");
    }
}
