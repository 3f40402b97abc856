//! A server of key sets on the loopback address that does what a test wants of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use super::wait_until;

/// What a request is answered with.
pub(crate) enum Gives {
    /// 200 with this body.
    Body(Vec<u8>),
    /// Another status.
    Status(u16),
    /// A redirection.
    Redirect(String),
    /// Nothing: the connection is closed.
    Nothing,
    /// Nothing as long as this is so.
    Silence,
}

#[derive(Default)]
struct State {
    gives: Option<Gives>,
    requests: usize,
    waiting: Vec<TcpStream>,
}

/// A server that runs until the tests end.
pub(crate) struct KeyServer {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl KeyServer {
    /// Starts one.
    pub(crate) fn start(gives: Gives) -> KeyServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { gives: Some(gives), ..State::default() }));
        let shared = state.clone();
        spawn(move || {
            for tcp in listener.incoming() {
                let state = shared.clone();
                spawn(move || answer(tcp.unwrap(), &state));
            }
        });
        KeyServer { port, state }
    }

    /// Where the key set is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/jwks.json", self.port)
    }

    /// Changes what it gives.
    pub(crate) fn give(&self, gives: Gives) {
        let mut state = self.state.lock().unwrap();
        state.gives = Some(gives);
        state.waiting.clear();
    }

    /// Changes it to this key set.
    pub(crate) fn give_set(&self, set: String) {
        self.give(Gives::Body(set.into_bytes()));
    }

    /// How many requests there were.
    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// Waits until there was another request than those so far.
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
    let (status, header, body) = match state.gives.as_ref().unwrap() {
        Gives::Body(body) => (200, String::new(), body.clone()),
        Gives::Status(status) => (*status, String::new(), b"oh".to_vec()),
        Gives::Redirect(to) => (302, format!("location: {to}\r\n"), Vec::new()),
        Gives::Nothing => return,
        Gives::Silence => return state.waiting.push(tcp),
    };
    drop(state);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\n{header}connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    // A client that has seen enough leaves.
    let _ = tcp.write_all(head.as_bytes()).and_then(|()| tcp.write_all(&body));
}
