//! An HTTP server for key sets whose answers a test chooses.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use super::wait_until;

/// The answer to a request.
pub(crate) enum KeyReply {
    /// 200 with this body.
    Body(Vec<u8>),
    /// Another status, with a short body.
    Status(u16),
    /// A 302 to this URL.
    Redirect(String),
    /// The end of the connection, without an answer.
    Close,
    /// No answer until the next change.
    Hang,
}

#[derive(Default)]
struct State {
    reply: Option<KeyReply>,
    requests: usize,
    waiting: Vec<TcpStream>,
}

/// A server that listens until the test process ends.
pub(crate) struct KeyServer {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl KeyServer {
    pub(crate) fn start(reply: KeyReply) -> KeyServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { reply: Some(reply), ..State::default() }));
        let shared = state.clone();
        spawn(move || {
            for tcp in listener.incoming() {
                let state = shared.clone();
                spawn(move || answer(tcp.unwrap(), &state));
            }
        });
        KeyServer { port, state }
    }

    /// The URL of the key set.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/jwks.json", self.port)
    }

    /// Changes the answer.
    pub(crate) fn set_reply(&self, reply: KeyReply) {
        let mut state = self.state.lock().unwrap();
        state.reply = Some(reply);
        state.waiting.clear();
    }

    /// Changes the answer to this key set.
    pub(crate) fn set_keys(&self, set: String) {
        self.set_reply(KeyReply::Body(set.into_bytes()));
    }

    /// The number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// Waits for another request.
    pub(crate) fn wait_for_request(&self) {
        let before = self.requests();
        wait_until("a request for the key set", || self.requests() > before);
    }
}

fn answer(mut tcp: TcpStream, state: &Mutex<State>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let mut state = state.lock().unwrap();
    state.requests += 1;
    let (status, header, body) = match state.reply.as_ref().unwrap() {
        KeyReply::Body(body) => (200, String::new(), body.clone()),
        KeyReply::Status(status) => (*status, String::new(), b"oh".to_vec()),
        KeyReply::Redirect(to) => (302, format!("location: {to}\r\n"), Vec::new()),
        KeyReply::Close => return,
        KeyReply::Hang => return state.waiting.push(tcp),
    };
    drop(state);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\n{header}connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    // The client may disconnect early.
    let _ = tcp.write_all(head.as_bytes()).and_then(|()| tcp.write_all(&body));
}
