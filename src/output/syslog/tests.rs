//! The sink against receivers with a given behavior.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{JoinHandle, spawn};

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::*;
use crate::entry::record::Origin;
use crate::output::syslog::settings::{Facility, SyslogTls};
use crate::output::testing::record;

/// A receiver that handles its connections with `act`.
struct Receiver<T> {
    address: String,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Receiver<T> {
    /// Accepts one connection.
    fn start(act: impl FnOnce(TcpStream) -> T + Send + 'static) -> Receiver<T> {
        Receiver::listen(move |listener| act(listener.accept().unwrap().0))
    }

    fn listen(act: impl FnOnce(TcpListener) -> T + Send + 'static) -> Receiver<T> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Receiver { address, thread: spawn(move || act(listener)) }
    }

    fn settings(&self) -> SyslogSettings {
        SyslogSettings {
            address: self.address.parse().unwrap(),
            transport: Transport::Tcp,
            facility: Facility::Audit,
            app_name: "vidimus".to_owned(),
            hostname: Some("host".to_owned()),
            sd_id: "vidimus@32473".to_owned(),
            timeout: Duration::from_secs(10),
        }
    }

    fn sink(&self) -> SyslogSink {
        let mut sink = SyslogSink::new("a", &self.settings());
        sink.confirm_within = Duration::from_secs(10);
        sink
    }

    /// A sink that knows the close behavior of the receiver.
    fn sink_that_knows(&self, close_behavior: CloseBehavior) -> SyslogSink {
        let mut sink = self.sink();
        let state = close_behavior.state(&sink.receiver);
        sink.restore(&state).unwrap();
        assert_eq!(
            (sink.close_behavior, sink.most_unconfirmed),
            (close_behavior, MOST_UNCONFIRMED)
        );
        sink
    }

    fn ended(self) -> T {
        self.thread.join().unwrap()
    }
}

impl<T: Send + 'static> Receiver<Vec<T>> {
    /// Accepts so many connections, one after the other.
    fn start_for(
        count: usize,
        mut act: impl FnMut(usize, TcpStream) -> T + Send + 'static,
    ) -> Receiver<Vec<T>> {
        Receiver::listen(move |listener| {
            (0..count).map(|n| act(n, listener.accept().unwrap().0)).collect()
        })
    }
}

/// Reads everything.
fn read_all(mut tcp: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    tcp.read_to_end(&mut read).unwrap();
    read
}

/// Writes entries with these ids.
fn write(sink: &mut SyslogSink, ids: std::ops::Range<u64>) -> Result<(), OutputError> {
    for id in ids {
        sink.write(&record(id, 0), format!("line {id}\n").as_bytes(), Millis::MIN)?;
    }
    sink.flush()
}

/// The ids and the lines of the received messages.
fn check(received: &[u8], ids: std::ops::Range<u64>) {
    let mut rest = received;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let at = rest.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..at]).unwrap().parse().unwrap();
        let message = std::str::from_utf8(&rest[at + 1..at + 1 + length]).unwrap();
        found.push(message.rsplit_once("] ").unwrap().1.to_owned());
        rest = &rest[at + 1 + length..];
    }
    assert_eq!(found, ids.map(|id| format!("line {id}")).collect::<Vec<_>>());
}

fn check_fails<T: std::fmt::Debug>(result: Result<T, OutputError>, expected: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(expected), "{error}\nexpected {expected}");
}

#[test]
fn data_that_was_read_is_confirmed() {
    let receiver = Receiver::start(read_all);
    let mut sink = receiver.sink();
    // With nothing to send there is no connection.
    sink.restore("").unwrap();
    assert_eq!(sink.sync().unwrap(), "");
    assert!(sink.connection.is_none());

    write(&mut sink, 0..3).unwrap();
    write(&mut sink, 3..300).unwrap();
    assert!(sink.unconfirmed > 300);
    assert_eq!(sink.sync().unwrap(), format!("confirms tcp:{}", receiver.address));
    assert_eq!((sink.unconfirmed, sink.close_behavior), (0, CloseBehavior::Closes));
    assert!(sink.connection.is_none());
    check(&receiver.ended(), 0..300);
}

#[test]
fn unread_data_is_not_confirmed() {
    let receiver = Receiver::start(|mut tcp| tcp.read_exact(&mut [0; 10]).unwrap());
    let mut sink = receiver.sink();
    let failed = write(&mut sink, 0..2000).and_then(|()| sink.sync().map(drop));
    check_fails(failed, "cannot ");
    assert!(sink.unconfirmed > 0);
    sink.restore("").unwrap();
    assert_eq!((sink.unconfirmed, sink.buffer.len()), (0, 0));
}

#[test]
fn a_receiver_that_closes_first_is_noticed_before_the_next_message() {
    let closes = |mut tcp: TcpStream| {
        let mut length = [0; 4];
        tcp.read_exact(&mut length).unwrap();
        let length: usize = std::str::from_utf8(&length[..3]).unwrap().parse().unwrap();
        tcp.read_exact(&mut vec![0; length]).unwrap();
    };
    for next in 0..2 {
        let receiver = Receiver::start(closes);
        let mut sink = receiver.sink();
        write(&mut sink, 0..1).unwrap();
        receiver.ended();
        // It is not known whether it read this.
        let failed = if next == 0 { write(&mut sink, 1..2) } else { sink.sync().map(drop) };
        check_fails(failed, "cannot send: the receiver has closed the connection");
    }
}

#[test]
fn a_receiver_that_reads_nothing_holds_up_the_sink_and_no_longer_than_it_may() {
    let receiver = Receiver::start(|tcp| tcp);
    let mut sink = receiver.sink();
    sink.settings.timeout = Duration::from_millis(100);
    sink.most_unconfirmed = usize::MAX;
    let line = vec![b'x'; 1 << 20];
    let mut filled = Ok(());
    for _ in 0..100 {
        filled = sink.write(&record(1, 0), &line, Millis::MIN).and_then(|()| sink.flush());
        if filled.is_err() {
            break;
        }
    }
    check_fails(filled, "cannot send: the receiver takes too long");
    receiver.ended();
}

#[test]
fn a_receiver_that_reads_a_trickle_holds_up_the_sink_no_longer_than_it_may() {
    let receiver = Receiver::start(|mut tcp| while tcp.read(&mut [0; 8]).is_ok_and(|n| n > 0) {});
    let mut sink = receiver.sink();
    sink.settings.timeout = Duration::from_millis(500);
    let line = vec![b'x'; 64 << 20];
    let filled = sink.write(&record(1, 0), &line, Millis::MIN);
    check_fails(filled, "cannot send: the receiver takes too long");
}

#[test]
fn data_from_a_receiver_is_ignored() {
    let receiver = Receiver::start(|mut tcp| {
        tcp.write_all(b"hello\r\n").unwrap();
        read_all(tcp)
    });
    let mut sink = receiver.sink();
    write(&mut sink, 0..3).unwrap();
    write(&mut sink, 3..6).unwrap();
    sink.sync().unwrap();
    check(&receiver.ended(), 0..6);
}

#[test]
fn not_too_much_is_sent_without_a_confirmation() {
    let receiver = Receiver::start(read_all);
    let mut sink = receiver.sink_that_knows(CloseBehavior::Closes);
    let line = vec![b'x'; MOST_UNCONFIRMED];
    // A long message is sent all the same.
    assert!(!sink.is_full(&record(1, 0), &line));
    write(&mut sink, 0..1).unwrap();
    assert!(sink.is_full(&record(1, 0), &line));
    assert!(!sink.is_full(&record(1, 0), b"line"));
    sink.sync().unwrap();
    assert!(!sink.is_full(&record(1, 0), &line));
    receiver.ended();
}

#[test]
fn changed_entries_count_towards_the_unconfirmed_bytes() {
    let receiver = Receiver::start_for(3, |_, tcp| read_all(tcp).len());
    let mut sink = receiver.sink_that_knows(CloseBehavior::Closes);
    let line = vec![b'x'; MOST_UNCONFIRMED - 1000];
    for _ in 0..3 {
        sink.write(&record(1, 0), &line, Millis::MIN).unwrap();
        assert!(sink.unconfirmed <= MOST_UNCONFIRMED);
    }
    sink.sync().unwrap();
    assert!(receiver.ended().iter().all(|read| *read > line.len()));
}

#[test]
fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver =
        Receiver { address: listener.local_addr().unwrap().to_string(), thread: spawn(|| {}) };
    drop(listener);
    let expected = format!(
        "{0}: cannot connect to {0}: Connection refused (os error 111); is the port right?",
        receiver.address
    );
    check_fails(write(&mut receiver.sink(), 0..1), &expected);
}

#[test]
fn where_tls_is_expected_something_else_is_an_error_that_says_so() {
    let receiver = Receiver::start(|mut tcp| {
        tcp.read_exact(&mut [0; 10]).unwrap();
        tcp.write_all(b"220 mail.example.com ESMTP\r\n").unwrap();
        read_all(tcp)
    });
    let mut sink = receiver.sink();
    let server_name = "localhost".try_into().unwrap();
    let tls = SyslogTls { server_name, ca_file: None, certificate: None };
    sink.settings.transport = Transport::Tls(tls.clone());
    check_fails(write(&mut sink, 0..1), "perhaps the receiver has no TLS there");
    receiver.ended();

    let tls = SyslogTls { ca_file: Some("/nowhere/ca.pem".into()), ..tls };
    sink.settings.transport = Transport::Tls(tls);
    sink.restore("").unwrap();
    check_fails(write(&mut sink, 0..1), "cannot read /nowhere/ca.pem: ");
}

#[test]
fn an_entry_of_a_file_has_no_time_of_receipt() {
    let mut record = record(1, 0);
    record.origin = Origin::File { source: "a:1".to_owned() };
    let receiver = Receiver::start(read_all);
    let told = receiver.sink().try_out(&record, b"line\n").unwrap();
    assert!(told.ends_with("it has read the message and closed the connection"), "{told}");
    let received = String::from_utf8(receiver.ended()).unwrap();
    let expected = "<109>1 - host vidimus - access [vidimus@32473 verdict=\"valid\"] line";
    assert_eq!(received, format!("{} {expected}", expected.len()));
}

const SOON: Duration = Duration::from_millis(100);

/// Reads everything, and leaves the connection open.
fn read_and_hold(tcp: TcpStream) -> (Vec<u8>, TcpStream) {
    (read_all(tcp.try_clone().unwrap()), tcp)
}

/// Writes the same entries again, and checks that the confirmation fails.
fn fails(sink: &mut SyslogSink, expected: &str) {
    sink.restore("").unwrap();
    let failed = write(sink, 0..3).and_then(|()| sink.sync());
    check_fails(failed, expected);
}

#[test]
fn a_receiver_that_leaves_three_connections_open_never_closes() {
    let receiver = Receiver::start_for(3, |_, tcp| read_and_hold(tcp));
    let mut sink = receiver.sink();
    sink.confirm_within = SOON;
    fails(
        &mut sink,
        "the receiver has not closed the connection within 100ms, so it is not known whether it \
         read; trying again (1 of 3)",
    );
    fails(&mut sink, "trying again (2 of 3)");
    assert_eq!(
        (sink.close_behavior, sink.most_unconfirmed),
        (CloseBehavior::Unknown, LEAST_UNCONFIRMED)
    );
    sink.restore("").unwrap();
    write(&mut sink, 0..3).unwrap();
    assert_eq!(sink.sync().unwrap(), format!("silent tcp:{}", receiver.address));
    assert_eq!((sink.unconfirmed, sink.close_behavior), (0, CloseBehavior::StaysOpen));
    assert!(sink.connection.is_none());
    receiver.ended().iter().for_each(|(read, _)| check(read, 0..3));
}

#[test]
fn a_receiver_that_sometimes_closes_is_not_taken_for_one_that_never_does() {
    let receiver = Receiver::start_for(5, |n, tcp| match n {
        // It is reset, as it was closed with unread data.
        1 => {
            tcp.peek(&mut [0]).unwrap();
            None
        }
        4 => {
            check(&read_all(tcp), 0..3);
            None
        }
        _ => Some(read_and_hold(tcp)),
    });
    let mut sink = receiver.sink();
    sink.confirm_within = SOON;
    fails(&mut sink, "trying again (1 of 3)");
    fails(&mut sink, "cannot ");
    fails(&mut sink, "trying again (1 of 3)");
    fails(&mut sink, "trying again (2 of 3)");
    sink.confirm_within = Duration::from_secs(10);
    sink.restore("").unwrap();
    write(&mut sink, 0..3).unwrap();
    sink.sync().unwrap();
    assert_eq!((sink.close_behavior, sink.left_open), (CloseBehavior::Closes, 0));
    receiver.ended();
}

#[test]
fn a_receiver_that_never_closes_keeps_its_connection_and_is_tested_again() {
    let receiver = Receiver::start_for(2, |n, tcp| match n {
        0 => Some(read_and_hold(tcp)),
        _ => {
            check(&read_all(tcp), 3..9);
            None
        }
    });
    let mut sink = receiver.sink_that_knows(CloseBehavior::StaysOpen);
    // At the start the receiver is tested. It is known, so nothing is sent again.
    sink.confirm_within = SOON;
    write(&mut sink, 0..3).unwrap();
    sink.sync().unwrap();
    assert_eq!((sink.unconfirmed, sink.close_behavior), (0, CloseBehavior::StaysOpen));
    sink.confirm_within = Duration::from_secs(10);
    write(&mut sink, 3..6).unwrap();
    sink.sync().unwrap();
    assert_eq!((sink.unconfirmed, sink.connection.is_some()), (0, true));
    write(&mut sink, 6..9).unwrap();
    // Another receiver may have that address now.
    sink.reopen();
    sink.sync().unwrap();
    assert_eq!(sink.close_behavior, CloseBehavior::Closes);
    receiver.ended();
}

#[test]
fn a_receiver_that_closed_once_must_always_close() {
    let receiver = Receiver::start_for(5, |_, tcp| read_and_hold(tcp));
    let mut sink = receiver.sink_that_knows(CloseBehavior::Closes);
    sink.confirm_within = SOON;
    for n in 1..=5 {
        fails(&mut sink, "not everything was read within 100ms");
        assert_eq!(sink.most_unconfirmed, (MOST_UNCONFIRMED >> n).max(LEAST_UNCONFIRMED));
        sink.reopen();
    }
    assert_eq!(sink.close_behavior, CloseBehavior::Closes);
    receiver.ended();
}

/// A receiver with TLS. It accepts a connection for each of `notifies`, which says whether it ends
/// it with close_notify.
fn tls(notifies: &'static [bool]) -> (Receiver<Vec<Vec<u8>>>, SyslogSink, TempDir) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let home = tempfile::tempdir().unwrap();
    let ca_file = home.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let receiver = Receiver::start_for(notifies.len(), move |n, tcp| {
        let conn = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = StreamOwned::new(conn, tcp);
        let mut read = Vec::new();
        tls.read_to_end(&mut read).unwrap();
        if notifies[n] {
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
        read
    });
    let mut settings = receiver.settings();
    let server_name = "localhost".try_into().unwrap();
    let ca_file = Some(ca_file);
    settings.transport = Transport::Tls(SyslogTls { server_name, ca_file, certificate: None });
    let mut sink = SyslogSink::new("a", &settings);
    sink.confirm_within = Duration::from_secs(10);
    (receiver, sink, home)
}

#[test]
fn a_receiver_that_sent_a_close_notify_must_always_send_it() {
    let (receiver, mut sink, _home) = tls(&[false, true, false, true]);
    let name = format!("tls:localhost@{}", receiver.address);
    write(&mut sink, 0..3).unwrap();
    assert_eq!(sink.sync().unwrap(), format!("confirms {name}"));
    write(&mut sink, 0..3).unwrap();
    let state = sink.sync().unwrap();
    assert_eq!(state, format!("notifies {name}"));

    // This holds after a restart too.
    let mut restarted = SyslogSink::new("a", &sink.settings);
    restarted.confirm_within = Duration::from_secs(10);
    restarted.restore(&state).unwrap();
    fails(&mut restarted, "the connection was closed without TLS's close_notify");
    restarted.restore(&state).unwrap();
    write(&mut restarted, 0..3).unwrap();
    assert_eq!(restarted.sync().unwrap(), state);
    receiver.ended().iter().for_each(|read| check(read, 0..3));
}

#[test]
fn trying_a_receiver_tells_whether_its_close_was_authenticated() {
    let (receiver, mut sink, _home) = tls(&[false, true]);
    let told = sink.try_out(&record(1, 0), b"line 1").unwrap();
    assert!(told.contains("but without TLS's close_notify"), "{told}");
    let told = sink.try_out(&record(1, 0), b"line 1").unwrap();
    assert!(told.ends_with("it has read the message and closed the connection"), "{told}");
    receiver.ended();
}
