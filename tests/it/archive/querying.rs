//! `query`, `export` and `verify` find the same in the archive as in the store.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Serve, Setup, Signer, jwks, output_of, wait_until};

/// The principal whose entries are asked for.
pub(super) const PRINCIPAL: &str = "87655c36-8d63-48fe-9a1e-53b28dfbc19b";

/// A CEF payload. Every third is the principal's. The times are on two days, and not in order.
fn payload(n: usize) -> String {
    let rt = 1_747_426_194_000_u64 + (n * 7 % 40) as u64 * 3_600_000;
    let principal = if n.is_multiple_of(3) { PRINCIPAL } else { "somebody" };
    format!(
        "2025-05-16T20:09:54Z konghq.com CEF:0|KongInc|Konnect|1.0|KongGateway|Ingress {}|1|rt={rt} \
         src=127.0.0.{} request=/v2/things/{n} act=POST status={} principal_id={principal} \
         trace_id=77{n} cs1=Ünïcode {n}",
        n % 5,
        n % 7,
        200 + n
    )
}

/// Runs a command of the program in the folder of the server.
pub(super) fn run(serve: &Serve, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(arguments).current_dir(serve.home());
    output_of(&mut command)
}

/// A server whose entries are all in its archive, with late verdicts.
pub(super) fn archived() -> Serve {
    let setup = Setup::new();
    let config = format!(
        "[archive]\nurl = \"file://{}/bucket\"\nmax_delay = \"1s\"\n[store]\nsegment_entries = 20\n\
         [receiver]\nmax_line = \"1KiB\"\n[keys]\njwks = [\"keys.json\"]\n",
        setup.home().display()
    );
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let serve =
        setup.file("keys.json", jwks(&[&one])).config(&config).arguments("--no-tls").start();
    let long = format!("{{\"name\":\"{}\"}}", "long<".repeat(500_000));
    for range in [0..25, 25..45] {
        let mut lines: Vec<_> = range
            .map(|n| match n % 4 {
                0 => two.sign(&payload(n)),
                1 => payload(n),
                _ => one.sign(&payload(n)),
            })
            .collect();
        if lines.len() == 25 {
            let odd = r#"{"name":"odd","status":"odd","granted":"yes","list":[1, 2]}"#;
            lines.extend(["garbage".to_owned(), odd.to_owned(), long.clone()]);
        }
        serve.deliver(lines.join("\n"));
    }
    fs::write(serve.home().join("keys.json"), jwks(&[&one, &two])).unwrap();
    serve.signal(Signal::HUP);
    wait_until("all is archived, with the late verdicts", || {
        let [(_, store, _), (_, archive, _)] = ["--data-dir=vidimus-data", "--archive"]
            .map(|from| run(&serve, &["export", from, "--config", "config.toml"]));
        store == archive && store.contains("\"verdict\":\"valid\"") && !store.contains("invalid")
    });
    serve
}

const QUERIES: [&[&str]; 16] = [
    &[],
    &["--limit", "7"],
    &["verdict:valid"],
    &["NOT verdict:valid"],
    &["verdict:malformed", "--limit", "0"],
    &["kid:k2"],
    &["principal_id:87655c36-8d63-48fe-9a1e-53b28dfbc19b", "status:>=210"],
    &["trace_id:779"],
    &["src:127.0.0.3", "OR", "id:4"],
    &["cs1:ünïcode*"],
    &["ünïcode", "NOT", "things/1"],
    &["status:*", "NOT", "status:>=0"],
    &["format:unknown"],
    &["long<long"],
    &["--since", "2025-05-17T03:00:00Z", "--until", "2025-05-17T09:00:00Z"],
    &["delivery:2", "warning:*"],
];

#[test]
fn the_archive_answers_as_the_store_does() {
    let serve = archived();
    let mut found = 0;
    for query in QUERIES {
        for command in ["query", "export"] {
            for output in ["jsonl", "csv", "raw", "text"] {
                let common = [&[command, "--config", "config.toml", "-o", output], query].concat();
                let store = run(&serve, &common);
                let archive = run(&serve, &[&common[..], &["--archive"]].concat());
                assert_eq!(archive, store, "{common:?}");
                assert_eq!(store.0, Some(0), "{}", store.2);
                found += usize::from(store.1.len() > 300);
            }
        }
    }
    assert!(found > QUERIES.len() * 4, "{found}");

    // By its URL it needs no configuration.
    let url = format!("file://{}/bucket", serve.home().display());
    let named = run(&serve, &["query", "--archive-url", &url, "trace_id:779", "-o", "raw"]);
    assert!(named.0 == Some(0) && named.1.contains("trace_id=779 "), "{named:?}");
    // Hints on the query need no store.
    let (_, _, stderr) =
        run(&serve, &["query", "--archive-url", &url, "statuss:1", "verdict=valid"]);
    assert!(stderr.contains("write verdict:valid") && !stderr.contains("no entry has"), "{stderr}");

    let verify = |more: &[&str]| {
        let common = ["verify", "--archive-url", &url, "--jwks", "keys.json"];
        run(&serve, &[&common[..], more].concat())
    };
    let (code, stdout, stderr) = verify(&[]);
    assert_eq!(code, Some(1), "{stderr}");
    let unsigned = stdout.lines().filter(|line| line.ends_with(" unsigned")).count();
    assert!(stdout.contains("archive:2 unsigned\n") && unsigned == 12, "{stdout}");
    assert!(stdout.contains(" malformed line_too_long\n"), "{stdout}");
    let only_valid = ["--since", "2025-05-16", "--until", "2025-05-16T21:00:00Z"];
    let (code, stdout, stderr) = verify(&only_valid);
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");

    for (wrong, message) in [
        (&["query", "--archive", "--config", "/dev/null"][..], "no url in [archive]"),
        (&["query", "--archive-url", "http://x/"], "--archive-url"),
        (&["export", "--store", "x"], "with --archive"),
        (&["verify", "--since", "1d", "--jwks", "keys.json", "x"], "with --archive"),
        (&["verify", "--archive-url", &url, "--jwks", "keys.json", "x"], "without files"),
    ] {
        let (code, _, stderr) = run(&serve, wrong);
        assert!(code == Some(2) && stderr.contains(message), "{wrong:?}: {stderr}");
    }
    let other = run(&serve, &["query", "--archive-url", &url, "--store", &"0".repeat(32)]);
    assert!(other.0 == Some(3) && other.2.contains("no archive of"), "{other:?}");
}
