//! The answers of the simulator to every method at every path, and to bad requests, match
//! `fixtures/konnect/answers.txt` byte for byte. To rewrite that file, run
//! `VIDIMUS_UPDATE=1 cargo test --test it konnect::answers`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::Simulator;
use crate::harness::http::{RawConnection, head};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X-OTHER"];

const DESTINATION: &str = "/v3/audit-log-destinations/6945c4c4-3e06-4c5c-87e0-726d0cda4e05";

/// Documented paths, similar paths, and malformed paths.
const PATHS: [&str; 38] = [
    "/v2/audit-log-webhook/jwks.json",
    "/v3/audit-log-webhook/jwks.json",
    "/v2/audit-log-destinations",
    "/v3/audit-log-destinations",
    "/v3/audit-log-destinations/",
    DESTINATION,
    "/v2/audit-log-webhook",
    "/v3/audit-log-webhook",
    "/v3/audit-log-webhook/",
    "/v2/audit-log-webhook/status",
    "/v3/audit-log-webhook/status",
    "/v2/audit-log-replay-job",
    "/v3/audit-log-replay-job",
    "/v3/portals/PORTAL/audit-log-webhook",
    "/v2/portals/PORTAL/audit-log-webhook/status",
    "/v2/portals/PORTAL/audit-log-replay-job",
    "/v3/portals/PORTA%4C/audit-log-webhook",
    "/v3/portals/%FF/audit-log-webhook",
    "/v3/portals/another/audit-log-webhook",
    "/v3/portals//audit-log-webhook",
    "/v3/portals/PORTAL/audit-logs",
    "/v3/portals/PORTAL",
    "/v3/portals",
    "/v3/available-regions",
    "/v2/audit-logs",
    "/v3/audit-logs",
    "/v3//audit-logs",
    "/v1/audit-logs",
    "/",
    "/simulate",
    "/simulate/",
    "/simulate/state",
    "/simulate/clock",
    "/simulate/deliver",
    "/simulate/rotate-key",
    "/simulate/tokens",
    "/simulate/portals/PORTAL/login",
    "/simulate/nothing/at/all",
];

/// A simulator, and a second token without the role.
struct Probe {
    simulator: Simulator,
    weak: String,
}

impl Probe {
    fn new() -> Probe {
        let simulator = Simulator::start(&["--portal", "PORTAL"]);
        let weak = simulator.simulate("tokens", Value::Null)["token"].as_str().unwrap().to_owned();
        Probe { simulator, weak }
    }

    fn entries(&self) -> u64 {
        let state = self.simulator.call("GET", "/simulate/state", Value::Null, 200).json();
        state["entries"].as_u64().unwrap()
    }

    /// Sends a request. Returns the head and the body of the answer, without the parts that differ
    /// between runs.
    fn answer(&self, request: &[u8]) -> (String, String) {
        let port = self.simulator.api.rsplit_once(':').unwrap().1.parse().unwrap();
        let mut connection = RawConnection::plain(port);
        connection.send(request);
        let answer = String::from_utf8(connection.rest()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let mut lines: Vec<_> =
            head.split("\r\n").filter(|line| !line.starts_with("date:")).collect();
        let length = format!("content-length: {}", body.len());
        assert!(body.is_empty() || lines.contains(&length.as_str()), "{answer}");
        lines.retain(|line| !line.starts_with("content-length: ") || line.ends_with(" 0"));
        // Trace ids have up to 20 digits, and keys are new in each run.
        let id = regex::Regex::new(":trace:[0-9]+").unwrap();
        let key = regex::Regex::new("\"(kid|x)\":\"[^\"]+\"").unwrap();
        let body = id.replace_all(body, ":trace:ID");
        (lines.join("\n"), key.replace_all(&body, "\"$1\":\"KEY\"").into_owned())
    }

    fn request(&self, bearer: &str, method: &str, target: &str, body: &str) -> (String, String) {
        let headers = [("authorization", bearer), ("connection", "close")];
        let head = head(method, target, &headers, body.len());
        self.answer(&[head.as_bytes(), body.as_bytes()].concat())
    }

    /// The statuses with an unknown token, the token without the role and the right token, each
    /// with the number of entries that the call creates.
    fn statuses(&self, method: &str, path: &str) -> String {
        let mut text = format!("  {method:7}");
        let mut allow = String::new();
        for token in ["kpat_x", &self.weak, &self.simulator.token] {
            let before = self.entries();
            let (head, _) = self.request(&format!("Bearer {token}"), method, path, "");
            let left = self.entries() - before;
            let status = head.split(' ').nth(1).unwrap();
            write!(text, " {status}{}", if left > 0 { format!("+{left}") } else { String::new() })
                .unwrap();
            if let Some((_, methods)) = head.split_once("allow: ") {
                allow = format!("  allow: {}", methods.lines().next().unwrap());
            }
        }
        text + &allow + "\n"
    }
}

/// Bad requests. The name of each says what is wrong.
fn requests(token: &str) -> Vec<(&'static str, String)> {
    let good = format!("Bearer {token}");
    let with = |headers: &[(&str, &str)], method: &str, target: &str, body: &str| {
        let headers = [headers, &[("connection", "close")]].concat();
        head(method, target, &headers, body.len()) + body
    };
    let call = |method: &str, target: &str, body: &str| {
        with(&[("authorization", good.as_str())], method, target, body)
    };
    let post = |body: &str| call("POST", "/v3/audit-log-destinations", body);
    let chunked = format!(
        "POST /v3/audit-log-destinations HTTP/1.1\r\nhost: localhost\r\nauthorization: {good}\r\n\
         connection: close\r\ntransfer-encoding: chunked\r\n\r\n10001\r\n{}\r\n0\r\n\r\n",
        " ".repeat(0x10001)
    );
    vec![
        ("no authorization", with(&[], "GET", "/v3/audit-logs", "")),
        (
            "two authorizations",
            with(
                &[("authorization", &good), ("authorization", &good)],
                "GET",
                "/v3/audit-logs",
                "",
            ),
        ),
        (
            "a scheme in small letters",
            with(
                &[("authorization", &good.replace("Bearer", "bearer"))],
                "GET",
                "/v3/audit-log-webhook",
                "",
            ),
        ),
        ("no such path", call("GET", "/v3/nothing", "")),
        ("no such path, HEAD", call("HEAD", "/v3/nothing", "")),
        ("no such method", call("PUT", "/v3/audit-log-destinations", "")),
        ("no such method of the control surface", call("PUT", "/simulate/deliver", "")),
        ("no such control", call("POST", "/simulate/nothing", "{}")),
        ("no such control, and no body either", call("POST", "/simulate/nothing", "x")),
        ("a control that is not read", call("GET", "/simulate/deliver", "x")),
        ("a control with a bad body", call("POST", "/simulate/deliver", "[]")),
        ("a control with a bad member", call("POST", "/simulate/clock", "{\"hold\":1}")),
        ("nobody's portal", call("POST", "/simulate/portals//login", "{}")),
        ("nobody's portal, and a bad body", call("POST", "/simulate/portals//login", "x")),
        ("malformed JSON", post("{")),
        ("no object", post("[]")),
        ("no body", post("")),
        ("no member", post("{}")),
        ("a bad endpoint", post("{\"endpoint\":\"x\"}")),
        ("a body over the cap", post(&" ".repeat(65_537))),
        ("a body over the cap that is not announced", chunked),
        ("a body over the cap, to a path that reads none", {
            call("GET", "/v3/audit-log-webhook", &" ".repeat(65_537))
        }),
        ("a body over the cap, to the control surface", {
            call("GET", "/simulate/clock", &" ".repeat(65_537))
        }),
        ("a body over the cap, with a method that the key set lacks", {
            call("PUT", "/v2/audit-log-webhook/jwks.json", &" ".repeat(65_537))
        }),
        ("a body over the cap, to the key set", {
            call("GET", "/v2/audit-log-webhook/jwks.json", &" ".repeat(65_537))
        }),
        ("a bad query", call("GET", "/v3/audit-logs?page[size]=0&page[after]=%FF", "")),
        ("no such destination", call("PATCH", DESTINATION, "{")),
        ("a webhook", call("GET", "/v3/audit-log-webhook?x=/y", "")),
        ("nothing to say", call("DELETE", "/v3/audit-log-webhook", "")),
        ("an absolute URL", call("GET", "http://localhost/v3/audit-log-webhook", "")),
        ("a server as a whole", call("OPTIONS", "*", "")),
        ("a tunnel", call("CONNECT", "localhost:443", "")),
        ("a path in capital letters", call("GET", &DESTINATION.to_uppercase(), "")),
    ]
}

#[test]
fn every_answer_is_as_it_is_written_down() {
    let probe = Probe::new();
    let mut text = String::from(
        "What `vidimus simulate` answers. First the statuses of every method at a path: without a\n\
         good token, with one that lacks the role, and with a good one; `+2` means that the call\n\
         left two entries. Then the answers to single requests.\n\n",
    );
    for path in PATHS {
        writeln!(text, "{path}").unwrap();
        for method in METHODS {
            text += &probe.statuses(method, path);
        }
    }
    for (name, request) in requests(&probe.simulator.token) {
        let (head, body) = probe.answer(request.as_bytes());
        writeln!(text, "\n{name}\n{head}\n{body}").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/konnect/answers.txt");
    if std::env::var_os("VIDIMUS_UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(text.lines()).find(|(one, other)| one != other);
    assert_eq!(differs, None, "the answers are no longer those of fixtures/konnect/answers.txt");
    assert_eq!(expected.lines().count(), text.lines().count());
}
