//! An endpoint that gives credentials which end within seconds, as containers get them
//! (`AWS_CONTAINER_CREDENTIALS_FULL_URI`).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::object_store::{TOKEN, now};
use super::write_private;

/// What the endpoint requires.
const AUTHORIZATION: &str = "a token of this machine";

/// An endpoint that listens until the test process ends.
pub(crate) struct SessionTokens {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    lifetime: Duration,
    asked: AtomicUsize,
    is_down: AtomicBool,
}

impl SessionTokens {
    /// Gives credentials that end after `lifetime`.
    pub(crate) fn start(lifetime: Duration) -> SessionTokens {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, is_down) = Default::default();
        let shared = Arc::new(Shared { lifetime, asked, is_down });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || answer(tcp.unwrap(), &shared));
            }
        });
        SessionTokens { port, shared }
    }

    /// The environment of a program that gets its credentials here. Writes the file with the
    /// authorization into `folder`.
    pub(crate) fn environment(&self, folder: &Path, endpoint: &str) -> Vec<(String, String)> {
        let file = folder.join("container-authorization");
        write_private(&file, AUTHORIZATION.as_bytes());
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                format!("http://127.0.0.1:{}/credentials", self.port),
            ),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.display().to_string()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// How often credentials were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Whether the endpoint answers 500 from now on.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::SeqCst);
    }
}

fn answer(mut tcp: TcpStream, shared: &Shared) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let end = now() + i64::try_from(shared.lifetime.as_millis()).unwrap();
    let credentials = json!({
        "AccessKeyId": "test",
        "SecretAccessKey": "test",
        "Token": format!("{TOKEN}{end}"),
        "Expiration": Timestamp::from_millisecond(end).unwrap().to_string(),
    });
    let (status, body) = match head.contains(&format!("authorization: {AUTHORIZATION}\r\n")) {
        _ if shared.is_down.load(Ordering::SeqCst) => (500, String::new()),
        true => (200, credentials.to_string()),
        false => (401, String::new()),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    // The client may disconnect early.
    let _ = tcp.write_all(answer.as_bytes());
}
