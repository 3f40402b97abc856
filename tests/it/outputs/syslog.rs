//! Outputs to syslog receivers: to rsyslog, over TCP and TLS, and to some that are not well.

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::command::run;
use super::*;
use crate::harness::{Gives, KeyServer, Setup, Signer, jwks, tool, write_private};

/// rsyslogd in a directory of its own: what it receives is in files there.
struct Rsyslog {
    home: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Rsyslog {
    /// With plain TCP. `None` where there is no rsyslogd.
    fn tcp() -> Option<Rsyslog> {
        Rsyslog::start(tempfile::tempdir().unwrap(), "", "")
    }

    /// With TLS, and clients that show a certificate of the same CA as its own. `None` where its driver
    /// for OpenSSL is missing too.
    fn tls() -> Option<Rsyslog> {
        let home = tempfile::tempdir().unwrap();
        let drivers = fs::read_dir("/usr/lib").unwrap().flatten();
        let has_driver =
            drivers.map(|folder| folder.path()).any(|f| f.join("rsyslog/lmnsd_ossl.so").exists());
        if !has_driver {
            let strict = std::env::var_os("VIDIMUS_TESTS_STRICT").is_some();
            assert!(!strict, "rsyslog's driver for OpenSSL is missing");
            eprintln!("SKIPPED: rsyslog's driver for OpenSSL is missing on this machine");
            return None;
        }
        let ca = Ca::new("CA");
        fs::write(home.path().join("ca.pem"), ca.0.pem()).unwrap();
        ca.pair("localhost", &home.path().join("server"));
        ca.pair("client", &home.path().join("client"));
        Ca::new("another CA").pair("client", &home.path().join("stranger"));
        let file = |name: &str| home.path().join(name).display().to_string();
        let global = format!(
            "defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=\"{}\" \
             defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\"",
            file("ca.pem"),
            file("server.pem"),
            file("server.key"),
        );
        let module = "streamDriver.name=\"ossl\" streamDriver.mode=\"1\" \
                      streamDriver.authMode=\"x509/certvalid\"";
        Rsyslog::start(home, &global, module)
    }

    fn start(home: TempDir, global: &str, module: &str) -> Option<Rsyslog> {
        program()?;
        let config = |port: u16| {
            let home = home.path().display();
            format!(
                r#"global(workDirectory="{home}" maxMessageSize="2m"
                       parser.escapeControlCharactersOnReceive="off" {global})
                main_queue(queue.type="Direct")
                module(load="imtcp" maxFrameSize="2000000" {module})
                input(type="imtcp" address="127.0.0.1" port="{port}" listenPortFileName="{home}/port")
                template(name="line" type="string" string="%msg%\n")
                template(name="header" type="string" string="%syslogfacility-text% %syslogseverity-text% %timestamp:::date-rfc3339% %hostname% %app-name% %procid% %msgid% %structured-data%\n")
                action(type="omfile" file="{home}/lines" template="line")
                action(type="omfile" file="{home}/headers" template="header")
                "#
            )
        };
        fs::write(home.path().join("config"), config(0)).unwrap();
        let mut rsyslog = Rsyslog { home, port: 0, child: None };
        rsyslog.restart();
        // It comes back to where it was.
        let path = rsyslog.home.path().join("config");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("port=\"0\"", &format!("port=\"{}\"", rsyslog.port))).unwrap();
        Some(rsyslog)
    }

    /// Starts it again, where it was stopped, and waits until it listens.
    fn restart(&mut self) {
        self.stop();
        let home = self.home.path();
        let told = File::create(home.join("told")).unwrap();
        let child = program()
            .unwrap()
            .args(["-n", "-f", "config", "-i"])
            .arg(home.join("pid"))
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(told.try_clone().unwrap())
            .stderr(told)
            .spawn();
        self.child = Some(child.unwrap());
        // The port is written down only where it is a free one.
        if self.port == 0 {
            wait_until("rsyslogd's port", || {
                let port = fs::read_to_string(self.home.path().join("port"));
                self.port = port.ok().and_then(|port| port.parse().ok()).unwrap_or_default();
                self.port > 0
            });
        }
        wait_until("rsyslogd to listen", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Stops it as a service manager does.
    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        wait_until("the end of rsyslogd", || child.try_wait().unwrap().is_some());
    }

    /// The output of the configuration that sends to it.
    fn output(&self, keys: &str) -> String {
        output(self.port, keys)
    }

    /// The lines of what it wrote. While it writes, the last may be a part of one.
    fn written(&self, name: &str) -> Vec<Vec<u8>> {
        let text = fs::read(self.home.path().join(name)).unwrap_or_default();
        let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.pop();
        lines
    }

    /// Waits until it has these lines, and no others.
    fn wait_for(&self, expected: &[impl AsRef<[u8]>]) {
        wait_until("lines at rsyslog", || self.written("lines").len() >= expected.len());
        let written = self.written("lines");
        assert_eq!(written.len(), expected.len());
        for (written, expected) in written.iter().zip(expected) {
            let expected = expected.as_ref();
            assert!(written == expected, "{}\n{}", written.escape_ascii(), expected.escape_ascii());
        }
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let told = fs::read_to_string(self.home.path().join("told")).unwrap_or_default();
            eprintln!("---- rsyslogd:\n{told}");
        }
    }
}

/// rsyslogd, which is in nobody's path but root's.
fn program() -> Option<Command> {
    const PROGRAM: &str = "/usr/sbin/rsyslogd";
    if Path::new(PROGRAM).exists() { Some(Command::new(PROGRAM)) } else { tool("rsyslogd") }
}

/// A certificate authority.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A pair for `name`, in the files `path.pem` and `path.key`.
    fn pair(&self, name: &str, path: &Path) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(path.with_extension("pem"), certificate.pem()).unwrap();
        write_private(&path.with_extension("key"), key.serialize_pem().as_bytes());
    }
}

fn output(port: u16, keys: &str) -> String {
    format!("[[output]]\nname = 'siem'\ntype = 'syslog'\naddress = 'localhost:{port}'\n{keys}\n")
}

/// The keys of TLS, with what is in rsyslog's directory.
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
fn rsyslog_has_every_line_once_as_it_was_received_and_knows_the_rest() {
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
    // One of them in JSON too, somewhere.
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
fn rsyslog_has_every_line_once_over_tls_with_a_certificate_and_none_without() {
    let Some(rsyslog) = Rsyslog::tls() else { return };
    let mut serve = Setup::new().config(&rsyslog.output("")).start();
    serve.deliver(lines(0..2000).join("\n"));
    serve.wait_for_log("the output waits");
    wait_until("the error in the catalog", || run(&serve, "status").0 == Some(1));
    let expected =
        "UnknownIssuer; if the receiver is yours, give its certificate or its CA's as ca_file";
    let (_, status, _) = run(&serve, "status");
    assert!(status.contains(expected), "{status}");

    // What else may be wrong, and what to do about it.
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
        let (code, _, told) = run(&serve, "test siem --config config.toml");
        assert_eq!(code, Some(3), "{told}");
        assert!(told.contains(expected), "{told}\nexpected {expected}");
    }
    assert!(rsyslog.written("lines").is_empty());

    config(&tls_keys(&rsyslog, "client"));
    serve.signal(Signal::HUP);
    rsyslog.wait_for(&lines(0..2000));
    serve.deliver(lines(2000..4000).join("\n"));
    rsyslog.wait_for(&lines(0..4000));
    serve.stop();
    // What was confirmed does not come again.
    serve.restart();
    serve.deliver(lines(4000..4010).join("\n"));
    rsyslog.wait_for(&lines(0..4010));
    let header = String::from_utf8(rsyslog.written("headers").remove(0)).unwrap();
    assert!(header.starts_with("audit notice 2025-06-18T21:02:36.000Z "), "{header}");

    let (code, line, told) = run(&serve, "test siem --config config.toml");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(", TLS 1.3, "), "{told}");
    assert!(told.contains("it has read the message and closed the connection"), "{told}");
    rsyslog.wait_for(&[lines(0..4010), vec![line.trim_end().to_owned()]].concat());
}

#[test]
fn rsyslog_is_restarted_under_load_and_nothing_is_missing() {
    let Some(mut rsyslog) = Rsyslog::tcp() else { return };
    let mut serve = Setup::new().config(&rsyslog.output(TCP)).start();
    // It is known what rsyslog does, so much is sent before it is confirmed.
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
                    // It is away for a while.
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
    // What comes again begins somewhere before, and is in order.
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
    assert!(written.len() > sent, "nothing came again, so nothing was restarted under load");
}

/// A receiver that does with each connection as `act` says, until the tests end.
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

#[test]
fn what_a_receiver_resets_comes_again() {
    let (sender, received) = channel();
    let port = receiver(move |n, mut tcp| {
        if n == 0 {
            // Closed with something unread, it is reset.
            tcp.read_exact(&mut [0; 1000]).unwrap();
            drop(tcp);
            return sender.send(Vec::new()).unwrap();
        }
        let mut piece = vec![0; 1 << 20];
        while let Ok(read @ 1..) = tcp.read(&mut piece) {
            sender.send(piece[..read].to_vec()).unwrap();
        }
    });
    let mut serve = Setup::new().config(&output(port, TCP)).start();
    serve.deliver(lines(0..1000).join("\n"));
    assert!(received.recv().unwrap().is_empty());
    // So that it looks.
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
    let status = run(&serve, "status").1;
    assert!(status.contains(" 0 behind, 1001 written"), "{status}");
}

#[test]
fn a_receiver_that_is_slow_at_first_costs_nothing() {
    let ((holder, held), (sender, received)) = (channel(), channel());
    let port = receiver(move |n, mut tcp| {
        if n == 0 {
            return holder.send(tcp).unwrap();
        }
        let mut piece = vec![0; 1 << 20];
        while let Ok(read @ 1..) = tcp.read(&mut piece) {
            sender.send(piece[..read].to_vec()).unwrap();
        }
    });
    let mut serve = Setup::new().config(&output(port, TCP)).start();
    serve.deliver(lines(0..1000).join("\n"));
    serve.wait_for_log("so it is not known whether it read; trying again (1 of 3)");
    drop(held.recv().unwrap());
    // So that it does not wait any longer.
    serve.signal(Signal::HUP);
    let mut text = Vec::new();
    wait_until("the last line", || {
        text.extend(received.try_iter().flatten());
        text.ends_with(cef(999).as_bytes())
    });
    serve.stop();
    let text = String::from_utf8(text).unwrap();
    assert!((0..1000).all(|n| text.contains(&cef(n))));
    let status = run(&serve, "status").1;
    assert!(status.contains(" 0 behind, 1000 written"), "{status}");
}

#[test]
fn a_message_whose_verdict_changes_is_sent_again_with_the_new_one() {
    let (sender, received) = channel();
    let port = receiver(move |_, mut tcp| {
        let mut piece = vec![0; 1 << 20];
        while let Ok(read @ 1..) = tcp.read(&mut piece) {
            sender.send(piece[..read].to_vec()).unwrap();
        }
    });
    let signer = Signer::new("k1");
    let source = KeyServer::start(Gives::Nothing);
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
    source.give_set(jwks(&[&signer]));
    wait_for("input=\"default\" verdict=\"valid\" kid=\"k1\" ");
    serve.stop();
    assert_eq!(String::from_utf8(text).unwrap().matches(" id=\"1\" ").count(), 2);
}

#[test]
fn a_receiver_that_reads_nothing_holds_up_its_output_alone() {
    let (sender, held) = channel();
    let port = receiver(move |_, tcp| sender.send(tcp).unwrap());
    let config = output(port, &format!("{TCP}timeout = '1s'"))
        + &file_output("siem.log", "format = 'raw'").replace("siem'", "file'");
    let mut serve = Setup::new().config(&config).start();
    let long = |n: usize| format!("{{\"n\":{n},\"x\":\"{}\"}}", "y".repeat(900_000));
    let sent: Vec<_> = (0..40).map(long).collect();
    sent.iter().for_each(|line| drop(serve.deliver(line)));
    wait_for_lines(&serve, "siem.log", &sent);
    // What it says depends on how much the system takes for the receiver.
    serve.wait_for_log("the output waits output=\"siem\" error=localhost:");
    assert_eq!(serve.stored().len(), 40);
    serve.stop();
    assert!(held.try_iter().count() > 0);
}
