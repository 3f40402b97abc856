//! Keys arrive, leave and arrive late. Every genuine entry is verified once its key is known.

use crate::harness::stored::catalog;
use crate::harness::{KeyReply, KeyServer, Serve, Setup, Signer, cef, jwks, wait_until};

/// A server that fetches its keys from `source` every second.
fn start(source: &KeyServer) -> Serve {
    let config = format!("[keys]\njwks = '{}'\nrefresh = '1s'\n", source.url());
    Setup::new().config(&config).start()
}

fn serving(signers: &[&Signer]) -> KeyServer {
    KeyServer::start(KeyReply::Body(jwks(signers).into_bytes()))
}

/// Waits until all stored entries have this verdict.
fn wait_for_all(serve: &Serve, verdict: &str) {
    wait_until(&format!("{verdict} all"), || serve.verdicts().iter().all(|one| one == verdict));
}

/// Delivers new lines from `line` until one is valid at once.
fn wait_for_keys(serve: &Serve, line: impl Fn(usize) -> String) {
    let mut n = 900;
    wait_until("the keys", || {
        n += 1;
        serve.deliver(line(n))["verdicts"]["valid"] == 1
    });
}

/// The last error of the source.
fn error(serve: &Serve) -> String {
    let errors = catalog(&serve.data(), "SELECT coalesce(error, '') FROM sources", |r| r.get(0));
    errors.into_iter().next().unwrap_or_default()
}

#[test]
fn a_key_set_can_rotate_between_deliveries() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let source = serving(&[&one]);
    // The keys are refreshed every 6 hours, or when no key verifies a signature.
    let serve = Setup::new().arguments(&format!("--jwks {}", source.url())).start();
    serve.wait_for_log("the key set has new keys");
    let first: Vec<_> = (0..100).map(|n| one.cef(n)).collect();
    assert_eq!(serve.deliver(first.join("\n"))["verdicts"]["valid"], 100);
    assert_eq!(source.requests(), 1);

    source.set_keys(jwks(&[&two]));
    let mixed = |n| if n % 3 == 0 { one.json(n) } else { two.json(n) };
    let second: Vec<_> = (100..200).map(mixed).collect();
    let answer = serve.deliver(second.join("\n"));
    assert_eq!(answer["verdicts"]["invalid"], 67, "{answer}");
    wait_for_all(&serve, "valid");
    let third: Vec<_> = (200..300).map(mixed).collect();
    assert_eq!(serve.deliver(third.join("\n"))["verdicts"]["valid"], 100);

    let stored = serve.stored();
    let sent: Vec<_> = first.iter().chain(&second).chain(&third).map(String::as_bytes).collect();
    assert_eq!(stored.iter().map(|entry| entry.line.as_slice()).collect::<Vec<_>>(), sent);
    for (n, entry) in stored.iter().enumerate() {
        let kid = if n < 100 || n % 3 == 0 { "k1" } else { "k2" };
        assert_eq!(entry.kid.as_deref(), Some(kid), "{entry:?}");
    }
    // Every change has a number, so that outputs can follow the changes.
    let changes =
        catalog(&serve.data(), "SELECT count(*) FROM changes", |row| row.get::<_, u64>(0));
    assert_eq!(changes, [67]);
}

#[test]
fn forged_signatures_cause_few_requests_to_the_source() {
    let started = std::time::Instant::now();
    let source = serving(&[&Signer::new("k1")]);
    let serve = Setup::new().arguments(&format!("--jwks {}", source.url())).start();
    serve.wait_for_log("the key set has new keys");
    let stranger = Signer::new("stranger");
    for n in 0..30 {
        assert_eq!(serve.deliver(stranger.cef(n))["verdicts"]["invalid"], 1);
    }
    // One request at the start, one after the first failure, then one a minute.
    let minutes = usize::try_from(started.elapsed().as_secs() / 60).unwrap();
    assert!(source.requests() <= 2 + minutes, "{} requests", source.requests());
    assert!(serve.verdicts().iter().all(|verdict| verdict == "invalid"));
}

#[test]
fn entries_older_than_the_first_key_are_verified_when_it_arrives() {
    let signer = Signer::new("k1");
    let source = KeyServer::start(KeyReply::Close);
    let serve = start(&source);
    for n in 0..5 {
        let body = [signer.cef(n), signer.json(n), signer.cps(n), cef(n)].join("\n");
        let answer = serve.deliver(body);
        assert_eq!(answer["verdicts"]["no_key"], 3, "{answer}");
    }
    let forged = signer.cef(7).replace("act=POST", "act=GET");
    serve.deliver(&forged);
    assert!(serve.stored()[0].reason.as_deref() == Some("no_keys"));
    serve.wait_for_log("there are no keys, so nothing can be verified");
    source.set_keys(jwks(&[&signer]));
    wait_until("late verdicts", || !serve.verdicts().iter().any(|verdict| verdict == "no_key"));
    for entry in serve.stored() {
        let expected = match String::from_utf8(entry.line.clone()).unwrap() {
            line if line == forged => "invalid",
            line if line.contains("sig") => "valid",
            _ => "unsigned",
        };
        assert_eq!(entry.verdict, expected, "{entry:?}");
    }
}

#[test]
fn a_failing_source_takes_no_keys_away() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let source = serving(&[&one]);
    let serve = start(&source);
    wait_for_keys(&serve, |n| one.cef(n));
    let mut huge = jwks(&[&two]).into_bytes();
    huge.extend(vec![b' '; 1 << 20]);
    let many: Vec<_> = (0..65).map(|n| Signer::new(&format!("many {n}"))).collect();
    let many = jwks(&many.iter().collect::<Vec<_>>()).into_bytes();
    let cases = [
        (KeyReply::Close, "failed"),
        (KeyReply::Status(500), "500"),
        (KeyReply::Status(404), "404"),
        (KeyReply::Redirect("http://keys.example/".into()), "plain http"),
        (KeyReply::Body(huge), "more than 1048576 bytes"),
        (KeyReply::Body(b"<html>Sign in</html>".to_vec()), "JSON"),
        (KeyReply::Body(b"{\"keys\": 1}".to_vec()), "keys"),
        (KeyReply::Body(b"[]".to_vec()), "keys"),
        (KeyReply::Body(b"\xff".to_vec()), "JSON"),
        (KeyReply::Body(many), "64"),
    ];
    for (n, (reply, expected)) in cases.into_iter().enumerate() {
        source.set_reply(reply);
        source.wait_for_request();
        wait_until(expected, || error(&serve).contains(expected));
        let answer = serve.deliver([one.cef(n), two.cef(n)].join("\n"));
        assert_eq!(answer["verdicts"]["valid"], 1, "{expected}: {answer}");
        assert_eq!(answer["verdicts"]["invalid"], 1, "{expected}: {answer}");
        assert!(serve.stderr().contains(&error(&serve)), "{expected}");
    }
    source.set_keys(jwks(&[&one, &two]));
    wait_for_all(&serve, "valid");
    assert_eq!(error(&serve), "");
}

#[test]
fn a_slow_source_delays_nothing() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let (slow, quick) = (KeyServer::start(KeyReply::Hang), serving(&[&two]));
    let sources = format!("jwks = ['{}', '{}']\nrefresh = '1s'\n", slow.url(), quick.url());
    // The server is ready and works while the first fetch hangs.
    let serve = Setup::new().config(&format!("[keys]\n{sources}")).start();
    wait_until("a request", || slow.requests() > 0);
    assert_eq!(serve.deliver([one.cef(1), two.cef(2)].join("\n"))["stored"], 2);
    // The fetch times out and is repeated.
    serve.wait_for_log("no complete answer from");
    slow.set_keys(jwks(&[&one]));
    wait_for_all(&serve, "valid");
}

#[test]
fn an_unreachable_source_is_logged() {
    let signer = Signer::new("k1");
    let source = serving(&[&signer]);
    // No server listens on this port.
    let nobody = "http://127.0.0.1:1/jwks.json";
    let config = format!("[keys]\njwks = ['{nobody}', '{}']\n", source.url());
    let serve = Setup::new().config(&config).start();
    serve.wait_for_log(&format!("cannot connect to {nobody}"));
    wait_for_keys(&serve, |n| signer.cef(n));
}

#[test]
fn a_bad_key_is_named_and_the_others_are_used() {
    let signer = Signer::new("k1");
    let mut set: serde_json::Value = serde_json::from_str(&jwks(&[&signer])).unwrap();
    let bad = [
        serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": "too short", "x": "AAAA"}),
        serde_json::json!({"kty": "RSA", "kid": "another type", "n": "x", "e": "AQAB"}),
        serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": "no base64", "x": "*"}),
        serde_json::json!(17),
    ];
    set["keys"].as_array_mut().unwrap().splice(0..0, bad);
    let serve =
        Setup::new().file("jwks.json", set.to_string()).arguments("--jwks jwks.json").start();
    // Keys from a file are loaded before the server is ready.
    assert_eq!(serve.deliver(signer.cef(1))["verdicts"]["valid"], 1);
    let log = serve.stderr();
    for name in ["\"too short\"", "\"another type\"", "\"no base64\"", "number 4"] {
        let quoted = name.replace('"', "\\\"");
        assert!(log.contains(name) || log.contains(&quoted), "{name}: {log}");
    }
    assert!(log.contains("cannot be used"), "{log}");
}

#[test]
fn a_removed_key_retires_and_its_verdicts_stay() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let source = serving(&[&one, &two]);
    let config =
        format!("[keys]\njwks = '{}'\nrefresh = '1s'\nretire_after = '2s'\n", source.url());
    let serve = Setup::new().config(&config).start();
    wait_for_keys(&serve, |n| one.cef(n));
    wait_for_all(&serve, "valid");
    source.set_keys(jwks(&[&two]));
    let mut n = 0;
    wait_until("its retirement", || {
        n += 1;
        serve.deliver(one.json(n))["verdicts"]["invalid"] == 1
    });
    assert_eq!(serve.deliver(two.json(0))["verdicts"]["valid"], 1);
    let stored = serve.stored();
    let (late, before): (Vec<_>, Vec<_>) = stored.iter().partition(|one| one.verdict != "valid");
    assert_eq!((late.len(), late[0].kid.as_deref()), (1, None));
    assert!(before.iter().all(|one| one.kid.is_some()));
    // The key comes back, and the last entry becomes valid.
    source.set_keys(jwks(&[&one, &two]));
    wait_for_all(&serve, "valid");
}

#[test]
fn a_removed_key_verifies_for_days() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let source = serving(&[&one]);
    let mut serve = start(&source);
    wait_for_keys(&serve, |n| one.cef(n));
    source.set_keys(jwks(&[&two]));
    wait_for_keys(&serve, |n| two.cef(n));
    assert_eq!(serve.deliver(one.json(1))["verdicts"]["valid"], 1);
    serve.stop();
    serve.restart();
    assert_eq!(serve.deliver([one.json(2), two.json(3)].join("\n"))["verdicts"]["valid"], 2);
}

#[test]
fn keys_survive_a_restart_without_their_source() {
    let signer = Signer::new("k1");
    let source = serving(&[&signer]);
    let mut serve = start(&source);
    wait_for_keys(&serve, |n| signer.cef(n));
    source.set_reply(KeyReply::Close);
    serve.stop();
    serve.restart();
    assert_eq!(serve.deliver(signer.cef(1))["verdicts"]["valid"], 1);
    serve.kill();
    serve.restart();
    assert_eq!(serve.deliver(signer.cef(2))["verdicts"]["valid"], 1);
}

#[test]
fn entries_stored_without_keys_are_verified_after_a_restart_with_keys() {
    let signer = Signer::new("k1");
    let mut serve = Setup::new().arguments("--jwks jwks.json").start();
    assert_eq!(serve.deliver([signer.cef(1), signer.json(2)].join("\n"))["verdicts"]["no_key"], 2);
    serve.wait_for_log("cannot read the key set jwks.json");
    serve.stop();
    std::fs::write(serve.home().join("jwks.json"), jwks(&[&signer])).unwrap();
    serve.restart();
    wait_for_all(&serve, "valid");
}

#[test]
fn a_key_file_is_read_again_on_sighup() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let setup = Setup::new().file("jwks.json", jwks(&[&one])).arguments("--jwks jwks.json");
    let serve = setup.start();
    assert_eq!(serve.deliver(one.cef(1))["verdicts"]["valid"], 1);
    std::fs::write(serve.home().join("jwks.json"), jwks(&[&two])).unwrap();
    serve.signal(rustix::process::Signal::HUP);
    wait_for_keys(&serve, |n| two.cef(n));
    wait_for_all(&serve, "valid");
}

#[test]
fn an_input_can_have_its_own_keys() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let config = "
[keys]
jwks = 'one.json'
[[input]]
name = 'organization'
path = '/audit-logs'
authorization = 'x'
[[input]]
name = 'portal'
path = '/portal'
authorization = 'x'
[input.keys]
jwks = 'two.json'
";
    let mut serve = Setup::new()
        .file("one.json", jwks(&[&one]))
        .file("two.json", jwks(&[&two]))
        .config(config)
        .start();
    serve.authorization = "x".to_owned();
    for (path, valid, invalid) in [("/audit-logs", &one, &two), ("/portal", &two, &one)] {
        let n = path.len();
        let answer = serve.deliver_to(path, [valid.cef(n), invalid.cef(n)].join("\n"));
        let verdicts = &answer["verdicts"];
        assert_eq!((&verdicts["valid"], &verdicts["invalid"]), (&1.into(), &1.into()), "{path}");
    }
}

#[test]
fn a_source_that_fails_at_first_is_logged_once() {
    for source in ["nofile", "http://127.0.0.1:1/jwks.json"] {
        for format in ["text", "json"] {
            let arguments = format!("--jwks {source} --log-format {format}");
            let serve = Setup::new().arguments(&arguments).start();
            serve.wait_for_log("there are no keys, so nothing can be verified");
            let stderr = serve.stderr();
            assert_eq!(stderr.matches("nothing can be verified").count(), 1, "{stderr}");
            for wrong in ["the current keys", "Use --region", "use --region"] {
                assert!(!stderr.contains(wrong), "{wrong}: {stderr}");
            }
            if format == "text" {
                assert!(stderr.contains(&format!("keys are read from\n  {source}\n")), "{stderr}");
            }
        }
    }
}
