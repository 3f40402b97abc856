//! What stands between the programs: a proxy that leads every name to one port, and a gateway that
//! chooses a port by the path.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

/// A proxy for HTTPS (`CONNECT`, RFC 9110 section 9.3.6). It connects every name to one port of this
/// machine, until the test process ends.
pub(super) struct Tunnel {
    port: u16,
    names: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    pub(super) fn to(target: u16) -> Tunnel {
        let names = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&names);
        let port = serve(move |mut client| {
            let head = head(&mut client)?;
            let mut words = head.split(' ');
            let (method, name) = (words.next(), words.next().unwrap_or_default());
            assert_eq!(method, Some("CONNECT"), "{head}");
            log.lock().unwrap().push(name.to_owned());
            let mut server = TcpStream::connect(("127.0.0.1", target))?;
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
            spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            io::copy(&mut server, &mut client)?;
            client.shutdown(Shutdown::Write)
        });
        Tunnel { port, names }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The names and ports that it was asked for.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

/// A path prefix, what to replace it with, and the port.
pub(super) type Route = (&'static str, &'static str, u16);

/// A gateway that sends each request to the port of the first route with its prefix, until the test
/// process ends.
pub(super) struct Gateway {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    pub(super) fn with(routes: Vec<Route>) -> Gateway {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let port = serve(move |mut client| {
            let head = head(&mut client)?;
            let (line, headers) = head.split_once("\r\n").unwrap_or_default();
            let (method, rest) = line.split_once(' ').unwrap_or_default();
            let route = routes.iter().find(|(prefix, ..)| rest.starts_with(prefix));
            let (prefix, instead, port) = route.unwrap_or_else(|| panic!("no route: {line}"));
            log.lock().unwrap().push(line.to_owned());
            let mut server = TcpStream::connect(("127.0.0.1", *port))?;
            let rest = rest.strip_prefix(prefix).unwrap_or(rest);
            let line = format!("{method} {instead}{rest}\r\nconnection: close\r\n");
            server.write_all((line + headers).as_bytes())?;
            io::copy(&mut body(headers, &mut client), &mut server)?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer)?;
            client.write_all(&answer)?;
            client.shutdown(Shutdown::Write)
        });
        Gateway { port, requests }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The first lines of the requests.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Handles each connection in its own thread. Returns the port.
fn serve(handle: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    spawn(move || {
        for client in listener.incoming() {
            let handle = Arc::clone(&handle);
            // A side may disconnect.
            spawn(move || drop(handle(client.unwrap())));
        }
    });
    port
}

/// Reads the head of a request, up to and with the empty line.
fn head(client: &mut TcpStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// The body of a request with these headers.
fn body<'a>(headers: &str, client: &'a mut TcpStream) -> io::Take<&'a mut TcpStream> {
    let lower = headers.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    client.take(length.map_or(0, |length| length.parse().unwrap()))
}
