//! The S3 server of PyPI's `moto`, which is not the project's own.
//!
//! It looks whether a key is free and writes the object in two steps, without a lock. So of two creates
//! that race both may win, though seldom. It shows that the program speaks S3, and not that the
//! journal is sound: for that there is [`super::ObjectStore`].

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::RawConnection;
use super::object_store::BUCKET;

/// A running server with an empty bucket. Dropping it kills the process.
pub(crate) struct Moto {
    child: Child,
    pub(crate) port: u16,
}

impl Moto {
    /// Starts the server that `.ci/run` installs in `target/python`. If it is missing, prints so and
    /// returns `None`, or panics in strict mode.
    pub(crate) fn start() -> Option<Moto> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/moto_server");
        if !fs::exists(&program).unwrap() {
            assert!(
                std::env::var_os("VIDIMUS_TESTS_STRICT").is_none(),
                "{} is missing, and VIDIMUS_TESTS_STRICT is set",
                program.display()
            );
            eprintln!("SKIPPED: {} is missing", program.display());
            return None;
        }
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, rest) = line.split_once("Running on http://127.0.0.1:")?;
            rest.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
        });
        // Discards further output, so that the pipe does not fill.
        std::thread::spawn(move || lines.for_each(drop));
        let moto = Moto { child, port: port.expect("the server says its port") };
        let mut connection = RawConnection::plain(moto.port);
        let headers = [("authorization", AUTHORIZATION)];
        connection.request("PUT", &format!("/{BUCKET}"), &headers, b"");
        assert_eq!(connection.answer().status, 200);
        Some(moto)
    }

    /// Sends a signal to the process, for example to stop it and to let it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

/// An `Authorization` that looks like a signed one.
pub(crate) const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/\
                                        aws4_request, SignedHeaders=host, Signature=00";

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
