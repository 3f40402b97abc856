//! `vidimus send` to an endpoint that records the deliveries.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use serde_json::Value;

use crate::harness::Serve;
use crate::program::{Run, run};

/// A recorded delivery.
#[derive(Clone)]
struct Delivery {
    start: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A plain HTTP/1.1 endpoint that always gives the same answer.
struct Endpoint {
    url: String,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Endpoint {
    fn answering(status: &'static str) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/audit-logs", listener.local_addr().unwrap());
        let deliveries = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&deliveries);
        // The thread ends with the test process.
        thread::spawn(move || {
            for connection in listener.incoming() {
                let all = Arc::clone(&all);
                thread::spawn(move || serve(connection.unwrap(), status, &all));
            }
        });
        Endpoint { url, deliveries }
    }

    fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// The lines of all deliveries, decoded and sorted.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for delivery in self.deliveries() {
            let mut text = String::new();
            match delivery.headers.contains_key("content-encoding") {
                true => flate2::read::GzDecoder::new(&*delivery.body).read_to_string(&mut text),
                false => delivery.body.as_slice().read_to_string(&mut text),
            }
            .unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort();
        lines
    }
}

/// Serves a connection until it is closed.
fn serve(connection: TcpStream, status: &str, all: &Mutex<Vec<Delivery>>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut connection = connection;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let headers: BTreeMap<_, _> = head[1..]
            .iter()
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        all.lock().unwrap().push(Delivery { start: head[0].clone(), headers, body });
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        connection.write_all(answer.as_bytes()).unwrap();
    }
}

/// Sends to the endpoint. Returns the output and the report.
fn send(endpoint: &Endpoint, arguments: &[&str], code: i32) -> (Run, Value) {
    let always = ["send", endpoint.url.as_str(), "-o", "jsonl"];
    let ran = run(&[always.as_slice(), arguments].concat(), b"").expect(code);
    let report = ran.records().remove(0);
    (ran, report)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_delivery_looks_like_konnects() {
    let endpoint = Endpoint::answering("200 OK");
    let arguments = ["--authorization", "Splunk 0123", "--entries", "25", "--batch", "10"];
    let (ran, report) = send(&endpoint, &arguments, 0);
    assert_eq!(report["deliveries"], 3, "{ran}");
    assert_eq!(report["entries_acknowledged"], 25, "{ran}");
    assert_eq!(report["statuses"], serde_json::json!({"200": 3}), "{ran}");
    assert!(report["latency_ms"]["p99"].as_f64().unwrap() > 0.0, "{ran}");
    for delivery in endpoint.deliveries() {
        assert_eq!(delivery.start, "POST /audit-logs HTTP/1.1");
        assert_eq!(delivery.headers["content-type"], "text/plain");
        assert_eq!(delivery.headers["content-encoding"], "application/gzip");
        assert_eq!(delivery.headers["authorization"], "Splunk 0123");
    }
    assert_eq!(endpoint.lines().len(), 25);
    assert!(!ran.to_string().replace("--authorization Splunk 0123", "").contains("0123"), "{ran}");
}

#[test]
fn sent_entries_verify_with_the_written_key_set() {
    for (format, connections) in [("cef", "1"), ("json", "3"), ("cps", "1")] {
        let endpoint = Endpoint::answering("200 OK");
        let folder = tempfile::tempdir().unwrap();
        let (jwks, acknowledged) = (folder.path().join("jwks.json"), folder.path().join("lines"));
        let (ran, _) = send(
            &endpoint,
            &[
                "--format",
                format,
                "--connections",
                connections,
                "--entries",
                "100",
                "--batch",
                "9",
                "--tamper",
                "5%",
                "--unsigned",
                "0.03",
                "--duplicate",
                "10%",
                "--jwks-out",
                text(&jwks),
                "--acknowledged",
                text(&acknowledged),
                "--prepare",
                "--encoding",
                "gzip",
            ],
            0,
        );
        let kept = fs::read_to_string(&acknowledged).unwrap();
        let mut lines: Vec<_> = kept.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, endpoint.lines(), "{ran}");
        let verified = ["verify", "--jwks", text(&jwks), "-o", "jsonl", text(&acknowledged)];
        let records = run(&verified, b"").expect(1).records();
        let count = |verdict: &str| records.iter().filter(|r| r["verdict"] == verdict).count();
        assert_eq!([count("valid"), count("invalid"), count("unsigned")], [92, 5, 3], "{ran}");
        assert!(records.iter().all(|record| record["format"] == format), "{ran}");
        lines.dedup();
        assert_eq!(lines.len(), 90, "{ran}");
    }
}

#[test]
fn openssl_reads_the_key_and_agrees_with_the_signature() {
    let endpoint = Endpoint::answering("200 OK");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = file("key.pem");
    send(&endpoint, &["--entries", "1", "--key-out", &key], 0);
    let line = endpoint.lines().remove(0);
    let (payload, signature) = line.rsplit_once(" sig=").unwrap();
    let signature = base64::engine::general_purpose::URL_SAFE.decode(signature).unwrap();
    fs::write(file("payload"), payload).unwrap();
    fs::write(file("signature"), signature).unwrap();
    let verify = |payload: &str| {
        Command::new("openssl")
            .args(["pkeyutl", "-verify", "-rawin", "-inkey", &key, "-in", &file(payload)])
            .args(["-sigfile", &file("signature")])
            .output()
    };
    let Ok(agreed) = verify("payload") else {
        eprintln!("skipped: this machine has no openssl");
        return;
    };
    assert!(agreed.status.success(), "{agreed:?}");
    fs::write(file("tampered"), payload.replacen("rt=", "rt=1", 1)).unwrap();
    assert!(!verify("tampered").unwrap().status.success());
}

#[test]
fn a_seed_repeats_a_run() {
    let lines = |seed: &str| {
        let endpoint = Endpoint::answering("204 No Content");
        let time = ["--time", "2025-06-18T21:02:36Z"];
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.json");
        fs::write(
            &key,
            r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#,
        )
        .unwrap();
        let arguments = ["--seed", seed, "--key", text(&key), "--encoding", "identity"];
        let (_, report) = send(&endpoint, &[arguments.as_slice(), &time].concat(), 0);
        assert_eq!(report["seed"].to_string(), seed);
        endpoint.lines()
    };
    assert_eq!(lines("7"), lines("7"));
    assert_ne!(lines("7"), lines("8"));
}

#[test]
fn a_refused_batch_is_a_failure_and_not_acknowledged() {
    let endpoint = Endpoint::answering("401 Unauthorized");
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = folder.path().join("lines");
    let (ran, report) = send(&endpoint, &["--acknowledged", text(&acknowledged)], 1);
    assert_eq!(report["statuses"], serde_json::json!({"401": 1}), "{ran}");
    assert_eq!(report["retries"], 0, "{ran}");
    assert_eq!(fs::read(&acknowledged).unwrap(), b"");
    assert!(!endpoint.deliveries()[0].headers.contains_key("authorization"));
}

#[test]
fn a_refusal_is_shown_and_an_untrusted_certificate_is_not_retried() {
    let serve = Serve::start();
    let certificate = serve.certificate();
    let trusting = ["--cacert", text(&certificate), "-o", "jsonl"];
    let refused = |path: &str, expected: &str| {
        let url = format!("{}{path}", serve.receiver);
        let ran =
            run(&[&["send", &url, "--authorization", "Splunk x"], &trusting[..]].concat(), b"");
        let ran = ran.expect(1);
        assert!(ran.stderr.contains(expected), "{ran}");
    };
    refused("/audit-logs", "warning: the endpoint answered 401 Unauthorized: ");
    refused("/nowhere", "warning: the endpoint answered 404 Not Found: ");

    let url = format!("{}/audit-logs", serve.receiver);
    let ran = run(&["send", &url, "-o", "jsonl"], b"").expect(3);
    assert_eq!(ran.records()[0]["retries"], 0, "{ran}");
    assert!(ran.stderr.contains("--cacert"), "{ran}");
}

#[test]
fn a_file_is_sent_unchanged() {
    let endpoint = Endpoint::answering("200 OK");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"one\r\n\n two \nthree").unwrap();
    fs::write(&path, encoder.finish().unwrap()).unwrap();
    let (_, report) = send(&endpoint, &["--input", text(&path), "--encoding", "identity"], 0);
    assert_eq!(endpoint.lines(), [" two ", "one", "three"]);
    assert_eq!(report["seed"], Value::Null);
}

#[test]
fn the_authorization_can_come_from_a_file() {
    let endpoint = Endpoint::answering("200 OK");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "Bearer x\n").unwrap();
    send(&endpoint, &["--authorization-file", text(&path)], 0);
    assert_eq!(endpoint.deliveries()[0].headers["authorization"], "Bearer x");
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        ["send", "--tamper", "2"],
        ["send", "--format", "xml"],
        ["send", "--url", "nowhere at all"],
        ["send", "--url", "127.0.0.1:8443"],
        ["send", "--url", "/audit-logs"],
        ["send", "--url", "ftp://127.0.0.1/audit-logs"],
        ["send", "--cacert", "fixtures/none.pem"],
        ["send", "--key", "fixtures/vectors/jwks.json"],
    ] {
        run(&arguments, b"").expect(2);
    }
    let ran = run(&["send", "127.0.0.1:8443"], b"").expect(2);
    let expected = "the URL is \"127.0.0.1:8443\", expected a URL such as \
                    https://127.0.0.1:8443/audit-logs, with http:// or https://";
    assert!(ran.stderr.contains(expected), "{ran}");
    run(&["send", "--tamper", "60%", "--unsigned", "60%"], b"").expect(2);
    run(&["send", "--input", "-", "--tamper", "1%"], b"").expect(2);
    run(&["send", "https://127.0.0.1:1/", "--url", "https://127.0.0.1:1/"], b"").expect(2);
}

#[test]
fn a_plain_url_to_another_host_exits_with_3() {
    let ran = run(&["send", "--url", "http://192.0.2.1/audit-logs"], b"").expect(3);
    assert!(ran.stderr.contains("plain http"), "{ran}");
}
