//! The life of a server, from the first run to the last answer.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use crate::console;
use crate::harness::http::head;
use crate::harness::{Serve, Setup, tool, wait_until};

#[test]
fn the_printed_command_delivers_a_first_entry() {
    let serve = Serve::start();
    let stderr = serve.stderr();
    let ready = stderr.lines().find(|line| line.starts_with("ready")).unwrap();
    assert!(ready.contains(&serve.receiver) && ready.contains(&serve.console), "{ready}");
    for hint in ["skip_ssl_verification", "loopback", "--no-tls", "--public-url", "no keys yet"] {
        assert!(stderr.contains(hint), "{hint}: {stderr}");
    }
    assert!(!stderr.contains(serve.authorization.split_once(' ').unwrap().1), "{stderr}");
    // A backslash at the end of a line continues the command.
    let mut curl = String::new();
    for line in stderr.lines().skip_while(|line| !line.trim().starts_with("curl ")) {
        curl += &format!("{line}\n");
        if !line.ends_with('\\') {
            break;
        }
    }
    if tool("curl").is_none() {
        return;
    }
    let output = Command::new("sh").args(["-c", &curl]).current_dir(serve.home()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let counts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&counts["stored"], &counts["verdicts"]["unsigned"]), (&1.into(), &1.into()));
    assert_eq!(serve.lines().len(), 1);
}

#[test]
fn a_second_run_continues_the_first() {
    let mut serve = Serve::start();
    let (value, certificate) = (serve.authorization.clone(), std::fs::read(serve.certificate()));
    serve.deliver("{\"n\":1}");
    for file in ["authorization", "tls.pem", "catalog.db", "lock"] {
        let mode = std::fs::metadata(serve.data().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    serve.stop();
    serve.restart();
    assert_eq!(serve.authorization, value);
    assert_eq!(std::fs::read(serve.certificate()).unwrap(), certificate.unwrap());
    assert_eq!(serve.deliver("{\"n\":1}\n{\"n\":2}")["stored"], 1);
    serve.kill();
    serve.restart();
    assert_eq!(serve.deliver("{\"n\":1}\n{\"n\":2}\n{\"n\":3}")["stored"], 1);
    let ids: Vec<_> = serve.stored().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn a_store_has_one_writer_and_a_port_one_listener() {
    let serve = Serve::start();
    let data = serve.data();
    let second = Setup::new().argument("--data-dir", data.to_str().unwrap());
    let (status, stderr) = second.fail();
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("vidimus-data"), "{stderr}");
    let taken = format!("--listen=127.0.0.1:{}", serve.port());
    let output = Command::new(env!("CARGO_BIN_EXE_vidimus"))
        .args(["serve", "--console=127.0.0.1:0", &taken])
        .current_dir(second.home())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("another program listens there"), "{stderr}");
    assert_eq!(serve.deliver("{}")["stored"], 1);
}

#[test]
fn the_console_reports_liveness_and_readiness() {
    let serve = Serve::start();
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/audit-logs", 404)] {
        assert_eq!(console::get(&serve, path).status, status, "{path}");
    }
}

#[test]
fn requests_in_flight_are_answered_before_the_server_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serve = Serve::start();
        let port = serve.port();
        let authorization = ("authorization", serve.authorization.as_str());
        let (mut idle, mut busy) = (serve.connect(), serve.connect());
        idle.request("GET", "/healthz", &[], b"");
        assert_eq!(idle.answer().status, 200);
        busy.send(head("POST", "/audit-logs", &[authorization, ("expect", "100-continue")], 15));
        // The server has started to read the body.
        assert_eq!(busy.answer().status, 100);
        busy.send("{\"n\":1");
        serve.signal(signal);
        assert!(idle.rest().is_empty());
        wait_until("no new connection", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
        });
        busy.send("}\n{\"n\"");
        busy.send(":2}");
        let answer = busy.answer();
        assert_eq!((answer.status, &answer.json()["stored"]), (200, &2.into()));
        assert!(busy.rest().is_empty());
        serve.wait_for_end();
        assert_eq!(serve.lines(), [b"{\"n\":1}", b"{\"n\":2}"]);
    }
}

#[test]
fn a_stalled_body_does_not_keep_the_server_from_ending() {
    let mut serve = Serve::start();
    let authorization = ("authorization", serve.authorization.as_str());
    let mut stalled = serve.connect();
    stalled.send(head("POST", "/audit-logs", &[authorization, ("expect", "100-continue")], 9));
    assert_eq!(stalled.answer().status, 100);
    stalled.send("{");
    serve.stop();
    assert!(stalled.try_answer().is_none());
    assert_eq!(serve.lines().len(), 0);
}
