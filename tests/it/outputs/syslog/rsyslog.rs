//! A real rsyslogd in its own directory, and certificates for both ends.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::output;
use crate::harness::{tool, wait_until, write_private};

/// A running rsyslogd that writes the received lines to files in its directory.
pub(super) struct Rsyslog {
    pub(super) home: TempDir,
    pub(super) port: u16,
    child: Option<Child>,
}

impl Rsyslog {
    /// Starts rsyslogd with plain TCP. Returns `None` if rsyslogd is missing.
    pub(super) fn tcp() -> Option<Rsyslog> {
        Rsyslog::start(tempfile::tempdir().unwrap(), "", "")
    }

    /// Starts rsyslogd with TLS and client certificates of its own CA. Returns `None` if rsyslogd
    /// or its OpenSSL driver is missing.
    pub(super) fn tls() -> Option<Rsyslog> {
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
        // A restart uses the same port.
        let path = rsyslog.home.path().join("config");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("port=\"0\"", &format!("port=\"{}\"", rsyslog.port))).unwrap();
        Some(rsyslog)
    }

    /// Restarts rsyslogd and waits until it listens.
    pub(super) fn restart(&mut self) {
        self.stop();
        let home = self.home.path();
        let log = File::create(home.join("log")).unwrap();
        let child = program()
            .unwrap()
            .args(["-n", "-f", "config", "-i"])
            .arg(home.join("pid"))
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        // rsyslogd writes the port to a file only if it chose the port.
        if self.port == 0 {
            wait_until("rsyslogd's port", || {
                let port = fs::read_to_string(self.home.path().join("port"));
                self.port = port.ok().and_then(|port| port.parse().ok()).unwrap_or_default();
                self.port > 0
            });
        }
        wait_until("rsyslogd to listen", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Stops rsyslogd with SIGTERM.
    pub(super) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        wait_until("the end of rsyslogd", || child.try_wait().unwrap().is_some());
    }

    /// The configuration of an output to this rsyslogd.
    pub(super) fn output(&self, keys: &str) -> String {
        output(self.port, keys)
    }

    /// The complete lines of a file of rsyslogd.
    pub(super) fn written(&self, name: &str) -> Vec<Vec<u8>> {
        let text = fs::read(self.home.path().join(name)).unwrap_or_default();
        let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.pop();
        lines
    }

    /// Waits until rsyslogd has exactly these lines.
    pub(super) fn wait_for(&self, expected: &[impl AsRef<[u8]>]) {
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
            let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            eprintln!("---- rsyslogd:\n{log}");
        }
    }
}

/// rsyslogd, which is usually in the path of root only.
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

    /// Writes a certificate and a key for `name` to `path.pem` and `path.key`.
    fn pair(&self, name: &str, path: &Path) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(path.with_extension("pem"), certificate.pem()).unwrap();
        write_private(&path.with_extension("key"), key.serialize_pem().as_bytes());
    }
}
