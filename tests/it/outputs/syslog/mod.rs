//! Outputs to syslog receivers: rsyslog over TCP and TLS, and receivers that fail.

mod rsyslog;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};

use rustix::process::Signal;

use self::rsyslog::Rsyslog;
use super::command::{run, status};
use super::*;
use crate::harness::{KeyReply, KeyServer, Setup, Signer, jwks, write_private};

fn output(port: u16, keys: &str) -> String {
    format!("[[output]]\nname = 'siem'\ntype = 'syslog'\naddress = 'localhost:{port}'\n{keys}\n")
}

/// The TLS keys of an output, with files of the directory of rsyslog.
fn tls_keys(rsyslog: &Rsyslog, pair: &str) -> String {
    let file = |name: &str| rsyslog.home.path().join(name).display().to_string();
    let ca = format!("ca_file = '{}'\n", file("ca.pem"));
    match pair {
        "" => ca,
        pair => {
            let (cert, key) = (file(&format!("{pair}.pem")), file(&format!("{pair}.key")));
            format!("{ca}cert_file = '{cert}'\nkey_file = '{key}'\n")
        }
    }
}

const TCP: &str = "transport = 'tcp'\n";

#[test]
fn rsyslog_gets_every_line_once_and_unchanged_with_its_verdict() {
    let Some(rsyslog) = Rsyslog::tcp() else { return };
    let signer = Signer::new("k1");
    let config = rsyslog.output(&format!("{TCP}hostname = 'here'\nfacility = 'local3'"))
        + &rsyslog
            .output(&format!("{TCP}format = 'json'\nfilter = 'trace_id:7'"))
            .replace("siem", "json");
    let setup = Setup::new().file("jwks.json", jwks(&[&signer])).arguments("--jwks jwks.json");
    let mut serve = setup.config(&config).start();
    let org_id = r#"a\"]b c\\"#;
    let hostile: Vec<Vec<u8>> = vec![
        b"no entry at all, caf\xe9 \x01\x1b[31m \t end ".to_vec(),
        format!("{{\"name\":\"Ingress\",\"rt\":5,\"org_id\":\"{org_id}\"}}").into_bytes(),
        format!("CEF:0|KongInc|Konnect|1.0|a|Ingress|1|msg={}", "long ".repeat(100_000))
            .into_bytes(),
    ];
    let mut sent: Vec<Vec<u8>> = lines(0..500).into_iter().map(String::into_bytes).collect();
    sent.push(signer.cef(1000).into_bytes());
    sent.push(signer.cef(1001).replace("act=POST", "act=GET").into_bytes());
    sent.extend(hostile);
    serve.deliver(sent.join(&b'\n'));
    // The rsyslog file has one more line, in JSON.
    wait_until("all lines at rsyslog", || rsyslog.written("lines").len() > sent.len());
    serve.stop();

    let (mut written, mut headers) = (rsyslog.written("lines"), rsyslog.written("headers"));
    let json = written.iter().position(|line| line.starts_with(b"{\"id\":")).unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&written.remove(json)).unwrap();
    headers.remove(json);
    assert_eq!((&entry["id"], &entry["raw"]), (&8.into(), &cef(7).into()));
    assert_eq!(written.len(), sent.len());
    assert!(written == sent, "not byte for byte, or in another order");

    let stored = serve.stored();
    let header = |at: usize| String::from_utf8(headers[at].clone()).unwrap();
    let check = |at: usize, before: &str, after: &str| {
        let header = header(at);
        let (start, rest) = header.split_once(" received_at=\"").unwrap();
        assert_eq!(start, format!("{before} [vidimus@32473 id=\"{}\"", at + 1), "{header}");
        assert_eq!(rest.split_once("Z\" ").unwrap().1, after, "{header}");
    };
    let rest = "org_id=\"b065b594-6afc-4658-9101-5d9cf3f36b7b\"]";
    let all = |severity: &str, time: &str| format!("local3 {severity} {time} here vidimus -");
    check(
        3,
        &format!("{} access", all("notice", "2025-06-18T21:02:36.003Z")),
        &format!("input=\"default\" verdict=\"unsigned\" {rest}"),
    );
    check(
        500,
        &format!("{} access", all("notice", "2025-06-18T21:02:37.000Z")),
        &format!("input=\"default\" verdict=\"valid\" kid=\"k1\" {rest}"),
    );
    let reason = stored[501].reason.as_deref().unwrap();
    check(
        501,
        &format!("{} access", all("warning", "2025-06-18T21:02:37.001Z")),
        &format!("input=\"default\" verdict=\"invalid\" reason=\"{reason}\" {rest}"),
    );
    let malformed = header(502);
    assert!(malformed.starts_with("local3 warning 20"), "{malformed}");
    assert!(malformed.contains(" here vidimus - - ["), "{malformed}");
    let escaped = r#"org_id="a\"\]b c\\"]"#;
    check(
        503,
        &format!("{} access", all("notice", "1970-01-01T00:00:00.005Z")),
        &format!("input=\"default\" verdict=\"unsigned\" {escaped}"),
    );
}

#[test]
fn rsyslog_gets_lines_over_tls_only_with_a_client_certificate() {
    let Some(rsyslog) = Rsyslog::tls() else { return };
    let mut serve = Setup::new().config(&rsyslog.output("")).start();
    serve.deliver(lines(0..2000).join("\n"));
    serve.wait_for_log("the output waits");
    wait_until("the error in the catalog", || run(&serve, "status").0 == Some(1));
    let expected =
        "UnknownIssuer; if the receiver is yours, give its certificate or its CA's as ca_file";
    let (_, status, _) = run(&serve, "status");
    assert!(status.contains(expected), "{status}");

    // Other errors, and their advice.
    let config = |keys: &str| {
        write_private(&serve.home().join("config.toml"), rsyslog.output(keys).as_bytes());
    };
    for (keys, expected) in [
        ("", expected),
        (
            &format!("{}server_name = 'siem.example.com'", tls_keys(&rsyslog, "client")),
            "use a name that is in the certificate as the address's host, or as server_name",
        ),
        (&tls_keys(&rsyslog, ""), "asks for a certificate: give cert_file and key_file"),
        (&tls_keys(&rsyslog, "stranger"), "does not take the certificate in cert_file"),
        (&tls_keys(&rsyslog, "nobody"), "nobody.pem: No such file or directory"),
    ] {
        config(keys);
        let (code, _, stderr) = run(&serve, "test siem --config config.toml");
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}\nexpected {expected}");
    }
    assert!(rsyslog.written("lines").is_empty());

    config(&tls_keys(&rsyslog, "client"));
    serve.signal(Signal::HUP);
    rsyslog.wait_for(&lines(0..2000));
    serve.deliver(lines(2000..4000).join("\n"));
    rsyslog.wait_for(&lines(0..4000));
    serve.stop();
    // Confirmed lines are not sent again.
    serve.restart();
    serve.deliver(lines(4000..4010).join("\n"));
    rsyslog.wait_for(&lines(0..4010));
    let header = String::from_utf8(rsyslog.written("headers").remove(0)).unwrap();
    assert!(header.starts_with("audit notice 2025-06-18T21:02:36.000Z "), "{header}");

    let (code, line, stderr) = run(&serve, "test siem --config config.toml");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(", TLS 1.3, "), "{stderr}");
    assert!(stderr.contains("it has read the message and closed the connection"), "{stderr}");
    rsyslog.wait_for(&[lines(0..4010), vec![line.trim_end().to_owned()]].concat());
}

#[test]
fn nothing_is_missing_after_rsyslog_restarts_under_load() {
    let Some(mut rsyslog) = Rsyslog::tcp() else { return };
    let mut serve = Setup::new().config(&rsyslog.output(TCP)).start();
    // The output already knows how rsyslog closes connections, so it sends much before it asks for
    // a confirmation.
    serve.deliver(cef(0));
    rsyslog.wait_for(&lines(0..1));
    serve.stop();
    serve.restart();
    let mut sent = 1;
    for round in 0..2 {
        let there = rsyslog.written("lines").len();
        std::thread::scope(|scope| {
            let rsyslog = &mut rsyslog;
            scope.spawn(move || {
                wait_until("lines at rsyslog", || rsyslog.written("lines").len() > there + 300);
                match round {
                    0 => rsyslog.restart(),
                    // rsyslog is down for a while.
                    _ => rsyslog.stop(),
                }
            });
            for _ in 0..20 {
                serve.deliver(lines(sent..sent + 200).join("\n"));
                sent += 200;
            }
        });
        if round > 0 {
            serve.wait_for_log("Connection refused");
            rsyslog.restart();
        }
        let last = cef(sent - 1).into_bytes();
        wait_until("the last line", || rsyslog.written("lines").last() == Some(&last));
    }
    serve.stop();
    let expected: Vec<_> = lines(0..sent).into_iter().map(String::into_bytes).collect();
    let written = rsyslog.written("lines");
    // Repeated lines start at an earlier line, and are in order.
    let number = |line: &Vec<u8>| expected.iter().position(|one| one == line).unwrap();
    let mut next = 0;
    for line in &written {
        if expected.get(next) != Some(line) {
            let again = number(line);
            assert!(again < next, "{next} to {again} are missing");
            next = again;
        }
        next += 1;
    }
    assert_eq!(next, sent);
    assert!(written.len() > sent, "no line was repeated, so rsyslog did not restart under load");
}

/// A receiver that handles each connection with `act` until the test process ends. Returns its
/// port.
fn receiver(act: impl Fn(usize, TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (n, tcp) in listener.incoming().enumerate() {
            act(n, tcp.unwrap());
        }
    });
    port
}

/// Sends everything that is read from a connection to `sender`.
fn forward(mut tcp: TcpStream, sender: &Sender<Vec<u8>>) {
    let mut piece = vec![0; 1 << 20];
    while let Ok(read @ 1..) = tcp.read(&mut piece) {
        sender.send(piece[..read].to_vec()).unwrap();
    }
}

#[test]
fn lines_are_sent_again_after_a_connection_reset() {
    let (sender, received) = channel();
    let port = receiver(move |n, mut tcp| {
        if n == 0 {
            // Closing a connection with unread bytes resets it.
            tcp.read_exact(&mut [0; 1000]).unwrap();
            drop(tcp);
            return sender.send(Vec::new()).unwrap();
        }
        forward(tcp, &sender);
    });
    let mut serve = Setup::new().config(&output(port, TCP)).start();
    serve.deliver(lines(0..1000).join("\n"));
    assert!(received.recv().unwrap().is_empty());
    // Another line makes the output notice the reset.
    serve.deliver(cef(1000));
    serve.wait_for_log("the output waits");
    let mut text = Vec::new();
    wait_until("the last line", || {
        text.extend(received.try_iter().flatten());
        text.ends_with(cef(1000).as_bytes())
    });
    serve.stop();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("CEF:0|").count(), 1001);
    assert!((0..=1000).all(|n| text.contains(&cef(n))));
    let status = status(&serve);
    assert_eq!((&status["behind"], &status["written"]), (&0.into(), &1001.into()), "{status}");
}

#[test]
fn a_receiver_that_is_slow_at_first_gets_every_line() {
    let ((holder, held), (sender, received)) = (channel(), channel());
    let port = receiver(move |n, tcp| {
        if n == 0 {
            return holder.send(tcp).unwrap();
        }
        forward(tcp, &sender);
    });
    let mut serve = Setup::new().config(&output(port, TCP)).start();
    serve.deliver(lines(0..1000).join("\n"));
    serve.wait_for_log("so it is not known whether it read; trying again (1 of 3)");
    drop(held.recv().unwrap());
    // Ends the wait of the output.
    serve.signal(Signal::HUP);
    let mut text = Vec::new();
    wait_until("the last line", || {
        text.extend(received.try_iter().flatten());
        text.ends_with(cef(999).as_bytes())
    });
    serve.stop();
    let text = String::from_utf8(text).unwrap();
    assert!((0..1000).all(|n| text.contains(&cef(n))));
    let status = status(&serve);
    assert_eq!((&status["behind"], &status["written"]), (&0.into(), &1000.into()), "{status}");
}

#[test]
fn a_message_is_sent_again_with_its_new_verdict() {
    let (sender, received) = channel();
    let port = receiver(move |_, tcp| {
        forward(tcp, &sender);
    });
    let signer = Signer::new("k1");
    let source = KeyServer::start(KeyReply::Close);
    let keys = format!("[keys]\njwks = '{}'\nrefresh = '1s'\n", source.url());
    let mut serve = Setup::new().config(&(keys + &output(port, TCP))).start();
    serve.deliver(signer.cef(1));
    let mut text = Vec::new();
    let mut wait_for = |parameters: &str| {
        let (line, message) = (signer.cef(1), parameters.to_owned());
        wait_until(parameters, || {
            text.extend(received.try_iter().flatten());
            let text = String::from_utf8_lossy(&text);
            text.contains(&message) && text.ends_with(&line)
        });
    };
    wait_for("input=\"default\" verdict=\"no_key\" ");
    source.set_keys(jwks(&[&signer]));
    wait_for("input=\"default\" verdict=\"valid\" kid=\"k1\" ");
    serve.stop();
    assert_eq!(String::from_utf8(text).unwrap().matches(" id=\"1\" ").count(), 2);
}

#[test]
fn a_receiver_that_reads_nothing_blocks_only_its_output() {
    let (sender, held) = channel();
    let port = receiver(move |_, tcp| sender.send(tcp).unwrap());
    let config = output(port, &format!("{TCP}timeout = '1s'"))
        + &file_output("siem.log", "format = 'raw'").replace("siem'", "file'");
    let mut serve = Setup::new().config(&config).start();
    let long = |n: usize| format!("{{\"n\":{n},\"x\":\"{}\"}}", "y".repeat(900_000));
    let sent: Vec<_> = (0..40).map(long).collect();
    sent.iter().for_each(|line| drop(serve.deliver(line)));
    wait_for_lines(&serve, "siem.log", &sent);
    // The rest of the message depends on how much the system buffers for the receiver.
    serve.wait_for_log("the output waits output=\"siem\" error=localhost:");
    assert_eq!(serve.stored().len(), 40);
    serve.stop();
    assert!(held.try_iter().count() > 0);
}
