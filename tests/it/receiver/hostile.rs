//! Hostile clients, and clients that disconnect.

use crate::harness::http::head;
use crate::harness::{RawConnection, Serve, Setup, gzip, stored, wait_until};

fn authorization(serve: &Serve) -> (&'static str, &str) {
    ("authorization", serve.authorization.as_str())
}

fn refused(serve: &mut Serve) -> Vec<String> {
    serve.stop();
    stored::refused(&serve.data()).into_iter().map(|one| one.reason).collect()
}

#[test]
fn a_body_that_never_comes_times_out() {
    let serve = Setup::new().config("[receiver]\nbody_timeout = '200ms'\n").start();
    for sent in ["", "{\"a\":1}"] {
        let mut connection = serve.connect();
        connection.send(head("POST", "/audit-logs", &[authorization(&serve)], 1000) + sent);
        // The connection is closed without a 408, because Konnect would not retry after a 408.
        assert!(connection.try_answer().is_none());
    }
    serve.wait_for_log("the body did not arrive");
    assert_eq!(serve.lines().len(), 0);
    assert_eq!(serve.deliver("{}")["stored"], 1);
}

#[test]
fn endless_headers_and_missing_handshakes_time_out() {
    let config = "[receiver]\nheader_timeout = '200ms'\nhandshake_timeout = '200ms'\n";
    let mut serve = Setup::new().config(config).start();
    let mut connection = serve.connect();
    connection.send("POST /audit-logs HTTP/1.1\r\nhost: x\r\nx-one: ");
    assert!(connection.try_answer().is_none());
    for bytes in [&b""[..], &[22, 3, 1, 1, 0]] {
        let mut silent = RawConnection::plain(serve.port());
        silent.send(bytes);
        assert!(silent.rest().is_empty());
    }
    let refused = refused(&mut serve);
    for (reason, count) in
        [("no complete request header", 1), ("its TLS handshake did not finish", 2)]
    {
        let found = refused.iter().filter(|found| found.contains(reason)).count();
        assert_eq!(found, count, "{reason}: {refused:?}");
    }
}

#[test]
fn headers_over_the_cap_are_refused() {
    let mut serve = Serve::start();
    let mut connection = serve.connect();
    let endless = format!("x: {}\r\n", "y".repeat(1000)).repeat(99);
    connection.send(format!("POST /audit-logs HTTP/1.1\r\nhost: x\r\n{endless}"));
    assert!(connection.rest().starts_with(b"HTTP/1.1 431 "));
    drop(connection);
    let refused = refused(&mut serve);
    assert!(refused.iter().any(|reason| reason.contains("a bad request header")), "{refused:?}");
}

#[test]
fn connections_per_address_are_capped() {
    let config = "[receiver]\nmax_connections_per_address = 2\n";
    let mut serve = Setup::new().config(config).arguments("--no-tls").start();
    let ask = |connection: &mut RawConnection| {
        connection.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
        connection.try_answer().map(|answer| answer.status)
    };
    let (mut one, mut two) = (serve.connect(), serve.connect());
    assert_eq!((ask(&mut one), ask(&mut two)), (Some(200), Some(200)));
    assert_eq!(ask(&mut serve.connect()), None);
    assert_eq!(ask(&mut one), Some(200));
    drop(two);
    wait_until("room for another", || ask(&mut serve.connect()).is_some());
    drop(one);
    assert!(refused(&mut serve).iter().any(|reason| reason.contains("2 connections from its")));
}

#[test]
fn idle_connections_make_way_for_new_ones() {
    let config = "[receiver]\nmax_connections = 32\n";
    let serve = Setup::new().config(config).start();
    for port in [serve.port(), console_port(&serve)] {
        let mut idle: Vec<_> = (0..100).map(|_| RawConnection::plain(port)).collect();
        // The oldest idle connections were closed.
        assert!(idle[0].rest().is_empty());
        drop(idle);
    }
    let idle: Vec<_> = (0..100).map(|_| RawConnection::plain(serve.port())).collect();
    assert_eq!(serve.deliver("{\"a\":1}")["stored"], 1);
    // A connection that has delivered stays open, however many others are opened.
    let mut delivering = serve.connect();
    let deliver = |connection: &mut RawConnection, body: &str| {
        connection.request("POST", "/audit-logs", &[authorization(&serve)], body.as_bytes());
        connection.answer().status
    };
    assert_eq!(deliver(&mut delivering, "{\"a\":2}"), 200);
    let more: Vec<_> = (0..100).map(|_| RawConnection::plain(serve.port())).collect();
    assert_eq!(deliver(&mut delivering, "{\"a\":3}"), 200);
    drop((idle, more));
}

#[test]
fn receiver_and_console_share_few_file_descriptors() {
    let serve = Setup::new().open_files(128).start();
    let floods: Vec<_> = (0..300).map(|_| RawConnection::plain(serve.port())).collect();
    let looks: Vec<_> = (0..100).map(|_| RawConnection::plain(console_port(&serve))).collect();
    for n in 0..5 {
        assert_eq!(serve.deliver(format!("{{\"n\":{n}}}"))["stored"], 1);
    }
    let mut console = RawConnection::plain(console_port(&serve));
    console.send("GET /api/v1/entries HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(console.answer().status, 421);
    assert_eq!(serve.lines().len(), 5);
    drop((floods, looks));
    let log = serve.stderr();
    assert_eq!(log.matches("may have 128 files open").count(), 1, "{log}");
    assert_eq!(log.matches("cannot be accepted").count(), 0, "{log}");
}

#[test]
fn one_of_several_waiting_bodies_always_succeeds() {
    const MIB: usize = 1 << 20;
    let config = "[receiver]\nmax_body = '1MiB'\nmax_decoded = '32MiB'\nmax_in_flight = '33MiB'\n";
    let serve = Setup::new().config(config).start();
    let body = gzip(&vec![b' '; 30 * MIB]);
    let send = || serve.post("/audit-logs", &[authorization(&serve)], &body).status;
    let mut left = 4;
    while left > 0 {
        let statuses: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..left).map(|_| scope.spawn(send)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        assert!(statuses.contains(&200), "nobody got on: {statuses:?}");
        left = statuses.iter().filter(|status| **status == 429).count();
    }
}

fn console_port(serve: &Serve) -> u16 {
    serve.console.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn a_refused_request_ends_its_connection() {
    let serve = Serve::start();
    for (path, headers) in
        [("/nowhere", vec![authorization(&serve)]), ("/audit-logs", vec![("authorization", "x")])]
    {
        let mut connection = serve.connect();
        connection.request("POST", path, &headers, b"{}");
        let answer = connection.answer();
        assert!([401, 404].contains(&answer.status));
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert!(connection.rest().is_empty());
    }
}

#[test]
fn a_gzip_bomb_takes_no_more_memory_than_the_caps() {
    const MIB: u64 = 1 << 20;
    let config = "[receiver]
max_body = '4MiB'
max_decoded = '32MiB'
max_in_flight = '64MiB'
queue_timeout = '200ms'
";
    let serve = Setup::new().config(config).start();
    // A gibibyte in a mebibyte: one stream with many members, and nested streams.
    let bomb = gzip(&vec![0; 16 << 20]).repeat(64);
    let nested = gzip(&bomb);
    assert!(bomb.len() < 4 << 20 && nested.len() < bomb.len() / 10);
    let send = |encoding: &str, body: &[u8]| {
        let headers = [authorization(&serve), ("content-encoding", encoding)];
        serve.post("/audit-logs", &headers, body).status
    };
    assert_eq!(send("gzip", &bomb), 413);
    assert_eq!(send("gzip, gzip", &nested), 413);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| send("application/gzip", &bomb))).collect();
        for one in all {
            let status = one.join().unwrap();
            assert!([413, 429].contains(&status), "{status}");
        }
    });
    assert_eq!(send("gzip", &bomb), 413);
    // The budget in flight, and the program itself.
    let peak = serve.peak_memory();
    assert!(peak < 64 * MIB + 128 * MIB, "{} MiB", peak / MIB);
    assert_eq!(serve.lines().len(), 0);
    assert_eq!(serve.deliver(gzip(b"{}"))["stored"], 1);
}

#[test]
fn a_truncated_body_is_not_stored() {
    let serve = Serve::start();
    let authorization = authorization(&serve);
    let mut connection = serve.connect();
    connection.send(head("POST", "/audit-logs", &[authorization], 1000) + "{\"a\":1}\n{\"a\":2}\n");
    drop(connection);
    serve.wait_for_log("the body broke off");
    let mut connection = serve.connect();
    let (name, value) = authorization;
    connection.send(format!(
        "POST /audit-logs HTTP/1.1\r\nhost: x\r\n{name}: {value}\r\n\
         transfer-encoding: chunked\r\n\r\n8\r\n{{\"a\":3}}\n\r\n"
    ));
    drop(connection);
    wait_until("the other", || serve.stderr().matches("the body broke off").count() == 2);
    assert_eq!(serve.lines().len(), 0);
    assert_eq!(stored::quarantined(&serve.data()), []);
}

#[test]
fn a_disconnect_does_not_cancel_a_write() {
    const LINES: usize = 50_000;
    let serve = Serve::start();
    let body: String = (0..LINES).map(|n| format!("{{\"n\":{n},\"x\":\"{n:0100}\"}}\n")).collect();
    // The log grows when the transaction exceeds the cache of SQLite.
    let log = serve.data().join("segments/0000000000000001.live.db-wal");
    let written = || log.metadata().map_or(0, |about| about.len());
    let before = written();
    let mut connection = serve.connect();
    connection.request("POST", "/audit-logs", &[authorization(&serve)], body.as_bytes());
    wait_until("the write has begun", || written() > before + (64 << 10));
    drop(connection);
    wait_until("the batch", || !serve.lines().is_empty());
    assert_eq!(serve.lines().len(), LINES);
}
